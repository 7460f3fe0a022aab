"""IAPR TC-12: a tree of ``.eng`` files and two image lists.

A file is marked up like XML without being XML (bare ``&`` and ``<`` occur),
in Latin-1.  Its DESCRIPTION holds several sentences separated by ``;``, each
of which is one caption.  There is no list of validation images, so they are
cut from the training list by a seed.
"""

from concurrent import futures
import html
import random
import re

from etils import epath

from data_prep import records
from data_prep.readers import gather, raw_files
from mrnn_jax.data import datasets, image_names
from mrnn_jax.runtime import bounded_files, errors, messages

NUM_VALIDATION = 1000

_BEGIN, _END = '<description>', '</description>'
_TREES = (
  'annotations_complete_eng',
  'annotations',
  'annotations_eng',
)
_LISTS = {
  'train': ('iaprtc12_train_list.txt', 'iaprtc12_train.txt'),
  'validation': (
    'iaprtc12_validation_list.txt',
    'iaprtc12_val_list.txt',
    'iaprtc12_val.txt',
  ),
  'test': ('iaprtc12_test_list.txt', 'iaprtc12_test.txt'),
}


def read(raw: raw_files.RawFiles) -> records.RawDataset:
  """Read IAPR TC-12; image ids are like ``00/25``.

  Without a list of validation images, 1000 of the training images become
  validation images, or a tenth of them where that is less.

  Args:
    raw: where the ``.eng`` tree (``captions``) and the lists lie.

  Returns:
    Captions of every ``.eng`` file and the three splits.

  Raises:
    InputError: a file is missing or malformed.
  """
  captions, oddities = _read_tree(_find_tree(raw))
  splits, known = {}, image_names.Names(captions)
  for split in datasets.SPLITS:
    usual = _LISTS[split] + raw_files.COMMON_LISTS[split]
    path = raw.find(f'{split}_list', usual, required=split != 'validation')
    if path is not None:
      splits[split], repeated = raw_files.read_split(split, path, known)
      oddities += repeated
  if 'validation' in splits:
    return records.RawDataset(captions, splits, oddities)
  splits['train'], splits['validation'] = cut_validation(
    splits['train'], raw.seed
  )
  note = f'The validation images were cut from train by seed {raw.seed}.'
  return records.RawDataset(captions, splits, oddities, raw.seed, note)


def cut_validation(train: list[str], seed: int) -> tuple[list[str], list[str]]:
  """Cut a validation split from the training images.

  Args:
    train: the names of the training list; their order does not decide which
      are cut.
    seed: decides which are cut.

  Returns:
    The remaining training images and the validation images, 1000 or a tenth
    if that is less, at least one, both in the order of the list.
  """
  size = min(NUM_VALIDATION, max(1, len(train) // 10), len(train))
  chosen = set(random.Random(seed).sample(sorted(train), size))
  return (
    [name for name in train if name not in chosen],
    [name for name in train if name in chosen],
  )


def parse_description(text: str, source: str) -> list[str]:
  """Return the sentences of an ``.eng`` file.

  Args:
    text: the whole file.
    source: the file's name, for messages.

  Returns:
    The parts of DESCRIPTION between semicolons, white space joined; parts
    without anything in them are left out.

  Raises:
    InputError: there is no DESCRIPTION.
  """
  # Latin-1 is as long in small letters.
  small = text.lower()
  begin = small.find(_BEGIN) + len(_BEGIN)
  end = small.find(_END, begin)
  if begin < len(_BEGIN) or end < 0:
    line = text.count('\n') + 1
    raise errors.InputError(
      f'{source}:{line} ends without a <DESCRIPTION> ... </DESCRIPTION>: it is'
      ' no annotation of IAPR TC-12, or cut short.'
    )
  # Unescaped before it is split: '&amp;' carries a semicolon of its own.
  try:
    parts = html.unescape(text[begin:end]).split(';')
  except ValueError as error:  # A number of 5,000 digits.
    raise errors.InputError(
      f'{source} has a character that cannot be read'
      f' ({messages.first_line(error)}): correct it.'
    ) from error
  for part in parts:
    gather.check_length(part, source)
  return [' '.join(part.split()) for part in parts if part.strip()]


def _find_tree(raw: raw_files.RawFiles) -> epath.Path:
  """Return the folder that holds the numbered folders of ``.eng`` files."""
  if not raw.captions and raw.raw_dir:
    root = epath.Path(raw.raw_dir)
    if root.is_dir() and any(
      re.fullmatch(r'\d\d', path.name) for path in root.iterdir()
    ):
      return root
  return raw.find('captions', _TREES)


def _read_tree(
  root: epath.Path,
) -> tuple[dict[str, list[str]], list[records.Oddity]]:
  """Read every ``.eng`` file below a folder, at any depth up to two."""
  if not root.is_dir():
    raise errors.InputError(
      f'{root} is no directory: --captions of IAPR TC-12 is the folder that'
      ' holds the folders 00, 01, ... of .eng files.'
    )
  paths = sorted([*root.glob('*/*.eng'), *root.glob('*.eng')])
  if not paths:
    raise errors.InputError(
      f'No .eng file lies in the folders of {root}: correct --captions.'
    )
  # Twenty thousand small files: on remote storage each waits for its answer.
  with futures.ThreadPoolExecutor(16) as pool:
    texts = pool.map(
      lambda path: bounded_files.read_text(path, 'latin-1'), paths
    )
    captions: dict[str, list[str]] = {}
    empty = []
    for path, text in zip(paths, texts, strict=True):
      folder = path.parent.name
      # The folder that was named is no part of a name, unless it is 00 or 01.
      inside = path.parent != root or re.fullmatch(r'\d\d', folder)
      image_id = image_names.image_key(
        f'{folder}/{path.name}' if inside else path.name
      )
      if image_id in captions:
        raise errors.InputError(
          f'{path} is a second annotation of {image_id}: keep one of them.'
        )
      captions[image_id] = parse_description(text, str(path))
      if not captions[image_id]:
        empty.append(image_id)
  oddities = []
  if empty:
    what = 'annotations with an empty description'
    oddities.append(records.Oddity(what, tuple(empty)))
  return captions, oddities
