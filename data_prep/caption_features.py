"""The dataset ``caption_features``: image id, feature and captions.

TFDS writes it as ArrayRecord, without TensorFlow.  Whoever trains opens it by
``tfds.builder_from_directory`` and needs nothing of this package.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import hashlib
import io
import json
import os
import time
import uuid

from absl import logging
from etils import epath
import numpy as np
import tensorflow_datasets as tfds

from data_prep import checks, progress, records
from data_prep import features as features_lib
from mrnn_jax import errors, vocabulary

# A build takes minutes; what is left of one after this time was interrupted.
_ABANDONED_SECONDS = 6 * 3600

DESCRIPTIONS = {
  'flickr8k': 'Flickr8K: 8,000 photos of people and animals in action.',
  'flickr30k': 'Flickr30K: 31,783 photos of everyday life.',
  'iaprtc12': 'IAPR TC-12: 19,627 photos, mostly of travels.',
  'scenes': 'Scenes: pictures and sentences that the program makes itself.',
}


def description(name: str) -> str:
  """Return what a dataset is, in a sentence."""
  return DESCRIPTIONS.get(name, f'{name}: captions and features from files.')


@dataclasses.dataclass(frozen=True)
class Content:
  """Everything that a dataset is made of.

  Attributes:
    name: the dataset, one of ``DESCRIPTIONS`` or somebody's own.
    checked: its records and what the checks found.
    table: the features of its images.
    fingerprint: identifies the inputs, see ``fingerprint``.
  """

  name: str
  checked: checks.Checked
  table: features_lib.FeatureTable
  fingerprint: str

  def metadata(self) -> dict:
    """Return what is stored beside the records, in ``metadata.json``."""
    splits = self.checked.splits
    return {
      'fingerprint': self.fingerprint,
      'feature_size': self.table.dim,
      'encoder': dataclasses.asdict(self.table.encoder),
      'num_captions': self.checked.num_captions,
      'num_words': self.checked.words,
      'oddities': [
        {'what': o.what, 'count': o.count, 'names': list(o.names[:20])}
        for o in self.checked.oddities
      ],
      'word_counts': vocabulary.count_words(
        caption for record in splits['train'] for caption in record.captions
      ),
    }


class CaptionFeatures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Writes records of image id, feature and captions, in the lists' order.

  It is not registered with TFDS, because it can only be made with its
  content; ``tfds.builder('caption_features/flickr8k')`` reads a dataset that
  has been written from its files alone.
  """

  name = 'caption_features'
  VERSION = tfds.core.Version('1.0.0')

  # Nothing is downloaded.  TFDS would look for a list of checksums beside the
  # module, for which it needs a package that it does not install everywhere.
  url_infos = {}

  def __init__(self, content: Content, data_dir: epath.PathLike):
    self._content = content
    super().__init__(
      data_dir=os.fspath(data_dir),
      config=tfds.core.BuilderConfig(
        name=content.name, description=description(content.name)
      ),
      file_format='array_record',
    )

  def _info(self) -> tfds.core.DatasetInfo:
    table = self._content.table
    return tfds.core.DatasetInfo(
      builder=self,
      description=description(self._content.name),
      features=tfds.features.FeaturesDict(
        {
          'image_id': tfds.features.Text(),
          # As bytes, or TFDS would store float16 in four bytes each.
          'feature': tfds.features.Tensor(
            shape=(table.dim,), dtype=table.dtype, encoding='bytes'
          ),
          'captions': tfds.features.Sequence(tfds.features.Text()),
        }
      ),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(self._content.metadata()),
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # Nothing is downloaded.
    return {
      split: self._generate_examples(split, rows)
      for split, rows in self._content.checked.splits.items()
    }

  def _generate_examples(
    self, split: str, rows: list[records.Record]
  ) -> Iterator[tuple[int, dict]]:
    rows = progress.track(rows, len(rows), f'write {split} images')
    for number, record in enumerate(rows):
      yield (
        number,
        {
          'image_id': record.image_id,
          'feature': self._content.table.get(record.image_id),
          'captions': list(record.captions),
        },
      )


def fingerprint(
  checked: checks.Checked,
  seed: int | None,
  encoder: features_lib.Encoder,
  features_digest: str,
) -> str:
  """Identify the inputs of a dataset by their content.

  Args:
    checked: the records and what the checks found.
    seed: the seed that the splits depend on, if they do.
    encoder: which network made the features.
    features_digest: identifies the features, see ``digest_features``.

  Returns:
    64 hexadecimal digits.
  """
  content = {
    'splits': {
      split: [[record.image_id, record.captions] for record in rows]
      for split, rows in checked.splits.items()
    },
    'oddities': [str(oddity) for oddity in checked.oddities],
    'seed': seed,
    'encoder': dataclasses.asdict(encoder),
    'features': features_digest,
  }
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def digest_features(
  checked: checks.Checked, table: features_lib.FeatureTable
) -> str:
  """Identify the features of all records by their bytes, dtype and order."""
  digest = hashlib.sha256(f'{np.dtype(table.dtype)} {table.dim}'.encode())
  for rows in checked.splits.values():
    for record in rows:
      digest.update(table.get(record.image_id).tobytes())
  return digest.hexdigest()


def dataset_path(data_dir: epath.PathLike, name: str) -> epath.Path:
  """Return the directory of a dataset below TFDS's data directory."""
  root = epath.Path(data_dir).expanduser()
  version = str(CaptionFeatures.VERSION)
  return root / CaptionFeatures.name / name / version


def is_there(
  data_dir: epath.PathLike,
  name: str,
  wanted: str,
  overwrite: bool,
) -> bool:
  """Say whether a dataset is there already and need not be written.

  Args:
    data_dir: TFDS's data directory.
    name: the dataset.
    wanted: the fingerprint of the inputs at hand.
    overwrite: whether a dataset of other inputs may be replaced.

  Returns:
    True if it is there, made from the same inputs.

  Raises:
    InputError: another one is there and must not be overwritten.
  """
  path = dataset_path(data_dir, name)
  _restore(path)
  if not path.exists():
    return False
  try:
    metadata = json.loads((path / 'metadata.json').read_text())
    found = metadata['fingerprint']
  except (OSError, ValueError, KeyError, TypeError):
    found = None
  if found == wanted:
    return True
  if overwrite:
    return False
  raise errors.InputError(
    f'{path} holds a dataset made from other input: replace it with'
    ' --overwrite, or write elsewhere with --data_dir.'
  )


def write(content: Content, data_dir: epath.PathLike) -> epath.Path:
  """Write a dataset so that it is there as a whole or not at all.

  It is made in a directory beside its place and moved there when it is
  complete; an older one stays in its place until then.

  Args:
    content: what to write.
    data_dir: TFDS's data directory.

  Returns:
    The directory of the dataset, for ``tfds.builder_from_directory``.
  """
  path = dataset_path(data_dir, content.name)
  _remove_abandoned(path)
  workshop = path.parent / f'{path.name}.incomplete-{uuid.uuid4().hex[:8]}'
  try:
    # Its bars take many lines in a log; ours stand in _generate_examples.
    tfds.disable_progress_bar()
    with _quiet():
      builder = CaptionFeatures(content, workshop)
      builder.download_and_prepare()
    old = _replaced(path)
    if path.exists():
      path.rename(old)
    epath.Path(builder.data_dir).rename(path)
    if old.exists():
      old.rmtree()
  finally:
    if workshop.exists():
      workshop.rmtree()
    _restore(path)
  return path


@contextlib.contextmanager
def _quiet():
  """Hush what TFDS says of every dataset whose name it does not know.

  It also announces a download of unknown size on stdout; there is none.
  """
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.set_verbosity(verbosity)


def _replaced(path: epath.Path) -> epath.Path:
  """Return where a dataset waits while its successor moves in."""
  return path.parent / f'{path.name}.replaced'


def _restore(path: epath.Path):
  """Put an old dataset back whose successor never arrived."""
  old = _replaced(path)
  if not old.exists():
    return
  if path.exists():
    old.rmtree()
  else:
    old.rename(path)


def _remove_abandoned(path: epath.Path):
  """Remove what killed builds have left beside a dataset's place."""
  path.parent.mkdir(parents=True, exist_ok=True)
  for left in path.parent.glob(f'{path.name}.incomplete-*'):
    if time.time() - left.stat().mtime > _ABANDONED_SECONDS:
      left.rmtree()
