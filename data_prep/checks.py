"""Check captions, splits and features before anything is written."""

from collections.abc import Iterable, Sequence
import dataclasses
import hashlib

import numpy as np

from data_prep import features as features_lib
from data_prep import records
from mrnn_jax import errors, vocabulary


@dataclasses.dataclass(frozen=True)
class Checked:
  """Data that may be written, and what was found on the way.

  Attributes:
    splits: split -> its records, in the order of the list.
    words: split -> number of words, ends of sentences not counted.
    oddities: what the report lists.
    report: the report as people read it.
  """

  splits: dict[str, list[records.Record]]
  words: dict[str, int]
  oddities: list[records.Oddity]
  report: str

  @property
  def num_captions(self) -> dict[str, int]:
    """Split -> number of captions."""
    return {
      split: sum(len(record.captions) for record in rows)
      for split, rows in self.splits.items()
    }


def check_captions(name: str, raw: records.RawDataset) -> Checked:
  """Check captions and splits, without features.

  Args:
    name: the dataset's name, for the report.
    raw: what a reader returned.

  Returns:
    The records of each split without their empty captions.

  Raises:
    InputError: a split is empty or shares an image with another, or an image
      of a split has no caption with a word in it.
  """
  _check_splits(raw.splits)
  oddities = list(raw.oddities)
  kept, empty = _drop_empty(raw.captions)
  if empty:
    what = 'empty captions (left out)'
    oddities.append(records.Oddity(what, tuple(empty)))
  for split, ids in raw.splits.items():
    missing = [image_id for image_id in ids if not kept.get(image_id)]
    _refuse(missing, split, 'no caption with a word in it', 'captions')
  splits = {
    split: [records.Record(i, tuple(kept[i])) for i in ids]
    for split, ids in raw.splits.items()
  }
  words = {split: _num_words(rows) for split, rows in splits.items()}
  checked = Checked(splits, words, oddities, '')
  report = _table(name, checked)
  if raw.note:
    report += f'\n{raw.note}'
  return dataclasses.replace(checked, report=report + _list(oddities))


def check_features(
  checked: Checked,
  raw: records.RawDataset,
  table: features_lib.FeatureTable,
) -> Checked:
  """Check that every image of a split has a usable feature.

  Args:
    checked: the result of ``check_captions``.
    raw: what a reader returned.
    table: the features.

  Returns:
    The same, with what was found about the features in the report.

  Raises:
    InputError: an image of a split has no feature, or one that is not finite.
  """
  for split, rows in checked.splits.items():
    missing = [r.image_id for r in rows if r.image_id not in table]
    _refuse(missing, split, 'no feature', 'features')
  zero, infinite = [], []
  for split, rows in checked.splits.items():
    for record in rows:
      feature = table.get(record.image_id)
      if not np.isfinite(feature).all():
        infinite.append(record.image_id)
      elif not feature.any():
        zero.append(record.image_id)
    _refuse(infinite, split, 'a feature that is not finite', 'features')
  known = {records.image_key(image_id) for image_id in raw.captions}
  listed = {i for ids in raw.splits.values() for i in ids}
  found = [
    (
      'images in no split (left out)',
      [i for i in raw.captions if i not in listed and i in table],
    ),
    ('repeated ids among the features (used once)', table.repeated),
    (
      'captions of images without a feature (left out)',
      [i for i in raw.captions if i not in table],
    ),
    (
      'features without captions (left out)',
      [name for key, name in table.names_by_key() if key not in known],
    ),
    ('features that are zero throughout', zero),
    (
      'training images with the feature of another',
      _same_features(checked.splits['train'], table),
    ),
  ]
  oddities = [
    records.Oddity(what, tuple(names)) for what, names in found if names
  ]
  report = (
    f'{checked.report}\nFeatures: {len(table):,} images, {table.dim:,}'
    f' numbers each, {table.dtype}, encoder {table.encoder.name}.'
    + _list(oddities)
  )
  return dataclasses.replace(
    checked, oddities=checked.oddities + oddities, report=report
  )


def _check_splits(splits: dict[str, list[str]]):
  """Refuse empty splits, and images that stand in two of them."""
  owner: dict[str, str] = {}
  for split in records.SPLITS:
    if not splits.get(split):
      raise errors.InputError(
        f'The {split} split is empty: give a list of images with'
        f' --{split}_list.'
      )
    for image_id in splits[split]:
      key = records.image_key(image_id)
      if key in owner:
        raise errors.InputError(
          f'{image_id} stands in the lists of {owner[key]} and {split}: take'
          ' it out of one of them.'
        )
    for image_id in splits[split]:
      owner[records.image_key(image_id)] = split


def _drop_empty(
  captions: dict[str, list[str]],
) -> tuple[dict[str, list[str]], list[str]]:
  """Leave out captions without a word; return the rest, and their images."""
  kept, empty = {}, []
  for image_id, sentences in captions.items():
    full = [s for s in sentences if vocabulary.tokenize(s)]
    empty += [image_id] * (len(sentences) - len(full))
    kept[image_id] = full
  return kept, empty


def _refuse(names: Sequence[str], split: str, lack: str, what: str):
  """Raise an error that counts and names the images of a split, if any."""
  if names:
    first = ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')
    raise errors.InputError(
      f'{len(names):,} images of the {split} split have {lack} ({first}):'
      f' complete the {what} or take the images out of the list.'
    )


def _same_features(
  rows: Iterable[records.Record], table: features_lib.FeatureTable
) -> list[str]:
  """Name the pairs of images whose features agree bit by bit."""
  first: dict[bytes, str] = {}
  pairs = []
  for record in rows:
    feature = table.get(record.image_id).tobytes()
    # The features themselves would stay in memory as keys; a long hash of
    # them is as good.
    digest = hashlib.blake2b(feature, digest_size=16).digest()
    other = first.setdefault(digest, record.image_id)
    if other != record.image_id:
      pairs.append(f'{other} = {record.image_id}')
  return pairs


def _num_words(rows: Iterable[records.Record]) -> int:
  """Count the words of all captions."""
  return sum(
    len(vocabulary.tokenize(caption))
    for record in rows
    for caption in record.captions
  )


def _table(name: str, checked: Checked) -> str:
  """Lay out images, captions and words per split."""
  lines = [f'{name:<14}{"images":>9}{"captions":>10}{"words":>11}{"each":>7}']
  captions = checked.num_captions
  for split, rows in checked.splits.items():
    each = checked.words[split] / captions[split]
    lines.append(
      f'  {split:<12}{len(rows):>9,}{captions[split]:>10,}'
      f'{checked.words[split]:>11,}{each:>7.1f}'
    )
  return '\n'.join(lines)


def _list(oddities: Iterable[records.Oddity]) -> str:
  """Lay out oddities, one a line below the table."""
  return ''.join(f'\n  ! {oddity}' for oddity in oddities)
