"""Check captions, splits and features before anything is written."""

from collections.abc import Iterable, Sequence
import dataclasses
import hashlib

import numpy as np

from data_prep import records
from mrnn_jax.data import datasets, image_names, vocabulary
from mrnn_jax.data import feature_files as features_lib
from mrnn_jax.runtime import errors


@dataclasses.dataclass(frozen=True)
class Fault:
  """Something for which the data must not be written.

  Attributes:
    what: what is wrong, a sentence without its end.
    remedy: what to do about it, read after a colon.
  """

  what: str
  remedy: str


@dataclasses.dataclass(frozen=True)
class Checked:
  """What was found in data, which may be written if ``refuse`` lets it pass.

  Attributes:
    splits: split -> its records, in the order of the list, without images that
      have no caption.
    words: split -> number of words, ends of sentences not counted.
    oddities: what the report lists.
    report: the report as people read it.
    faults: why the data must not be written, if anything is wrong.
  """

  splits: dict[str, list[records.Record]]
  words: dict[str, int]
  oddities: list[records.Oddity]
  report: str
  faults: list[Fault]

  @property
  def num_captions(self) -> dict[str, int]:
    """Split -> number of captions."""
    return {
      split: sum(len(record.captions) for record in rows)
      for split, rows in self.splits.items()
    }

  def explain(self, *others: str) -> str:
    """Return all faults, one sentence for each remedy.

    Args:
      *others: sentences on what else is wrong, told after them.
    """
    whats: dict[str, list[str]] = {}
    for fault in self.faults:
      whats.setdefault(fault.remedy, []).append(fault.what)
    sentences = [f'{"; ".join(w)}: {remedy}.' for remedy, w in whats.items()]
    return ' '.join([*sentences, *others])

  def refuse(self) -> None:
    """Raise an error that tells all faults at once, if there are any.

    Raises:
      InputError: the data must not be written.
    """
    if self.faults:
      raise errors.InputError(self.explain())


def check_captions(name: str, raw: records.RawDataset) -> Checked:
  """Check captions and splits, without features.

  Args:
    name: the dataset's name, for the report.
    raw: what a reader returned.

  Returns:
    The records of each split without their empty captions.  It is a fault if
    a split is empty or shares an image with another, or an image of a split
    has no caption with a word in it.
  """
  named = dict(raw.splits)
  for split in datasets.SPLITS:
    named.setdefault(split, [])
  faults = _check_splits(named)
  oddities = list(raw.oddities)
  kept, empty = _drop_empty(raw.captions)
  if empty:
    what = 'empty captions (left out)'
    oddities.append(records.Oddity(what, tuple(empty)))
  for split, ids in named.items():
    missing = [image_id for image_id in ids if not kept.get(image_id)]
    lack = 'no caption with a word in it'
    faults += _lacking(missing, split, lack, 'captions')
  splits = {
    split: [records.Record(i, tuple(kept[i])) for i in ids if kept.get(i)]
    for split, ids in named.items()
  }
  words = {split: _num_words(rows) for split, rows in splits.items()}
  checked = Checked(splits, words, oddities, '', faults)
  report = _table(name, named, checked)
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
    The same, with what was found about the features in the report.  It is a
    fault if an image of a split has no feature, or one that is not finite.
  """
  missing, infinite, zero = [], [], []
  for split, ids in raw.splits.items():
    without = [i for i in ids if i not in table]
    missing += _lacking(without, split, 'no feature', 'features')
    broken = []
    for image_id in ids:
      if image_id not in table:
        continue
      feature = table.get(image_id)
      if not np.isfinite(feature).all():
        broken.append(image_id)
      elif not feature.any():
        zero.append(image_id)
    lack = 'a feature that is not finite'
    infinite += _lacking(broken, split, lack, 'features')
  known = {image_names.image_key(image_id) for image_id in raw.captions}
  listed = {i for ids in raw.splits.values() for i in ids}
  found = [
    (
      'images in no split (left out)',
      [i for i in raw.captions if i not in listed and i in table],
    ),
    ('repeated ids among the features (used once)', table.repeated),
    (
      'captions of images without a feature (left out)',
      [i for i in raw.captions if i not in listed and i not in table],
    ),
    (
      'features without captions (left out)',
      [name for key, name in table.names_by_key() if key not in known],
    ),
    ('features that are zero throughout', zero),
    (
      'training images with the feature of another',
      _same_features(raw.splits.get('train', ()), table),
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
    checked,
    oddities=checked.oddities + oddities,
    report=report,
    faults=checked.faults + missing + infinite,
  )


def _check_splits(splits: dict[str, list[str]]) -> list[Fault]:
  """Find empty splits, and images that stand in two of them."""
  faults = []
  owner: dict[str, str] = {}
  for split in datasets.SPLITS:
    if not splits[split]:
      remedy = f'give a list of images with --{split}_list'
      faults.append(Fault(f'The {split} split is empty', remedy))
    shared: dict[str, list[str]] = {}
    for image_id in splits[split]:
      other = owner.get(image_names.image_key(image_id))
      if other:
        shared.setdefault(other, []).append(image_id)
    for other, names in shared.items():
      what = (
        f'{len(names):,} images stand in the lists of {other} and {split}'
        f' ({_first(names)})'
      )
      faults.append(Fault(what, 'take each out of one of them'))
    for image_id in splits[split]:
      owner.setdefault(image_names.image_key(image_id), split)
  return faults


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


def _lacking(
  names: Sequence[str], split: str, lack: str, what: str
) -> list[Fault]:
  """Return the fault that counts and names images of a split, if any."""
  if not names:
    return []
  return [
    Fault(
      f'{len(names):,} images of the {split} split have {lack}'
      f' ({_first(names)})',
      f'complete the {what} or take the images out of the list',
    )
  ]


def _first(names: Sequence[str]) -> str:
  """Return the first few names."""
  return ', '.join(names[:3]) + (', ...' if len(names) > 3 else '')


def _same_features(
  ids: Iterable[str], table: features_lib.FeatureTable
) -> list[str]:
  """Name the pairs of images whose features agree bit by bit."""
  first: dict[bytes, str] = {}
  pairs = []
  for image_id in ids:
    if image_id not in table:
      continue
    feature = table.get(image_id).tobytes()
    # The features themselves would stay in memory as keys; a long hash of
    # them is as good.
    digest = hashlib.blake2b(feature, digest_size=16).digest()
    other = first.setdefault(digest, image_id)
    if other != image_id:
      pairs.append(f'{other} = {image_id}')
  return pairs


def _num_words(rows: Iterable[records.Record]) -> int:
  """Count the words of all captions."""
  return sum(
    len(vocabulary.tokenize(caption))
    for record in rows
    for caption in record.captions
  )


def _table(name: str, named: dict[str, list[str]], checked: Checked) -> str:
  """Lay out the images that splits name, their captions and words."""
  lines = [f'{name:<14}{"images":>9}{"captions":>10}{"words":>11}{"each":>7}']
  captions = checked.num_captions
  for split, ids in named.items():
    each = checked.words[split] / max(captions[split], 1)
    lines.append(
      f'  {split:<12}{len(ids):>9,}{captions[split]:>10,}'
      f'{checked.words[split]:>11,}{each:>7.1f}'
    )
  return '\n'.join(lines)


def _list(oddities: Iterable[records.Oddity]) -> str:
  """Lay out oddities, one a line below the table."""
  return ''.join(f'\n  ! {oddity}' for oddity in oddities)
