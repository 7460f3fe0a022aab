"""The command ``python -m data_prep.build``: read, check, report, write."""

from collections.abc import Sequence
import dataclasses
import time

from absl import flags
import numpy as np
import tensorflow_datasets as tfds

from data_prep import caption_features, checks, scenes
from data_prep import features as features_lib
from data_prep.readers import READERS
from data_prep.readers import files as raw_files
from mrnn_jax import cli, errors

USAGE = """
python -m data_prep.build --dataset=flickr8k --raw_dir=DIR --features=FILE
python -m data_prep.build --dataset=scenes

Read captions and features, check them, report what was found and write a TFDS
dataset.
"""

# The files that describe a dataset from outside; scenes needs none of them.
_FILE_FLAGS = (
  'raw_dir',
  'captions',
  'train_list',
  'validation_list',
  'test_list',
  'features',
  'feature_ids',
)
_MIN_SCENES = 40
_ENCODER_SEED = 0
_NUM_CALIBRATION = 128


@dataclasses.dataclass(frozen=True)
class BuildConfig:
  """What the flags say, see ``define_flags``."""

  dataset: str
  raw_dir: str | None = None
  captions: str | None = None
  train_list: str | None = None
  validation_list: str | None = None
  test_list: str | None = None
  features: str | None = None
  feature_ids: str | None = None
  num_scenes: int | None = None
  seed: int = 0
  data_dir: str | None = None
  overwrite: bool = False

  def __post_init__(self):
    names = [*READERS, 'scenes']
    if self.dataset not in names:
      raise errors.InputError(
        f'Say what to build with --dataset, one of {", ".join(names)}.'
      )
    if self.dataset == 'scenes':
      given = [name for name in _FILE_FLAGS if getattr(self, name)]
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
        ' with --features.'
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

  text('dataset', f'What to build: {", ".join(READERS)} or scenes.')
  text('raw_dir', 'Directory of captions and lists under their usual names.')
  text('captions', 'Captions file (IAPR TC-12: folder of the .eng tree).')
  text('train_list', 'List of training images, one name a line.')
  text('validation_list', 'List of validation images.')
  text('test_list', 'List of test images.')
  text('features', '.npz with ids and features, or .npy with a .txt of ids.')
  text('feature_ids', 'Text file of ids for a .npy whose .txt is elsewhere.')
  flags.DEFINE_integer(
    'num_scenes', None, 'Pictures to draw (2000).', flag_values=values
  )
  flags.DEFINE_integer(
    'seed',
    0,
    'Decides about drawn scenes and about a validation split without a list.',
    flag_values=values,
  )
  text('data_dir', 'Where datasets lie (~/tensorflow_datasets).')
  flags.DEFINE_bool(
    'overwrite',
    False,
    'Replace a dataset made from other input.',
    flag_values=values,
  )
  return {
    'What to build': ['dataset'],
    'Raw data (any dataset but scenes)': list(_FILE_FLAGS),
    'Scenes': ['num_scenes', 'seed'],
    'Where to write': ['data_dir', 'overwrite'],
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
  raw = READERS[config.dataset](
    raw_files.RawFiles(
      raw_dir=config.raw_dir,
      captions=config.captions,
      train_list=config.train_list,
      validation_list=config.validation_list,
      test_list=config.test_list,
      seed=config.seed,
    )
  )
  table = features_lib.load(config.features, config.feature_ids)
  checked = checks.check_captions(config.dataset, raw)
  checked = checks.check_features(checked, raw, table)
  print(checked.report, flush=True)
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
  return caption_features.write(content, config.root), True


def _build_scenes(config: BuildConfig):
  """Return the dataset's path and whether it had to be written."""
  # Here, so that whoever brings features need not wait for JAX to start.
  from data_prep import encoders
  from data_prep.encoders import alexnet

  made = scenes.generate(config.num_scenes or scenes.NUM_SCENES, config.seed)
  checked = checks.check_captions('scenes', made.raw)
  print(checked.report, flush=True)
  # Known before anything is drawn or encoded, both of which take a while.
  encoder = features_lib.Encoder(alexnet.name(_ENCODER_SEED))
  recipe = f'pictures {scenes.VERSION}, weights {alexnet.VERSION}'
  fingerprint = caption_features.fingerprint(
    checked, config.seed, encoder, recipe
  )
  if caption_features.is_there(
    config.root, 'scenes', fingerprint, config.overwrite
  ):
    return caption_features.dataset_path(config.root, 'scenes'), False
  folder = scenes.save_pictures(made.scenes, config.root, config.seed)
  ids = list(made.scenes)
  some = made.raw.splits['train'][:_NUM_CALIBRATION]
  network = encoders.ENCODERS['alexnet'](
    _ENCODER_SEED, np.stack(list(scenes.read_pictures(folder, some)))
  )
  features = encoders.encode(
    network,
    scenes.read_pictures(folder, ids),
    len(ids),
  )
  table = features_lib.FeatureTable(
    ids, features.astype(np.float16), 'the encoder', encoder
  )
  report = checked.report
  checked = checks.check_features(checked, made.raw, table)
  print(checked.report.removeprefix(report).strip(), flush=True)
  content = caption_features.Content('scenes', checked, table, fingerprint)
  return caption_features.write(content, config.root), True


def _next_command(config: BuildConfig) -> str:
  """Return the command that trains on the dataset."""
  files = {'scenes': 'demo', 'custom': 'flickr8k'}
  command = (
    'python -m mrnn_jax.main'
    f' --flagfile={files.get(config.dataset, config.dataset)}.flags'
  )
  if config.dataset == 'custom':
    command += ' --dataset=custom'
  if config.data_dir:
    command += f' --data_dir={config.data_dir}'
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
