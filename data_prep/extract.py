"""Photos -> features: the command ``python -m data_prep.extract``.

From Python: ``encode_photos(photos.find_all('DIR'), encoders.load(NAME))``.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import pathlib
import re
import time

from absl import flags
import jax
import numpy as np

from data_prep import encoders, feature_parts, photos, progress
from data_prep.features import Encoder
from mrnn_jax import cli
from mrnn_jax.errors import InputError

USAGE = """
python -m data_prep.extract --images=DIR --output=features.npz

Encode photos by a CNN and write their features with the names of the photos.
Photos that cannot be read are listed in FEATURES.npz.unreadable.txt. A run that
was stopped goes on when the same command is given again.
"""

_DTYPES = ('float16', 'float32')
_MAX_REPORTED = 10


@dataclasses.dataclass(frozen=True)
class Encoded:
  """What came of some photos.

  Attributes:
    ids: N names of those that could be read, in the order given.
    features: [N, D] float32.
    unreadable: name and reason of each of the others.
    encoder: how the features were made; a dataset stores it, a model compares.
  """

  ids: list[str]
  features: np.ndarray
  unreadable: list[tuple[str, str]]
  encoder: Encoder


def describe(network: encoders.Network, resize: str) -> Encoder:
  """Return what is written down about features: network, size, resize, file."""
  return Encoder(
    f'{network.name}, {resize} to {network.image_size} x {network.image_size}',
    network.weights,
  )


def parse_description(description: str) -> tuple[str, str]:
  """Return encoder and resize of what ``describe`` called the features.

  Args:
    description: the name of an ``Encoder``.

  Returns:
    A name of ``ENCODERS`` and one of ``RESIZES``; two empty strings if the
    features were made elsewhere.
  """
  pattern = r'(\w+), (\w+) to (\d+) x \3'
  match = re.fullmatch(pattern, description)
  if not match or match[1] not in encoders.ENCODERS:
    return '', ''
  return (match[1], match[2]) if match[2] in photos.RESIZES else ('', '')


def encode_photos(
  found: Sequence[photos.Photo],
  network: encoders.Network,
  resize: str = 'squash',
  batch_size: int = 0,
) -> Encoded:
  """Encode photos, in memory, with progress.

  Args:
    found: the photos, see ``photos.find_all``.
    network: the CNN, see ``encoders.load``.
    resize: 'squash' for whole photos or 'center_crop' for their middles.
    batch_size: photos at a time; 0 for what suits the machine.

  Returns:
    Their features; a photo that cannot be read does not stop the others.
  """
  rows, ids, unreadable = [], [], []
  batches = _encode_batches(found, network, resize, batch_size)
  for features, reasons in batches:
    for feature, reason in zip(features, reasons, strict=True):
      name = found[len(ids) + len(unreadable)].id
      if reason:
        unreadable.append((name, reason))
      else:
        ids.append(name)
        rows.append(feature)
  features = np.asarray(rows, np.float32).reshape(-1, network.feature_size)
  return Encoded(ids, features, unreadable, describe(network, resize))


def default_batch_size(network: encoders.Network) -> int:
  """Return how many photos at a time suit the machine."""
  if jax.default_backend() == 'cpu':
    return network.cpu_batch_size
  return 64


def _encode_batches(
  found: Sequence[photos.Photo],
  network: encoders.Network,
  resize: str,
  batch_size: int,
  done: int = 0,
) -> Iterator[tuple[np.ndarray, list[str]]]:
  """Encode photos in batches of one compiled shape.

  Args:
    found: the photos.
    network: the CNN.
    resize: see ``encode_photos``.
    batch_size: see ``encode_photos``.
    done: how many photos, the first ones, to leave out.

  Yields:
    For each batch [b, D] float32 features and b reasons, '' where the photo
    could be read; the feature of another photo means nothing.
  """
  batch_size = min(batch_size or default_batch_size(network), len(found))
  size = network.image_size
  apply = jax.jit(network.apply)
  params = jax.device_put(network.params)
  images = photos.read_all([x.path for x in found[done:]], size, resize)
  images = progress.track(images, len(found), f'encode by {network.name}', done)
  images = iter(images)
  waiting = None
  for first in range(done, len(found), batch_size):
    batch = np.zeros((batch_size, size, size, 3), np.uint8)
    reasons = []
    for i in range(min(batch_size, len(found) - first)):
      image = next(images)
      failed = isinstance(image, photos.PhotoError)
      reasons.append(str(image) if failed else '')
      if not failed:
        batch[i] = image
    # While this one is computed, the next one is gathered.
    computing = apply(params, jax.device_put(batch)), reasons
    if waiting:
      yield _fetch(*waiting)
    waiting = computing
  if waiting:
    yield _fetch(*waiting)
  # Let the progress line come to its end.
  next(images, None)


def _fetch(features: jax.Array, reasons: list[str]):
  """Wait for a batch and cut off the rows without a photo."""
  return np.asarray(features)[: len(reasons)], reasons


@dataclasses.dataclass(frozen=True)
class ExtractConfig:
  """What the flags say, see ``define_flags``."""

  images: str | None = None
  encoder: str = encoders.DEFAULT
  weights: str | None = None
  resize: str = 'squash'
  batch_size: int = 0
  dtype: str = 'float16'
  output: str | None = None
  overwrite: bool = False

  def __post_init__(self):
    if not self.images:
      raise InputError(
        'say which photos to encode: --images=DIR, or a text file with one path'
        ' a line.'
      )
    if not self.output or pathlib.Path(self.output).suffix != '.npz':
      raise InputError('say where to write the features: --output=NAME.npz.')
    for name, choices in (('resize', photos.RESIZES), ('dtype', _DTYPES)):
      if getattr(self, name) not in choices:
        raise InputError(
          f'--{name}={getattr(self, name)}: choose one of {", ".join(choices)}.'
        )
    if self.batch_size < 0:
      raise InputError(
        f'--batch_size={self.batch_size} is too small: at least 1, or 0 for'
        ' what suits the machine.'
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
  text('dtype', 'float16', f'Of the features: {" or ".join(_DTYPES)}.')
  text('output', None, 'The .npz to write.')
  flags.DEFINE_bool(
    'overwrite', False, 'Replace other features.', flag_values=values
  )
  return {
    'Photos': ['images', 'resize'],
    'Encoder': ['encoder', 'weights', 'batch_size'],
    'Where to write': ['output', 'dtype', 'overwrite'],
  }


def extract(config: ExtractConfig):
  """Encode photos into a file and print what came of it.

  Args:
    config: what to encode, and how.

  Raises:
    InputError: no photo could be read, the weights cannot be used, or there is
      another output.
  """
  start = time.monotonic()
  output = pathlib.Path(config.output).expanduser()
  found = photos.find_all(config.images)
  network = encoders.load(config.encoder, config.weights)
  encoder = describe(network, config.resize)
  if output.exists() and not config.overwrite:
    _check_output(output, found, encoder)
    # Of a run that was killed when all was done.
    feature_parts.discard(output)
    print(f'{output} is there already, made of the same photos.')
    return
  batch_size = min(config.batch_size or default_batch_size(network), len(found))
  parts = feature_parts.Parts(output, found, encoder, batch_size, config.dtype)
  batches = _encode_batches(
    found, network, config.resize, batch_size, parts.done
  )
  for features, reasons in batches:
    parts.add(features, reasons)
  unreadable = parts.finish()
  num_read = len(found) - len(unreadable)
  print(
    f'Wrote {output} in {time.monotonic() - start:.1f} s: {num_read:,} photos,'
    f' {network.feature_size:,} numbers each, {config.dtype}.\n'
    f'Encoder: {encoder.name}; weights {encoder.weights[:16]}.'
  )
  _report(unreadable, feature_parts.report_path(output))


def _check_output(
  output: pathlib.Path, found: Sequence[photos.Photo], encoder: Encoder
):
  """Refuse to replace a file unless it is the one that would be written."""
  try:
    with np.load(output, allow_pickle=False) as archive:
      theirs = [str(archive['encoder']), str(archive['weights'])]
      ids = archive['ids'].tolist()
    path = feature_parts.report_path(output)
    text = path.read_text(encoding='utf-8') if path.exists() else ''
    failed = {line.split('\t')[0] for line in text.splitlines()}
    same = theirs == [encoder.name, encoder.weights] and ids == [
      photo.id for photo in found if photo.id not in failed
    ]
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
  print(f'{len(unreadable):,} photos could not be read, see {path}:')
  for name, reason in unreadable[:_MAX_REPORTED]:
    print(f'  {name}: {reason}')
  if len(unreadable) > _MAX_REPORTED:
    print('  ...')


def run(argv: Sequence[str] | None = None) -> None:
  """Parse the flags and encode, or print what the flags are; then exit.

  Args:
    argv: the command line; ``sys.argv`` by default.
  """
  values = flags.FlagValues()
  groups = define_flags(values)

  def main():
    extract(ExtractConfig(**{name: values[name].value for name in values}))

  cli.run(main, USAGE, groups, argv, values)


if __name__ == '__main__':
  run()
