"""What a dataset is made of, and the hash by which that is known again."""

import dataclasses
import hashlib
import json

import numpy as np

from data_prep import checks
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
    flips = self.table.view_flips
    return {
      'fingerprint': self.fingerprint,
      'feature_size': self.table.dim,
      'encoder': dataclasses.asdict(self.table.encoder),
      **({'view_flips': flips} if len(flips) > 1 else {}),
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
      digest.update(table.get_views(record.image_id).tobytes())
  return digest.hexdigest()
