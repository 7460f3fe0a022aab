"""What a dataset is made of, and the hash by which that is known again."""

import dataclasses
import hashlib
import json

import numpy as np

from data_prep import checks, photo_table
from mrnn_jax.data import feature_files as features_lib
from mrnn_jax.data import vocabulary

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
class Images:
  """What a dataset stores of its images: features, photos, or both.

  Attributes:
    table: their features.
    photos: the photos themselves.
    encoder: what made the features, or is to make them of the photos.
    feature_size: D of what it makes.
  """

  table: features_lib.FeatureTable | None
  photos: photo_table.PhotoTable | None
  encoder: features_lib.Encoder
  feature_size: int

  @classmethod
  def of_features(cls, table: features_lib.FeatureTable) -> 'Images':
    """Return features without photos."""
    return cls(table, None, table.encoder, table.dim)

  @classmethod
  def open(
    cls,
    features: str | None,
    feature_ids: str | None,
    photos: str | None,
    stored: tuple[int, str] | None,
  ) -> 'Images':
    """Open files of which all is known to be sound; their encoder is not told.

    Args:
      features: the feature file, or None.
      feature_ids: the list of its names, or None.
      photos: the folder or list of the photos, or None.
      stored: pixels and shape of the photos.
    """
    table = features_lib.load(features, feature_ids) if features else None
    found = None
    if photos and stored:
      found = photo_table.PhotoTable.open(photos, photo_table.Stored(*stored))
    return cls(table, found, features_lib.Encoder(), 0)

  @property
  def num_views(self) -> int:
    """K of each image; 0 without features."""
    return 0 if self.table is None else len(self.table.view_flips)

  def metadata(self) -> dict:
    """Return what is stored of them beside the records."""
    return {
      'feature_size': self.feature_size,
      'encoder': dataclasses.asdict(self.encoder),
      **self._of_table(),
      **({'photo_size': self.photos.stored.size} if self.photos else {}),
    }

  def _of_table(self) -> dict:
    if self.table is None:
      return {'features': False}
    flips = self.table.view_flips
    return {'view_flips': flips} if len(flips) > 1 else {}

  def bytes_each(self) -> int:
    """Return about how many bytes an image takes."""
    size = self.photos.stored.size**2 // 3 if self.photos else 0
    if self.table is not None:
      size += self.num_views * self.table.dim * self.table.dtype.itemsize
    return size


@dataclasses.dataclass(frozen=True)
class Content:
  """Everything that a dataset is made of.

  Attributes:
    name: the dataset, one of ``DESCRIPTIONS`` or somebody's own.
    checked: its records and what the checks found.
    images: the features and photos of its images.
    fingerprint: identifies the inputs, see ``fingerprint``.
  """

  name: str
  checked: checks.Checked
  images: Images
  fingerprint: str

  def metadata(self) -> dict:
    """Return what is stored beside the records, in ``metadata.json``."""
    splits = self.checked.splits
    return {
      'fingerprint': self.fingerprint,
      **self.images.metadata(),
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


def fingerprint(
  checked: checks.Checked,
  seed: int | None,
  encoder: features_lib.Encoder,
  features_digest: str,
  photos_digest: str = '',
) -> str:
  """Identify the inputs of a dataset by their content.

  Args:
    checked: the records and what the checks found.
    seed: the seed that the splits depend on, if they do.
    encoder: which network made the features.
    features_digest: identifies the features, see ``digest_features``.
    photos_digest: identifies the photos, if there are any.

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
    **({'photos': photos_digest} if photos_digest else {}),
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
      digest.update(table.get_views(record.image_id).tobytes())
  return digest.hexdigest()
