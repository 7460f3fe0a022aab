"""The command ``python -m data_prep.build``: read, check, report, write."""

from collections.abc import Sequence
import dataclasses
import re
import shlex
import time

from absl import flags
import numpy as np
import tensorflow_datasets as tfds

from data_prep import beam_jobs, caption_features, checks, records
from data_prep.readers import DATASETS, READERS, formats, raw_files
from data_prep.scenes import dataset as scenes
from mrnn_jax.data import feature_files as features_lib
from mrnn_jax.runtime import cli, errors

USAGE = """
python -m data_prep.build --dataset=flickr8k --raw_dir=DIR --features=FILE
python -m data_prep.build --dataset=my_photos --captions=FILE --features=FILE
python -m data_prep.build --dataset=scenes

Read captions and features, check them, report what was found and write a TFDS
dataset.

Your own captions, one image or caption a line, for example captions.csv:
  image_id,caption,split
  beach.jpg,Two children play in the sand .,train
  beach.jpg,"A girl, a boy and a bucket .",train
  dog.jpg,A brown dog jumps over a log .,validation
  hill.jpg,A man walks up a green hill .,test
or captions.jsonl:
  {"image_id": "beach.jpg", "captions": ["Two ...", "A girl ..."],
   "split": "train"}          (all on one line)
Without a split column, and without lists of names, validation and test images
are cut by chance. Known as well: COCO's captions_*.json, Karpathy's
dataset.json, TF-mRNN's lists of dictionaries in .npy, and Flickr8K's form.
"""

# What describes a dataset from outside; scenes needs none of it.
_FILE_FLAGS = (
  'raw_dir',
  'captions',
  'format',
  'features',
  'feature_ids',
  'encoder',
)
_SPLIT_FLAGS = (
  'train_list',
  'validation_list',
  'test_list',
  'validation_share',
  'test_share',
  'restval',
)
_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_-]{0,59}')
_MIN_SCENES = 40


@dataclasses.dataclass(frozen=True)
class BuildConfig:
  """What the flags say, see ``define_flags``."""

  dataset: str
  raw_dir: str | None = None
  captions: str | None = None
  format: str | None = None
  train_list: str | None = None
  validation_list: str | None = None
  test_list: str | None = None
  features: str | None = None
  feature_ids: str | None = None
  encoder: str | None = None
  validation_share: float | None = None
  test_share: float | None = None
  restval: bool = True
  num_scenes: int | None = None
  seed: int = 0
  data_dir: str | None = None
  overwrite: bool = False
  beam_runner: str | None = None
  beam_options: str | None = None

  def __post_init__(self):
    if not self.dataset:
      raise errors.InputError(
        f'Say what to build with --dataset: {", ".join(DATASETS)}, scenes or a'
        ' name for your own data.'
      )
    if not _NAME.fullmatch(self.dataset):
      raise errors.InputError(
        f'--dataset={self.dataset} is no name for a dataset: take letters,'
        ' digits and _, at most 60, a letter first.'
      )
    if self.format and self.format not in READERS:
      raise errors.InputError(
        f'--format={self.format} is not known: take one of'
        f' {", ".join(READERS)}.'
      )
    for split in ('validation', 'test'):
      share = getattr(self, f'{split}_share')
      if share is not None and not 0 <= share < 1:
        raise errors.InputError(
          f'--{split}_share={share:g} is no share of the images: give a number'
          ' like 0.1.'
        )
    beam_jobs.check(self.beam_runner, self.beam_options)
    if self.dataset == 'scenes':
      flags_of_files = [*_FILE_FLAGS, *_SPLIT_FLAGS[:-1], 'beam_runner']
      given = [name for name in flags_of_files if getattr(self, name)]
      if given:
        raise errors.InputError(
          f'--dataset=scenes draws its own data: leave out --{given[0]}, or'
          ' name another dataset.'
        )
      if self.num_scenes is not None and self.num_scenes < _MIN_SCENES:
        raise errors.InputError(
          f'--num_scenes={self.num_scenes} is too few for three splits: take'
          f' at least {_MIN_SCENES}.'
        )
      return
    if self.num_scenes is not None:
      raise errors.InputError(
        f'--num_scenes is for --dataset=scenes alone: leave it out, since'
        f' {self.dataset} has the images of its files.'
      )
    if not self.features:
      raise errors.InputError(
        f'{self.dataset} needs the features of its images: give their file'
        ' with --features (python -m data_prep.extract makes one from photos).'
      )

  @property
  def root(self) -> str:
    """TFDS's data directory."""
    return self.data_dir or tfds.core.constants.DATA_DIR


def define_flags(values: flags.FlagValues) -> dict[str, list[str]]:
  """Define the flags of this command.

  Args:
    values: where to define them.

  Returns:
    The title of each group of flags and the names in it, for ``--help``.
  """

  def text(name: str, meaning: str):
    flags.DEFINE_string(name, None, meaning, flag_values=values)

  def share(split: str):
    flags.DEFINE_float(
      f'{split}_share',
      None,
      f'Share of the images for a {split} split that nothing names (0.1).',
      flag_values=values,
    )

  text(
    'dataset',
    f'What to build: {", ".join(DATASETS)}, scenes, or any other name for your'
    ' own data.',
  )
  text('raw_dir', 'Directory of captions and lists under their usual names.')
  text(
    'captions',
    'Captions file (IAPR TC-12: folder of the .eng tree); several with commas'
    ' between them.',
  )
  text(
    'format',
    f'What the captions are, if not plain from the file: {", ".join(READERS)}.',
  )
  text(
    'features',
    '.npz with ids and features; .npy, .mat or .h5 with a list of ids; .h5'
    ' with ids or one dataset an image; a folder with one .npy an image.',
  )
  text(
    'feature_ids',
    'List of ids, one a line or a dataset.json, for features whose list is not'
    ' beside them under the same name with .txt.',
  )
  text(
    'encoder',
    'What made the features, where their file does not say, as'
    ' data_prep.extract writes it: "efficientnet_lite0, squash to 224 x 224".'
    ' Only a model that knows can caption photos.',
  )
  text('train_list', 'List of training images, one name a line.')
  text('validation_list', 'List of validation images.')
  text('test_list', 'List of test images.')
  share('validation')
  share('test')
  flags.DEFINE_bool(
    'restval',
    True,
    "Train on the images that Karpathy's dataset.json calls restval.",
    flag_values=values,
  )
  flags.DEFINE_integer(
    'num_scenes', None, 'Pictures to draw (2000).', flag_values=values
  )
  flags.DEFINE_integer(
    'seed',
    0,
    'Decides about drawn scenes and about splits that nothing names.',
    flag_values=values,
  )
  text('data_dir', 'Where datasets lie (~/tensorflow_datasets).')
  flags.DEFINE_bool(
    'overwrite',
    False,
    'Replace a dataset made from other input.',
    flag_values=values,
  )
  text(
    'beam_runner',
    'Let Apache Beam write the dataset, with the same bytes:'
    f' {", ".join(beam_jobs.RUNNERS)}. Its workers must reach features and'
    ' --data_dir under the same paths.',
  )
  text(
    'beam_options',
    'name=value for Beam, with commas between several:'
    ' direct_num_workers=8,direct_running_mode=multi_processing.',
  )
  return {
    'What to build': ['dataset'],
    'Captions and features (any dataset but scenes)': list(_FILE_FLAGS),
    'Splits (any dataset but scenes)': list(_SPLIT_FLAGS),
    'Scenes and chance': ['num_scenes', 'seed'],
    'Where to write': ['data_dir', 'overwrite'],
    'Who writes (any dataset but scenes)': ['beam_runner', 'beam_options'],
  }


def build(config: BuildConfig):
  """Build one dataset and print what was found and where it lies.

  Args:
    config: what to build.

  Raises:
    InputError: the raw data cannot be used, or another dataset is in place.
  """
  start = time.monotonic()
  if config.dataset == 'scenes':
    path, written = _build_scenes(config)
  else:
    path, written = _build_from_files(config)
  if written:
    print(f'\nWrote {path} in {time.monotonic() - start:.1f} s.')
  else:
    print(f'\n{path} is there already, made from the same input.')
  print(f'Next: {_next_command(config)}')


def _build_from_files(config: BuildConfig):
  """Return the dataset's path and whether it had to be written."""
  names = [field.name for field in dataclasses.fields(raw_files.RawFiles)]
  given = raw_files.RawFiles(**{name: getattr(config, name) for name in names})
  raw_format = config.format or formats.choose(config.dataset, given)
  if raw_format != config.dataset:
    print(f'Captions in the format {raw_format}.')
  raw = READERS[raw_format](given)
  checked = checks.check_captions(config.dataset, raw)
  print(checked.report, flush=True)
  try:
    table = features_lib.load(config.features, config.feature_ids)
    _declare_encoder(table, config)
  except errors.InputError as error:
    raise errors.InputError(checked.explain(str(error))) from error
  checked = _check_features(checked, raw, table)
  digest = caption_features.digest_features(checked, table)
  fingerprint = caption_features.fingerprint(
    checked, raw.seed, table.encoder, digest
  )
  if caption_features.is_there(
    config.root, config.dataset, fingerprint, config.overwrite
  ):
    path = caption_features.dataset_path(config.root, config.dataset)
    return path, False
  content = caption_features.Content(
    config.dataset, checked, table, fingerprint
  )
  engine = _engine(config)
  return caption_features.write(content, config.root, engine), True


def _check_features(
  checked: checks.Checked,
  raw: records.RawDataset,
  table: features_lib.FeatureTable,
) -> checks.Checked:
  """Check the features, print what was found, refuse data with faults."""
  before = checked.report
  checked = checks.check_features(checked, raw, table)
  print(checked.report.removeprefix(before).strip(), flush=True)
  checked.refuse()
  return checked


def _engine(config: BuildConfig) -> beam_jobs.Engine | None:
  """Return who writes the shards; None: this process."""
  if not config.beam_runner:
    return None
  options = beam_jobs.check(config.beam_runner, config.beam_options)
  return beam_jobs.Engine(
    config.beam_runner, options, config.features, config.feature_ids
  )


def _declare_encoder(
  table: features_lib.FeatureTable, config: BuildConfig
) -> None:
  """Let --encoder say what the features' file does not."""
  known = table.encoder.name
  if not config.encoder or known == config.encoder:
    return
  if known != features_lib.Encoder().name:
    raise errors.InputError(
      f'--encoder={config.encoder}, but {config.features} says that its'
      f' features were made by "{known}": leave --encoder out.'
    )
  table.encoder = dataclasses.replace(table.encoder, name=config.encoder)


def _build_scenes(config: BuildConfig):
  """Return the dataset's path and whether it had to be written."""
  # Here, so that whoever brings features need not wait for JAX to start.
  from mrnn_jax import encoders
  from mrnn_jax.encoders import encode

  made = scenes.generate(config.num_scenes or scenes.NUM_SCENES, config.seed)
  checked = checks.check_captions('scenes', made.raw)
  print(checked.report, flush=True)
  checked.refuse()
  network = encoders.load(encoders.DEFAULT)
  # Known before anything is drawn or encoded, both of which take a while.
  fingerprint = caption_features.fingerprint(
    checked,
    config.seed,
    encode.describe(network, 'squash'),
    f'pictures {scenes.VERSION}',
  )
  if caption_features.is_there(
    config.root, 'scenes', fingerprint, config.overwrite
  ):
    return caption_features.dataset_path(config.root, 'scenes'), False
  folder = scenes.save_pictures(made.scenes, config.root, config.seed)
  pictures = scenes.find_pictures(folder, made.scenes)
  encoded = encode.encode_photos(pictures, network, 'squash')
  table = features_lib.FeatureTable(
    encoded.ids,
    encoded.features.astype(np.float16),
    'the encoder',
    encoded.encoder,
  )
  checked = _check_features(checked, made.raw, table)
  content = caption_features.Content('scenes', checked, table, fingerprint)
  return caption_features.write(content, config.root), True


def _next_command(config: BuildConfig) -> str:
  """Return the command that trains on the dataset."""
  known = {name: name for name in DATASETS} | {'scenes': 'demo'}
  flag_file = known.get(config.dataset, 'flickr8k')
  command = f'python -m mrnn_jax.main --flagfile={flag_file}.flags'
  if config.dataset not in known:
    command += f' --dataset={config.dataset}'
  if config.data_dir:
    command += ' ' + shlex.quote(f'--data_dir={config.data_dir}')
  return f'{command} --workdir=runs/{config.dataset}'


def run(argv: Sequence[str] | None = None) -> None:
  """Parse the flags and build, or print what the flags are; then exit.

  Args:
    argv: the command line; ``sys.argv`` by default.
  """
  values = flags.FlagValues()
  groups = define_flags(values)

  def main():
    build(BuildConfig(**{name: values[name].value for name in values}))

  cli.run(
    main, USAGE, groups, argv, values, 'nothing was written; begin again.'
  )


if __name__ == '__main__':
  run()
