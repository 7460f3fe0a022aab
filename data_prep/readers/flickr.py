"""Flickr8K and Flickr30K: a ``.token`` file and three split lists.

A line of the token file is ``name.jpg#i<TAB>caption``.  One's own data may
have the same form, as ``captions.token``.
"""

import re

from data_prep import records
from data_prep.readers import gather, raw_files, splits
from mrnn_jax.data import datasets, image_names
from mrnn_jax.runtime import bounded_files, errors, messages

USUAL = ('captions.token', 'captions.txt')

_NAME = re.compile(r'(.+)#(\d+)')

_TOKEN_FILES = {
  'flickr8k': ('Flickr8k.token.txt', 'Flickr8k.token'),
  'flickr30k': (
    'results_20130124.token',
    'results_20130124.token.txt',
    'Flickr30k.token.txt',
    'Flickr30k.token',
  ),
}
_LISTS: dict[str, dict[str, tuple[str, ...]]] = {
  'flickr8k': {
    'train': ('Flickr_8k.trainImages.txt',),
    'validation': ('Flickr_8k.devImages.txt',),
    'test': ('Flickr_8k.testImages.txt',),
  },
  'flickr30k': {
    'train': (
      'flickr30k_train.txt',
      'Flickr_30k.trainImages.txt',
      'flickr30ktrain.txt',
    ),
    'validation': (
      'flickr30k_val.txt',
      'flickr30k_dev.txt',
      'Flickr_30k.devImages.txt',
      'flickr30kval.txt',
    ),
    'test': (
      'flickr30k_test.txt',
      'Flickr_30k.testImages.txt',
      'flickr30ktest.txt',
    ),
  },
}


def read_flickr8k(raw: raw_files.RawFiles) -> records.RawDataset:
  """Read Flickr8K from its token file and its three image lists."""
  return _read('flickr8k', raw)


def read_flickr30k(raw: raw_files.RawFiles) -> records.RawDataset:
  """Read Flickr30K from its token file and three image lists."""
  return _read('flickr30k', raw)


def read_token(raw: raw_files.RawFiles) -> records.RawDataset:
  """Read anybody's captions in this form, with lists of images or not."""
  path = raw.find('captions', USUAL)
  captions, oddities = parse_captions(bounded_files.read_text(path), str(path))
  return splits.assign(captions, {}, raw, oddities)


def _read(name: str, raw: raw_files.RawFiles) -> records.RawDataset:
  """Read a dataset of this format by the names its files usually bear."""
  path = raw.find('captions', _TOKEN_FILES[name])
  captions, oddities = parse_captions(bounded_files.read_text(path), str(path))
  listed, known = {}, image_names.Names(captions)
  for split in datasets.SPLITS:
    usual = _LISTS[name][split] + raw_files.COMMON_LISTS[split]
    path = raw.find(f'{split}_list', usual)
    listed[split], repeated = raw_files.read_split(split, path, known)
    oddities += repeated
  return records.RawDataset(captions, listed, oddities)


def parse_captions(
  text: str, source: str
) -> tuple[dict[str, list[str]], list[records.Oddity]]:
  """Parse the lines of a token file.

  Args:
    text: lines ``name.jpg#i<TAB>caption``; empty lines are skipped.
    source: the file's name, for messages.

  Returns:
    Image id -> captions, both in the order of the file, and the oddities:
    caption numbers that an image repeats, and images whose name is spelled in
    several ways (they become one image under the first spelling).

  Raises:
    InputError: a line is not of this form, or there is none at all.
  """
  captions: dict[str, list[str]] = {}
  spelled: dict[str, str] = {}
  numbers: set[tuple[str, str]] = set()
  repeated, respelled = [], []
  for number, line in enumerate(text.split('\n'), start=1):
    if not line.strip():
      continue
    label, tab, caption = line.partition('\t')
    match = _NAME.fullmatch(label.strip())
    if not tab or not match or not image_names.image_key(match[1]):
      raise errors.InputError(
        f'{source}:{number} is not "name.jpg#0<TAB>caption" but'
        f' {messages.shorten(line)}: correct the line or the file given.'
      )
    where = f'{source}:{number}'
    name, index = image_names.as_name(match[1], where), match[2]
    gather.check_length(caption, where)
    image_id = spelled.setdefault(image_names.image_key(name), name)
    if image_id != name:
      respelled.append(name)
    if (image_id, index) in numbers:
      repeated.append(label.strip())
    numbers.add((image_id, index))
    captions.setdefault(image_id, []).append(caption.strip())
  if not captions:
    raise errors.InputError(
      f'{source} holds no caption: give a file of lines'
      ' "name.jpg#0<TAB>caption".'
    )
  oddities = []
  if repeated:
    what = 'captions with the number of an earlier one (kept)'
    oddities.append(records.Oddity(what, tuple(repeated)))
  if respelled:
    what = 'images spelled in two ways (joined)'
    oddities.append(records.Oddity(what, tuple(dict.fromkeys(respelled))))
  return captions, oddities
