"""Which reader a dataset needs: by its name, or by what its files look like."""

import fnmatch
import re

from etils import epath

from data_prep.readers import (
  DATASETS,
  coco,
  flickr,
  json_lines,
  karpathy,
  mrnn,
  raw_files,
  table_file,
)
from mrnn_jax.runtime import bounded_files, errors, json_files, messages

# In this order: a folder of COCO may hold Karpathy's file as well.
_USUAL = {
  'csv': table_file.USUAL,
  'jsonl': json_lines.USUAL,
  'token': flickr.USUAL,
  'karpathy': karpathy.USUAL,
  'mrnn': mrnn.USUAL,
  'coco': coco.USUAL,
}
_SUFFIXES = {
  '.csv': 'csv',
  '.tsv': 'csv',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
  '.npy': 'mrnn',
  '.token': 'token',
}
_HEAD_BYTES = 1 << 16


def choose(dataset: str, raw: raw_files.RawFiles) -> str:
  """Return the name of the reader for a dataset, one of ``READERS``.

  Args:
    dataset: its name; those in ``DATASETS`` have a reader of their own, which
      is taken unless the captions file is plainly of another kind.
    raw: where its files lie.

  Raises:
    InputError: nothing there is known, or files of several kinds are.
  """
  if raw.captions:
    path = raw.find_all('captions', ())[0]
    if path.is_dir():
      return 'iaprtc12'
    found = recognise(path)
    if dataset in DATASETS and found in (None, 'token'):
      return dataset
    if found is None:
      raise errors.InputError(
        f'{path} is no captions file that is known'
        f' (it begins with {messages.shorten(_head(path).strip())}): say what'
        f' it is with --format, one of {", ".join(_USUAL)}.'
      )
    return found
  if dataset in DATASETS:
    return dataset
  patterns = [name for names in _USUAL.values() for name in names]
  paths = raw.find_all('captions', patterns, several=True)
  # The kind of captions.txt, which many use, is told by its first line.
  kinds = {
    kind: path
    for path in paths
    if (kind := _by_name(path.name) or recognise(path))
  }
  if not kinds:
    raise errors.InputError(
      f'{paths[0]} is no captions file that is known: say what it is with'
      f' --format, one of {", ".join(_USUAL)}.'
    )
  if len(kinds) > 1:
    first, second = list(kinds.values())[:2]
    raise errors.InputError(
      f'Both {first} and {second} could be meant: say which with --captions.'
    )
  return next(iter(kinds))


def recognise(path: epath.Path) -> str | None:
  """Return the kind of a captions file by its suffix and beginning, or None.

  Raises:
    InputError: it cannot be read.
  """
  kind = _SUFFIXES.get(path.suffix.lower())
  if kind:
    return kind
  head = _head(path).lstrip('\ufeff \t\r\n')
  line = head.split('\n', 1)[0].strip()
  if re.match(r'[^\t]+#\d+\t', line):
    return 'token'
  if head.startswith('{'):
    return _kind_of_json(head, line)
  return 'csv' if table_file.is_header(line) else None


def _kind_of_json(head: str, line: str) -> str | None:
  """Tell the kinds of JSON apart by what stands in the beginning."""
  try:
    value = json_files.parse(line)
    if isinstance(value, dict) and 'image_id' in value:
      return 'jsonl'
  except json_files.NotJsonError:
    pass  # One object over many lines, or on one that is longer.
  if '"sentences"' in head or '"sentids"' in head:
    return 'karpathy'
  if '"annotations"' in head or '"file_name"' in head or '"info"' in head:
    return 'coco'
  return None


def _by_name(name: str) -> str | None:
  """Return the kind whose usual names fit; None for captions.txt."""
  for kind, names in _USUAL.items():
    for usual in names:
      if usual != 'captions.txt' and fnmatch.fnmatch(name.lower(), usual):
        return kind
  return None


def _head(path: epath.Path) -> str:
  """Return the beginning of a file as text, whatever it is."""
  head = bounded_files.read_head(path, _HEAD_BYTES)
  return head.decode('utf-8', 'replace')
