"""One's own captions as a table: CSV, one caption a line.

The first line names the columns: ``image_id,caption`` or
``image_id,caption,split``, in any order; others beside them are reported.
Commas, tabs, semicolons and ``|`` can separate; a field that holds the
separator stands in double quotes.
"""

from collections.abc import Iterator
import csv

from etils import epath

from data_prep import records
from data_prep.readers import gather, raw_files, splits
from mrnn_jax.runtime import bounded_files, errors, messages

USUAL = ('captions.csv', 'captions.tsv', 'captions.txt')
_COLUMNS = {
  'image_id': (
    'image_id',
    'image',
    'image_name',
    'filename',
    'file_name',
    'file',
  ),
  'caption': ('caption', 'sentence', 'comment', 'text'),
  'split': splits.COLUMNS,
}
_SEPARATORS = '\t;|,'


def read(raw: raw_files.RawFiles) -> records.RawDataset:
  """Read one or several tables.

  Raises:
    InputError: a table is missing, a column or a line is not as it must be.
  """
  paths = raw.find_all('captions', USUAL)
  gatherer = gather.Gatherer(raw)
  for path in paths:
    for where, name, caption, split in _rows(path, gatherer):
      gatherer.add(name, [caption], where, split)
  return gatherer.finish(str(paths[0]))


def is_header(line: str) -> bool:
  """Say whether a line could be the first one of such a table."""
  columns = _find_columns(_split_header(line)[1])
  return 'image_id' in columns and 'caption' in columns


def _rows(
  path: epath.Path, gatherer: gather.Gatherer
) -> Iterator[tuple[str, str, str, str]]:
  """Yield place, image, caption and split ('' if not told) of each line."""
  lines = (line for _, line in bounded_files.read_lines(path))
  separator, names = _split_header(next(lines, ''))
  columns = _find_columns(names)
  for column in ('image_id', 'caption'):
    if column not in columns:
      raise errors.InputError(
        f'{path}:1 names the columns {messages.shorten(", ".join(names))} '
        f'without {column}: begin the file with image_id,caption or'
        ' image_id,caption,split.'
      )
  used = columns.values()
  gatherer.leave_aside(x for i, x in enumerate(names) if i not in used)
  reader = csv.reader(lines, delimiter=separator, strict=True)
  while True:
    try:
      row = next(reader)
    except StopIteration:
      return
    except csv.Error as error:
      raise errors.InputError(
        f'{path}:{reader.line_num + 1} is no line of a table'
        f' ({messages.first_line(error)}): check its double quotes.'
      ) from error
    # Counted where a row ends: one in quotes may go over several lines.
    where = f'{path}:{reader.line_num + 1}'
    if not any(field.strip() for field in row):
      continue
    if len(row) != len(names):
      raise errors.InputError(
        f'{where} has {len(row)} fields where the first line names'
        f' {len(names)}: put captions with {separator!r} in them in double'
        ' quotes.'
      )
    split = row[columns['split']].strip() if 'split' in columns else ''
    yield where, row[columns['image_id']], row[columns['caption']], split


def _split_header(line: str) -> tuple[str, list[str]]:
  """Return the separator of a table and the names in its first line."""
  separator = max(_SEPARATORS, key=lambda s: (line.count(s), s == ','))
  names = [name.strip().strip('"').strip() for name in line.split(separator)]
  return separator, [name.lower() for name in names]


def _find_columns(names: list[str]) -> dict[str, int]:
  """Return which column holds what, as far as the names tell."""
  columns = {}
  for column, usual in _COLUMNS.items():
    for name in usual:
      if name in names:
        columns[column] = names.index(name)
        break
  return columns
