"""Text files of records to score: JSON lines and CSV.

Whatever stands in a line, it ends as a record or as a bad one with a reason.
"""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
import csv
import io
import json
from typing import IO, Any

from etils import epath

from mrnn_jax.runtime import bounded_files, json_files
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring.records import (
  SENTENCE_FIELDS,
  BadRecord,
  Block,
  Record,
  Writer,
  blocks_of,
  make_record,
  open_input,
)

# A line longer than this is no record; the rest of it is passed over.
MAX_LINE_BYTES = 1 << 20


class JsonLines:
  """One JSON object a line; blank lines are passed over."""

  def __init__(self, suffix: str, result_fields: Sequence[str]):
    """Take the suffix of the files, and the fields that are to be added."""
    self.suffix = suffix
    self._result_fields = result_fields

  def head(self, path: epath.Path) -> None:
    """Return nothing: every line stands for itself."""

  def blocks(
    self, path: epath.Path, size: int, wanted: Callable[[int], bool]
  ) -> Iterator[Block]:
    """Yield the blocks that are wanted; a block is so many lines."""
    with open_input(path) as (file, position):
      lines = bounded_files.cut_lines(file, MAX_LINE_BYTES)
      yield from blocks_of(lines, size, wanted, self._parse, position)

  def _parse(self, line: int, raw: bytes) -> Record | BadRecord | None:
    if not raw.strip():
      return None
    try:
      text = bounded_files.decode_line(line, raw, MAX_LINE_BYTES)
      fields = json_files.parse(text, finite=True)
    except (bounded_files.LineError, json_files.NotJsonError) as error:
      return BadRecord(line, str(error))
    if not isinstance(fields, dict):
      return BadRecord(line, 'is no JSON object')
    for name in self._result_fields:
      fields.pop(name, None)
    try:
      row = json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):  # 1e999, or half a character.
      return BadRecord(line, 'holds what cannot be written as JSON again')
    return make_record(line, fields, row)

  def writer(self, file: IO[bytes], head: None) -> Writer:
    """Begin a file of JSON lines."""
    return _JsonWriter(file)


class _JsonWriter:
  """A record's own text, and behind it the results."""

  def __init__(self, file: IO[bytes]):
    self._file = file

  def write(
    self, rows: Sequence[bytes], results: Sequence[Mapping[str, Any]]
  ) -> None:
    for row, result in zip(rows, results, strict=True):
      added = json.dumps(result).encode()
      self._file.write(b'%s, %s\n' % (row[:-1], added[1:]))

  def close(self) -> None:
    pass


class Table:
  """CSV, or with ``.tsv`` tabs between the fields; one sentence a record.

  The first line names the columns; a field in double quotes may go over lines.
  """

  def __init__(self, suffix: str, result_fields: Sequence[str]):
    """Take the suffix of the files, and the columns that are to be added."""
    self.suffix = suffix
    self._delimiter = '\t' if suffix == '.tsv' else ','
    self._result_fields = result_fields

  def head(self, path: epath.Path) -> list[str]:
    """Return the names of the columns."""
    with open_input(path) as (file, _):
      try:
        names = next(self._reader(_TextLines(file)), [])
      except (csv.Error, bounded_files.LineError) as error:
        raise InputError(f'{path}, line 1 {error}: correct it.') from error
    names = [name.strip() for name in names]
    if 'image_id' not in names or not set(names) & set(SENTENCE_FIELDS):
      raise InputError(
        f'{path}, line 1 names no columns "image_id" and "sentence": begin the '
        'file with a line that does.'
      )
    return names

  def blocks(
    self, path: epath.Path, size: int, wanted: Callable[[int], bool]
  ) -> Iterator[Block]:
    """Yield the blocks that are wanted; a block is so many rows."""
    names = self.head(path)
    kept = self._kept(names)

    def parse(line, fields):
      if isinstance(fields, str):
        return BadRecord(line, fields)
      if not fields:
        return None
      if len(fields) != len(names):
        return BadRecord(
          line,
          f'has {len(fields)} fields where the first line names {len(names)}',
        )
      record = dict(zip(names, fields, strict=True))
      return make_record(line, record, [fields[i] for i in kept])

    with open_input(path) as (file, position):
      rows = self._rows(_TextLines(file))
      next(rows)
      yield from blocks_of(rows, size, wanted, parse, position)

  def _rows(
    self, lines: '_TextLines'
  ) -> Iterator[tuple[int, list[str] | str, int]]:
    """Yield line, fields (or what is wrong with them) and length of rows."""
    reader = self._reader(lines)
    while True:
      line = lines.number + 1
      lines.begin_row()
      fields: list[str] | str
      try:
        fields = next(reader)
      except StopIteration:
        return
      except csv.Error as error:
        fields = f'is no line of a table ({error})'
        lines.read_again()
      except bounded_files.LineError as error:
        fields = str(error)
        lines.read_again()
      yield line, fields, sum(map(len, fields)) + 1

  def _reader(self, lines: '_TextLines') -> Iterator[list[str]]:
    return csv.reader(lines, delimiter=self._delimiter, strict=True)

  def _kept(self, names: Sequence[str]) -> list[int]:
    return [i for i, x in enumerate(names) if x not in self._result_fields]

  def writer(self, file: IO[bytes], head: Sequence[str]) -> Writer:
    """Begin a table with the columns of the input and those of results."""
    names = [head[i] for i in self._kept(head)]
    return _TableWriter(file, self._delimiter, [*names, *self._result_fields])


class _TextLines:
  """The lines of a file as text.

  One that is none raises LineError, and the next call goes on behind it: a
  generator could not do that.
  """

  def __init__(self, file: IO[bytes]):
    self._lines = bounded_files.cut_lines(file, MAX_LINE_BYTES)
    self.number = 0
    # The lines of the present row, and those to come once more.
    self._row: list[tuple[int, bytes, int]] = []
    self._again: collections.deque[tuple[int, bytes, int]] = collections.deque()

  def begin_row(self) -> None:
    """Take in that the next line begins a row."""
    self._row = []

  def read_again(self) -> None:
    """Give the row's lines but its first once more.

    A quote that is never closed takes in rows that are sound.
    """
    self._again.extendleft(reversed(self._row[1:]))
    self.number = self._row[0][0]

  def __iter__(self) -> '_TextLines':
    return self

  def __next__(self) -> str:
    item = self._again.popleft() if self._again else next(self._lines)
    self._row.append(item)
    self.number, line, _ = item
    return bounded_files.decode_line(self.number, line, MAX_LINE_BYTES)


class _TableWriter:
  def __init__(self, file: IO[bytes], delimiter: str, names: Sequence[str]):
    self._file, self._delimiter = file, delimiter
    self._put([names])

  def write(
    self, rows: Sequence[list[str]], results: Sequence[Mapping[str, Any]]
  ) -> None:
    self._put(
      [*row, *map(_cell, result.values())]
      for row, result in zip(rows, results, strict=True)
    )

  def _put(self, rows) -> None:
    text = io.StringIO(newline='')
    writer = csv.writer(text, delimiter=self._delimiter, lineterminator='\n')
    writer.writerows(rows)
    self._file.write(text.getvalue().encode())

  def close(self) -> None:
    pass


def _cell(value: Any) -> Any:
  """Return a result as one field of a table: a list with spaces between."""
  return ' '.join(map(repr, value)) if isinstance(value, list) else value
