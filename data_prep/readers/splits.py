"""Which images of one's own data are for training, validation and testing.

Lists of names come first, then what the captions file says of each image, then
chance: a split that nothing names is cut from train by a seed.
"""

from collections.abc import Mapping
import random

from data_prep import records
from data_prep.readers import raw_files
from mrnn_jax.data import datasets, image_names
from mrnn_jax.runtime import errors, messages

SHARE = 0.1
LEFT_OUT = 'left out'
# What files call the column or the key that tells it.
COLUMNS = ('split', 'set', 'subset', 'fold', 'phase', 'partition')
_NAMES = {
  'train': ('train', 'training'),
  'validation': ('validation', 'val', 'valid', 'dev'),
  'test': ('test', 'testing'),
  'restval': ('restval',),
}
_SPLITS = {name: split for split, names in _NAMES.items() for name in names}


def parse(name: str, where: str, restval: bool = True) -> str:
  """Return the split that a file calls by any of its usual names.

  Args:
    name: as the file has it.
    where: the place, for the message.
    restval: whether Karpathy's ``restval``, the images of COCO's validation
      files that he did not use to validate or test, are for training.

  Raises:
    InputError: it is no such name.
  """
  split = _SPLITS.get(name.strip().lower())
  if split is None:
    raise errors.InputError(
      f'{where} has the split {messages.shorten(name)}: write train, validation'
      ' or test.'
    )
  if split == 'restval':
    return 'train' if restval else LEFT_OUT
  return split


def of_file(name: str) -> str | None:
  """Return the split that a file's name tells, as COCO's do, or None."""
  name = name.lower()
  for split, part in (('train', 'train'), ('validation', 'val')):
    if part in name:
      return split
  return 'test' if 'test' in name else None


def assign(
  captions: dict[str, list[str]],
  labels: Mapping[str, str],
  raw: raw_files.RawFiles,
  oddities: list[records.Oddity],
) -> records.RawDataset:
  """Divide images into splits.

  A list names its split.  A split without a list gets the images with its
  label that no list names; where there is no list of training images, those
  without a label are for training.  What is empty then is cut from train.

  Args:
    captions: image id -> sentences.
    labels: image id -> split, or ``LEFT_OUT``.
    raw: the lists, the shares and the seed.
    oddities: what the reader had to step over.

  Raises:
    InputError: a share is given for a split that is named, there are too few
      images, or a list cannot be used.
  """
  lists, oddities = {}, list(oddities)
  known = image_names.Names(captions)
  for split in datasets.SPLITS:
    usual = raw_files.COMMON_LISTS[split]
    path = raw.find(f'{split}_list', usual, required=False)
    if path is not None:
      lists[split], repeated = raw_files.read_split(split, path, known)
      oddities += repeated
  listed = {i for names in lists.values() for i in names}
  rest = [i for i in captions if i not in listed]
  splits = {
    split: lists.get(split, [i for i in rest if labels.get(i) == split])
    for split in datasets.SPLITS
  }
  if 'train' not in lists:
    splits['train'] = [i for i in rest if labels.get(i, 'train') == 'train']
    unlabelled = tuple(i for i in rest if i not in labels)
    if labels and unlabelled:
      what = 'images without a split (taken for training)'
      oddities.append(records.Oddity(what, unlabelled))
  left_out = tuple(i for i in rest if labels.get(i) == LEFT_OUT)
  if left_out:
    oddities.append(records.Oddity('images of restval (left out)', left_out))
  note = _cut(splits, raw)
  seed = raw.seed if note else None
  return records.RawDataset(captions, splits, oddities, seed, note)


def _cut(splits: dict[str, list[str]], raw: raw_files.RawFiles) -> str:
  """Cut splits that are empty from train; return the note on it, or ''."""
  shares = {
    'validation': raw.validation_share,
    'test': raw.test_share,
  }
  total = sum(len(names) for names in splits.values())
  sizes = {}
  for split, share in shares.items():
    if share is not None and splits[split]:
      raise errors.InputError(
        f'--{split}_share={share:g} is given, but the data name'
        f' {len(splits[split]):,} {split} images: leave the flag out.'
      )
    if not splits[split] and share != 0:
      sizes[split] = max(1, round((SHARE if share is None else share) * total))
  if not sizes:
    return ''
  cut = sum(sizes.values())
  train = splits['train']
  if cut >= len(train):
    raise errors.InputError(
      f'{len(train):,} images to divide are too few for {cut:,} of'
      f' {" and ".join(sizes)} and some of train: bring more, or ask for less'
      ' with --validation_share and --test_share.'
    )
  # Sorted, so that the order of the files does not decide which are cut.
  drawn = random.Random(raw.seed).sample(sorted(train), cut)
  cut_out = set(drawn)
  begin = 0
  for split, size in sizes.items():
    chosen = set(drawn[begin : begin + size])
    splits[split] = [i for i in train if i in chosen]
    begin += size
  splits['train'] = [i for i in train if i not in cut_out]
  parts = ' and '.join(
    messages.counted(size, f'{split} image') for split, size in sizes.items()
  )
  return (
    f'! No column and no list tells the splits: {parts} were drawn from train '
    f'by seed {raw.seed}.'
  )
