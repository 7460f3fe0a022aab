"""The command ``python -m data_prep.build``: read, check, report, write."""

from collections.abc import Sequence
import dataclasses
import shlex
import time

from absl import flags
from etils import epath
import numpy as np

from data_prep import checks, photo_table, records
from data_prep.build_config import FILE_FLAGS, SPLIT_FLAGS, BuildConfig
from data_prep.readers import DATASETS, READERS, formats, raw_files
from data_prep.scenes import dataset as scenes
from data_prep.writing import beam_jobs
from data_prep.writing.content import (
  Content,
  Images,
  digest_features,
  fingerprint,
)
from mrnn_jax.data import feature_files as features_lib
from mrnn_jax.runtime import beam_engine, cli, errors

USAGE = """
python -m data_prep.build --dataset=flickr8k --raw_dir=DIR --features=FILE
python -m data_prep.build --dataset=my_photos --captions=FILE --features=FILE
python -m data_prep.build --dataset=my_photos --captions=FILE --photos=DIR
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
    'photos',
    'Folder of the photos (with all below it), or a text file of one path a'
    ' line: they are stored beside the features, or instead of them, for'
    ' training an encoder.',
  )
  flags.DEFINE_integer(
    'photo_size',
    None,
    'Pixels of a side that photos are stored with (as many as the encoder'
    ' takes). With --dataset=scenes: store its pictures too.',
    flag_values=values,
  )
  text(
    'encoder',
    'What made the features, where their file does not say, as'
    ' data_prep.extract writes it: "efficientnet_lite0, squash to 224 x 224".'
    ' Only a model that knows can caption photos. Without features: what is'
    ' to see the photos.',
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
    f' {", ".join(beam_engine.RUNNERS)}. Its workers must reach features and'
    ' --data_dir under the same paths.',
  )
  text(
    'beam_options',
    'name=value for Beam, with commas between several:'
    ' direct_num_workers=8,direct_running_mode=multi_processing.',
  )
  return {
    'What to build': ['dataset'],
    'Captions and features (any dataset but scenes)': list(FILE_FLAGS),
    'Splits (any dataset but scenes)': list(SPLIT_FLAGS),
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


def _build_from_files(config: BuildConfig) -> tuple[epath.Path, bool]:
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
    images = _open_images(config)
  except errors.InputError as error:
    raise errors.InputError(checked.explain(str(error))) from error
  checked = _check_images(checked, raw, images)
  from data_prep.writing import dataset  # Late: TFDS is slow to import.

  photos_digest = ''
  if images.photos:
    before = checked.report
    checked, photos_digest = photo_table.check(checked, images.photos)
    print(checked.report.removeprefix(before).strip(), flush=True)
    checked.refuse()
  digest = ''
  if images.table is not None:
    digest = digest_features(checked, images.table)
  wanted = fingerprint(checked, raw.seed, images.encoder, digest, photos_digest)
  if dataset.is_there(config.root, config.dataset, wanted, config.overwrite):
    return dataset.dataset_path(config.root, config.dataset), False
  content = Content(config.dataset, checked, images, wanted)
  return dataset.write(content, config.root, _engine(config, images)), True


def _open_images(config: BuildConfig) -> Images:
  """Open the features and photos that are to be stored.

  Raises:
    InputError: they cannot be read, or are of an encoder that is not known.
  """
  table = None
  if config.features:
    table = features_lib.load(config.features, config.feature_ids)
    table.declare_encoder(config.encoder or '', config.features)
    if not config.photos:
      return Images.of_features(table)
  # Late: it needs Pillow, and photos are not everybody's.
  from mrnn_jax import encoders
  from mrnn_jax.encoders import encode

  encoder = (
    table.encoder
    if table
    else features_lib.Encoder(config.encoder or encode.DEFAULT)
  )
  name, resize = encode.parse_description(encoder.name)
  if not name:
    raise errors.InputError(
      f'--photos are stored as the encoder is to see them, and '
      f'"{encoder.name}" is none of ours: say which by --encoder, such as '
      f'--encoder="{encode.DEFAULT}".'
    )
  network = encoders.without_weights(name)
  if table and table.dim != network.feature_size:
    raise errors.InputError(
      f'{config.features} has features of {table.dim:,} numbers, {name} makes '
      f'{network.feature_size:,}: give features of that encoder, or leave '
      'them or --photos out.'
    )
  stored = photo_table.Stored(config.photo_size or network.image_size, resize)
  photos = photo_table.PhotoTable.open(config.photos, stored)
  return Images(table, photos, encoder, network.feature_size)


def _check_images(
  checked: checks.Checked, raw: records.RawDataset, images: Images
) -> checks.Checked:
  """Check what there is of features; refuse data with faults."""
  if images.table is None:
    checked.refuse()
    return checked
  return _check_features(checked, raw, images.table)


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


def _engine(config: BuildConfig, images: Images) -> beam_jobs.Engine | None:
  """Return who writes the shards; None: this process."""
  if not config.beam_runner:
    return None
  options = beam_engine.check(config.beam_runner, config.beam_options)
  stored = images.photos.stored if images.photos else None
  return beam_jobs.Engine(
    config.beam_runner,
    options,
    config.features,
    config.feature_ids,
    config.photos,
    (stored.size, stored.resize) if stored else None,
  )


def _build_scenes(config: BuildConfig) -> tuple[epath.Path, bool]:
  """Return the dataset's path and whether it had to be written."""
  # Late: both are slow to import, JAX is for encoding alone.
  from data_prep.writing import dataset
  from mrnn_jax import encoders
  from mrnn_jax.encoders import encode

  made = scenes.generate(config.num_scenes or scenes.NUM_SCENES, config.seed)
  checked = checks.check_captions('scenes', made.raw)
  print(checked.report, flush=True)
  checked.refuse()
  network = encoders.load(encoders.DEFAULT)
  # Known before anything is drawn or encoded, both of which take a while.
  wanted = fingerprint(
    checked,
    config.seed,
    encode.describe(network, 'squash'),
    f'pictures {scenes.VERSION}',
    f'{config.photo_size} pixels' if config.photo_size else '',
  )
  if dataset.is_there(config.root, 'scenes', wanted, config.overwrite):
    return dataset.dataset_path(config.root, 'scenes'), False
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
  images = Images.of_features(table)
  if config.photo_size:
    stored = photo_table.Stored(config.photo_size, 'squash')
    found = photo_table.PhotoTable(pictures, stored)
    images = dataclasses.replace(images, photos=found)
  content = Content('scenes', checked, images, wanted)
  return dataset.write(content, config.root), True


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
  cli.run_with_flags(
    lambda **values: build(BuildConfig(**values)),
    define_flags,
    USAGE,
    argv,
    'nothing was written; begin again.',
  )


if __name__ == '__main__':
  run()
