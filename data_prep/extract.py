"""Photos -> features: the command ``python -m data_prep.extract``.

From Python: ``encode_photos(photos.find_all('DIR'), encoders.load(NAME))``.
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import time

from absl import flags

from data_prep.writing import feature_jobs, feature_parts
from mrnn_jax import encoders
from mrnn_jax.data import feature_files, image_names
from mrnn_jax.data.feature_files import Encoder
from mrnn_jax.encoders import encode, photos, views
from mrnn_jax.runtime import beam_engine, cli, messages
from mrnn_jax.runtime.along import model_path
from mrnn_jax.runtime.errors import InputError, printable

USAGE = """
python -m data_prep.extract --images=DIR --output=features.npz

Encode photos by a CNN and write their features with the names of the photos.
Photos that cannot be read are listed in OUTPUT.unreadable.txt. A run that
was stopped goes on when the same command is given again.
"""

_DTYPES = ('float16', 'float32')
_SUFFIXES = ('.npz', '.npy')
_MAX_REPORTED = 10
_MAX_VIEWS = 64


@dataclasses.dataclass(frozen=True)
class ExtractConfig:
  """What the flags say, see ``define_flags``."""

  images: str = ''
  encoder: str = encoders.DEFAULT
  weights: str | None = None
  model: str | None = None
  resize: str = 'squash'
  batch_size: int = 0
  views: int = 1
  dtype: str = 'float16'
  output: str = ''
  overwrite: bool = False
  readers: int = 0
  beam_runner: str | None = None
  beam_options: str | None = None

  def __post_init__(self):
    if not self.images:
      raise InputError(
        'say which photos to encode: --images=DIR, or a text file with one path'
        ' a line.'
      )
    if not self.output or pathlib.Path(self.output).suffix not in _SUFFIXES:
      raise InputError(
        'say where to write the features: --output=NAME.npz, or NAME.npy.'
      )
    for name, choices in (('resize', photos.RESIZES), ('dtype', _DTYPES)):
      if getattr(self, name) not in choices:
        raise InputError(
          f'--{name}={getattr(self, name)}: choose one of {", ".join(choices)}.'
        )
    other = [
      f'--{name}'
      for name, default in (('encoder', encoders.DEFAULT), ('resize', 'squash'))
      if self.model and getattr(self, name) != default
    ]
    if other:
      raise InputError(
        f'--model={self.model} says itself how photos are encoded: leave out '
        f'{" and ".join(other)}.'
      )
    if self.batch_size < 0:
      raise InputError(
        f'--batch_size={self.batch_size} is too small: at least 1, or 0 for'
        ' what suits the machine.'
      )
    if self.readers < 0:
      raise InputError(f'--readers={self.readers} is too small: at least 0.')
    if self.readers and self.beam_runner:
      raise InputError(
        '--readers is for this machine alone: leave it out with --beam_runner.'
      )
    beam_engine.check(self.beam_runner, self.beam_options)
    if self.views > 1 and self.output.endswith('.npy'):
      raise InputError(
        f'--views={self.views} are written to an .npz: name such an --output.'
      )
    if not 1 <= self.views <= _MAX_VIEWS:
      raise InputError(
        f'--views={self.views}: give a number from 1, the whole photo alone, to'
        f' {_MAX_VIEWS}.'
      )


def define_flags(values: flags.FlagValues) -> dict[str, list[str]]:
  """Define the flags of this command.

  Args:
    values: where to define them.

  Returns:
    The title of each group of flags and the names in it, for ``--help``.
  """

  def text(name: str, default: str | None, meaning: str):
    flags.DEFINE_string(name, default, meaning, flag_values=values)

  text(
    'images',
    None,
    'Folder of photos (with all below it), or a text file of one path a line.',
  )
  text('encoder', encoders.DEFAULT, f'One of {", ".join(encoders.ENCODERS)}.')
  text(
    'weights',
    None,
    'Weights file: .pth, .safetensors or .npz. Those of efficientnet_lite0, 1'
    ' and 2 come with pip packages.',
  )
  text(
    'model',
    None,
    'Workdir or file of a trained model, or "pretrained", whose encoder is'
    ' taken: --encoder and --resize are as it was trained.',
  )
  text(
    'resize',
    'squash',
    'squash: the whole photo becomes a square. center_crop: the middle of it,'
    ' as the networks were trained; what lies beside is not seen.',
  )
  flags.DEFINE_integer(
    'batch_size',
    0,
    'Photos at a time; 0 for what suits the machine.',
    flag_values=values,
  )
  flags.DEFINE_integer(
    'views',
    1,
    'Vectors of each photo, for training to draw from: the whole photo, the'
    ' whole mirrored, then parts of it (half of its area or more), every other'
    ' mirrored.',
    flag_values=values,
  )
  text('dtype', 'float16', f'Of the features: {" or ".join(_DTYPES)}.')
  text(
    'output',
    None,
    'The file to write: .npz holds all; .npy, for many photos, is read piece by'
    ' piece where it is used, with names in .txt and the encoder in'
    ' .encoder.json beside it.',
  )
  flags.DEFINE_bool(
    'overwrite', False, 'Replace other features.', flag_values=values
  )
  flags.DEFINE_integer(
    'readers',
    0,
    'Processes that read and scale photos; 0: threads of this one, which do'
    ' where cores are few.',
    flag_values=values,
  )
  text(
    'beam_runner',
    None,
    'Let Apache Beam encode, with the same bytes on machines of one kind:'
    f' {", ".join(beam_engine.RUNNERS)}. Its workers must reach photos, weights'
    ' and output under the same paths.',
  )
  text(
    'beam_options',
    None,
    'name=value for Beam, with commas between several:'
    ' direct_num_workers=8,direct_running_mode=multi_processing.',
  )
  return {
    'Photos': ['images', 'resize', 'views'],
    'Encoder': ['encoder', 'weights', 'model', 'batch_size'],
    'Where to write': ['output', 'dtype', 'overwrite'],
    'Who works': ['readers', 'beam_runner', 'beam_options'],
  }


def extract(config: ExtractConfig):
  """Encode photos into a file and print what came of it.

  Args:
    config: what to encode, and how.

  Raises:
    InputError: no photo could be read, two have one name, the weights cannot
      be used, or there is another output.
  """
  start = time.monotonic()
  output = pathlib.Path(config.output).expanduser()
  found = photos.find_all(config.images)
  _check_names(found)
  network, resize = _open_encoder(config)
  encoder = encode.describe(network, resize)
  if output.exists() and not config.overwrite:
    _check_output(output, found, encoder, config.views)
    # Of a run that was killed when all was done.
    feature_parts.discard(output)
    print(f'{output} is there already, made of the same photos.')
    return
  batch_size = min(
    config.batch_size or encode.default_batch_size(network), len(found)
  )
  parts = feature_parts.Parts(
    output, found, encoder, batch_size, config.dtype, views.flips(config.views)
  )
  if config.beam_runner:
    how = feature_jobs.How(
      config.encoder, config.weights, resize, batch_size, config.views
    )
    options = beam_engine.check(config.beam_runner, config.beam_options)
    feature_jobs.make(parts, found, how, config.beam_runner, options)
  else:
    batches = encode.encode_batches(
      found,
      network,
      resize,
      batch_size,
      parts.done,
      num_processes=config.readers,
      num_views=config.views,
    )
    for features, reasons in batches:
      parts.add(features, reasons)
  unreadable = parts.finish()
  num_read = len(found) - len(unreadable)
  each = f'{config.views} views of ' if config.views > 1 else ''
  print(
    f'Wrote {output} in {time.monotonic() - start:.1f} s: '
    f'{messages.counted(num_read, "photo")},'
    f' {each}{network.feature_size:,} numbers each, {config.dtype}.\n'
    f'Encoder: {encoder.name}; weights {encoder.weights[:16]}.'
  )
  _report(unreadable, feature_parts.report_path(output))


def _open_encoder(config: ExtractConfig) -> tuple[encoders.Network, str]:
  """Return the encoder, and how photos become squares."""
  if not config.model:
    return encoders.load(config.encoder, config.weights), config.resize
  from mrnn_jax.trained import TrainedModel  # Here, as most do without.

  path = model_path(config.model)
  return TrainedModel.load(path).network(config.weights or '')


def _check_names(found: Sequence[photos.Photo]):
  """Refuse photos whose features nobody could tell from each other."""
  names = image_names.Names()
  for number, photo in enumerate(found):
    first = names.add(photo.id)
    if first != number:
      raise InputError(
        f'{printable(found[first].id)} and {printable(photo.id)} are one name,'
        ' as endings do not count: rename one of them.'
      )


def _check_output(
  output: pathlib.Path,
  found: Sequence[photos.Photo],
  encoder: Encoder,
  num_views: int,
):
  """Refuse to replace a file unless it is the one that would be written."""
  try:
    table = feature_files.load(output)
    path = feature_parts.report_path(output)
    text = path.read_text(encoding='utf-8') if path.exists() else ''
    failed = {line.split('\t')[0] for line in text.splitlines()}
    same = (
      table.encoder == encoder
      and table.view_flips == views.flips(num_views)
      and table.ids == [photo.id for photo in found if photo.id not in failed]
    )
  except Exception:  # A file of another kind, whatever it is.
    same = False
  if not same:
    raise InputError(
      f'{output} is there already, made of other photos or in another way:'
      ' replace it by --overwrite, or name another --output.'
    )


def _report(unreadable: Sequence[tuple[str, str]], path: pathlib.Path):
  """Print which photos could not be read, and where the list is."""
  if not unreadable:
    return
  count = messages.counted(len(unreadable), 'photo')
  print(f'{count} could not be read, see {path}:')
  for name, reason in unreadable[:_MAX_REPORTED]:
    print(f'  {name}: {reason}')
  if len(unreadable) > _MAX_REPORTED:
    print('  ...')


def run(argv: Sequence[str] | None = None) -> None:
  """Parse the flags and encode, or print what the flags are; then exit.

  Args:
    argv: the command line; ``sys.argv`` by default.
  """
  cli.run_with_flags(
    lambda **values: extract(ExtractConfig(**values)),
    define_flags,
    USAGE,
    argv,
  )


if __name__ == '__main__':
  run()
