"""What a dataset stores beside its records, and whether it is sound."""

from collections.abc import Mapping, Sequence
import hashlib
from typing import Any

from mrnn_jax.data.feature_files.table import Encoder
from mrnn_jax.runtime import json_forms


def check_metadata(metadata: Mapping[str, Any]) -> None:
  """Raise ValueError where metadata are not what is read of them later."""
  encoder = metadata.get('encoder')
  counts = metadata.get('word_counts')
  sound = {
    'fingerprint': isinstance(metadata.get('fingerprint'), str),
    'feature_size': type(metadata.get('feature_size')) is int,
    'encoder': isinstance(encoder, dict)
    and all(isinstance(encoder.get(x), str) for x in ('name', 'weights')),
    'view_flips': json_forms.misfit(metadata.get('view_flips', [False]), [bool])
    == '',
    'features': type(metadata.get('features', True)) is bool,
    'photo_size': type(metadata.get('photo_size', 0)) is int,
    'word_counts': isinstance(counts, dict)
    and all(type(count) is int for count in counts.values()),
  }
  wrong = [name for name, is_sound in sound.items() if not is_sound]
  if wrong:
    raise ValueError(f'metadata.json does not tell {", ".join(wrong)}')


def join_metadata(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Return the metadata of datasets whose features are put together."""
  encoder = Encoder.joined([Encoder(**part['encoder']) for part in parts])
  return {
    **parts[0],
    'fingerprint': joined_fingerprint([part['fingerprint'] for part in parts]),
    'feature_size': sum(part['feature_size'] for part in parts),
    'encoder': vars(encoder),
    # Of the whole photos alone.
    'view_flips': [False],
    'photo_size': 0,
  }


def joined_fingerprint(fingerprints: Sequence[str]) -> str:
  """Return the fingerprint of datasets put together."""
  if len(fingerprints) == 1:
    return fingerprints[0]
  return hashlib.sha256(' '.join(fingerprints).encode()).hexdigest()
