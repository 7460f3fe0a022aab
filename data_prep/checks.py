"""Check captions, splits and features before anything is written."""

from collections.abc import Iterable, Sequence
import dataclasses
import hashlib
import itertools

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
    faults += lacking_of(missing, split, lack, 'captions')
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
    fault if an image of a split has no feature, one that is not finite, or
    one that could be another's.
  """
  found = _find_features(raw, table)
  lacking, infinite, zero = [], [], []
  for split, ids in raw.splits.items():
    missing = [i for i in ids if i not in found.rows and i not in found.unsure]
    lacking += lacking_of(missing, split, 'no feature', 'features')
    broken = []
    for image_id in ids:
      if image_id not in found.rows:
        continue
      feature = table.at(found.rows[image_id])
      views = table.views_at(found.rows[image_id])
      if not (np.isfinite(feature).all() and np.isfinite(views).all()):
        broken.append(image_id)
      elif not feature.any():
        zero.append(image_id)
    lack = 'a feature that is not finite'
    infinite += lacking_of(broken, split, lack, 'features')
  listed = {i for ids in raw.splits.values() for i in ids}
  rest = [i for i in raw.captions if i not in listed]
  used = set(found.rows.values())
  seen = [
    (
      'images in no split (left out)',
      [i for i in rest if i in found.rows],
    ),
    ('repeated ids among the features (used once)', table.repeated),
    (
      'captions of images without a feature (left out)',
      [i for i in rest if i not in found.rows and i not in found.unsure],
    ),
    (
      'captions of images whose name fits several features (left out)',
      [i for i in rest if i in found.unsure],
    ),
    (
      'features without captions (left out)',
      [table.ids[row] for row in table.names.numbers() if row not in used],
    ),
    ('features that are zero throughout', zero),
    (
      'training images with the feature of another',
      _same_features(raw.splits.get('train', ()), table, found.rows),
    ),
  ]
  oddities = [
    records.Oddity(what, tuple(names)) for what, names in seen if names
  ]
  K = len(table.view_flips)
  each = f'{K} views of ' if K > 1 else ''
  report = (
    f'{checked.report}\nFeatures: {len(table):,} images, {each}{table.dim:,}'
    f' numbers each, {table.dtype}, encoder {table.encoder.name}.'
    + _list(oddities)
  )
  return dataclasses.replace(
    checked,
    oddities=checked.oddities + oddities,
    report=report,
    faults=checked.faults
    + lacking
    + infinite
    + _name_faults(raw, table, found, listed),
  )


@dataclasses.dataclass(frozen=True)
class _Found:
  """Where the features of images are.

  Attributes:
    rows: image id -> row of its feature, for images that have one.
    unsure: image id -> the features that its name could mean.
  """

  rows: dict[str, int]
  unsure: dict[str, str]


def _find_features(
  raw: records.RawDataset, table: features_lib.FeatureTable
) -> _Found:
  """Look up every image that has captions or is in a split."""
  found = _Found({}, {})
  for image_id in itertools.chain(raw.captions, *raw.splits.values()):
    if image_id in found.rows:
      continue
    try:
      row = table.names.find(image_id)
    except image_names.AmbiguousNameError as error:
      found.unsure[image_id] = error.fits
      continue
    if row is not None:
      found.rows[image_id] = row
  return found


def _name_faults(
  raw: records.RawDataset,
  table: features_lib.FeatureTable,
  found: _Found,
  listed: Iterable[str],
) -> list[Fault]:
  """Find images of splits whose names do not tell which feature is theirs."""
  faults = []
  for split, ids in raw.splits.items():
    names = [f'{i} could be {x}' for i in ids if (x := found.unsure.get(i))]
    if names:
      what = (
        f'{len(names):,} images of the {split} split have names that fit'
        f' several features ({first_few(names, "; ")})'
      )
      faults.append(Fault(what, 'name images with their folders everywhere'))
  owner: dict[int, str] = {}
  shared, strange = [], []
  for image_id in sorted(listed):
    row = found.rows.get(image_id)
    if row is not None:
      other = owner.setdefault(row, image_id)
      # One image in two splits, however it is spelled, is another fault.
      if image_names.image_key(other) != image_names.image_key(image_id):
        shared.append(f'{other} and {image_id} would both be {table.ids[row]}')
    elif image_id not in found.unsure:
      near = table.names.elsewhere(image_id)
      if near is not None:
        strange.append(f'{image_id}, {near}')
  if shared:
    what = (
      f'{len(shared):,} features would be of two images'
      f' ({first_few(shared, "; ")})'
    )
    faults.append(Fault(what, 'name the features with their folders'))
  if strange:
    what = (
      f'{len(strange):,} images without a feature have the file name of one in'
      f' another folder ({first_few(strange, "; ")})'
    )
    faults.append(Fault(what, 'give both the same path if they are the same'))
  return faults


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
        f' ({first_few(names)})'
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


def lacking_of(
  names: Sequence[str], split: str, lack: str, what: str
) -> list[Fault]:
  """Return the fault that counts and names images of a split, if any."""
  if not names:
    return []
  return [
    Fault(
      f'{len(names):,} images of the {split} split have {lack}'
      f' ({first_few(names)})',
      f'complete the {what} or take the images out of the list',
    )
  ]


def first_few(names: Sequence[str], comma: str = ', ') -> str:
  """Return the first few names."""
  return comma.join([*names[:3], *['...'] * (len(names) > 3)])


def _same_features(
  ids: Iterable[str], table: features_lib.FeatureTable, rows: dict[str, int]
) -> list[str]:
  """Name the pairs of images whose features agree bit by bit."""
  first: dict[bytes, str] = {}
  pairs = []
  for image_id in ids:
    if image_id not in rows:
      continue
    feature = table.at(rows[image_id]).tobytes()
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
