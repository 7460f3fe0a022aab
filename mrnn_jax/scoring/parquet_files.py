"""Parquet files of records to score; needs pyarrow, an optional extra.

Columns are handed on as Arrow has them, so that no type is lost.  The number
of rows stands in a file's footer: groups of rows that hold nothing wanted are
not read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
from typing import IO, Any

from etils import epath

from mrnn_jax.runtime import messages
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring import records
from mrnn_jax.scoring.records import BadRecord, Block, make_record

try:
  import pyarrow as pa
  import pyarrow.parquet as pq
except ImportError as error:
  raise InputError(
    'Parquet files need pyarrow: install it by "pip install pyarrow", or give '
    '.jsonl or .csv.'
  ) from error

# Also of names of columns that are no text.
_READ_ERRORS = (pa.ArrowException, UnicodeDecodeError)
# Rows of a group of the results: the readers of Parquet like them large.
_GROUP_ROWS = 1 << 16
# One row of a batch, as it waits to be written.
Row = tuple[pa.RecordBatch, int]


class Parquet:
  """Parquet with columns ``image_id`` and ``sentence`` or ``sentences``."""

  suffix = '.parquet'

  def __init__(self, result_fields: Sequence[str]):
    """Take the columns that are to be added."""
    self._result_fields = result_fields

  def head(self, path: epath.Path) -> pa.Schema:
    """Return the columns and their types."""
    with path.open('rb') as file:
      try:
        schema = pq.ParquetFile(file).schema_arrow.remove_metadata()
      except _READ_ERRORS as error:
        raise _unreadable(path, error) from error
    if 'image_id' not in schema.names or not _sentence_field(schema):
      raise InputError(
        f'{path} has no columns "image_id" and "sentence": it has '
        f'{", ".join(schema.names)}.'
      )
    return schema

  def blocks(
    self, path: epath.Path, size: int, wanted: Callable[[int], bool]
  ) -> Iterator[Block]:
    """Yield the blocks that are wanted; a block is so many rows."""
    try:
      with path.open('rb') as raw:
        yield from self._blocks(
          pq.ParquetFile(raw), path.stat().length, size, wanted
        )
    except _READ_ERRORS as error:
      raise _unreadable(path, error) from error

  def _blocks(
    self,
    file: pq.ParquetFile,
    num_bytes: int,
    size: int,
    wanted: Callable[[int], bool],
  ) -> Iterator[Block]:
    total = file.metadata.num_rows
    sentence = _sentence_field(file.schema_arrow)
    records: list[Any] = []
    start = 0
    for group in range(file.num_row_groups):
      stop = start + file.metadata.row_group(group).num_rows
      row = start
      start = stop
      if not any(map(wanted, range(row // size, -(-stop // size)))):
        continue
      for batch in file.iter_batches(size, row_groups=[group]):
        # Groups may end anywhere; blocks end at multiples of their size.
        while len(batch):
          number = row // size
          part = batch.slice(0, (number + 1) * size - row)
          batch = batch.slice(len(part))
          if wanted(number):
            records += _records(part, row + 1, sentence)
          row += len(part)
          if wanted(number) and row in ((number + 1) * size, total):
            yield Block(number, records, num_bytes * row // total)
            records = []

  def writer(self, file: IO[bytes], head: pa.Schema) -> '_Writer':
    """Begin a file with the columns of the input and those of results."""
    return _Writer(file, head, self._result_fields)


def _unreadable(path: epath.Path, error: Exception) -> InputError:
  reason = messages.first_line(error)
  return InputError(f'{path} cannot be read as Parquet ({reason}).')


def _sentence_field(schema: pa.Schema) -> str:
  """Return the column of sentences; '' where there is none."""
  names = records.SENTENCE_FIELDS
  return next((name for name in names if name in schema.names), '')


def _records(part: pa.RecordBatch, first: int, sentence: str) -> list[Any]:
  """Return the records of consecutive rows, the first of which has a number."""
  columns = (part.column('image_id'), part.column(sentence))
  try:
    image_ids, values = (column.to_pylist() for column in columns)
  except UnicodeDecodeError:
    # Arrow does not look at texts: find out which rows are none.
    return [
      record
      for i in range(len(part))
      for record in _records_of_row(part.slice(i, 1), first + i, sentence)
    ]
  return [
    make_record(
      first + i, {'image_id': image_id, sentence: value}, row=(part, i)
    )
    for i, (image_id, value) in enumerate(zip(image_ids, values, strict=True))
  ]


def _records_of_row(row: pa.RecordBatch, number: int, sentence: str):
  try:
    for name in ('image_id', sentence):
      row.column(name).to_pylist()
  except UnicodeDecodeError as error:
    return [BadRecord(number, f'is not UTF-8 ({messages.first_line(error)})')]
  return _records(row, number, sentence)


class _Writer:
  """Gathers rows until they are enough for a group."""

  def __init__(
    self, file: IO[bytes], head: pa.Schema, result_fields: Sequence[str]
  ):
    kind = head.field(_sentence_field(head)).type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    self._kept = [x for x in head.names if x not in result_fields]
    self._types = {x: _type(x, listed) for x in result_fields}
    self._schema = pa.schema(
      [
        *(head.field(name) for name in self._kept),
        *(pa.field(name, kind) for name, kind in self._types.items()),
      ]
    )
    self._writer = pq.ParquetWriter(file, self._schema)
    self._tables: list[pa.Table] = []

  def write(
    self, rows: Sequence[Row], results: Sequence[Mapping[str, Any]]
  ) -> None:
    if not rows:
      return
    kept = pa.Table.from_batches(
      [batch.slice(i, 1).select(self._kept) for batch, i in rows]
    )
    added = [
      pa.array([result[name] for result in results], kind)
      for name, kind in self._types.items()
    ]
    # Packed at once: slices would hold on to the batches that they are from.
    self._tables.append(
      pa.Table.from_arrays(
        [*kept.combine_chunks().columns, *added], schema=self._schema
      )
    )
    if sum(map(len, self._tables)) >= _GROUP_ROWS:
      self._flush()

  def _flush(self) -> None:
    if self._tables:
      self._writer.write_table(pa.concat_tables(self._tables), _GROUP_ROWS)
    self._tables = []

  def close(self) -> None:
    self._flush()
    self._writer.close()


class Merger:
  """Copies rows of files of one schema to another, see ``merge``."""

  def __init__(self, sources: Sequence[epath.Path], file: IO[bytes]):
    """Take the files, and the one to write to."""
    self._sources, self._file = sources, file
    self._open: dict[int, Iterator[pa.RecordBatch]] = {}
    self._rest: dict[int, pa.RecordBatch] = {}
    self._waiting: list[pa.RecordBatch] = []
    self._writer: pq.ParquetWriter | None = None
    self._exits = contextlib.ExitStack()

  def copy(self, source: int, count: int) -> None:
    """Copy the next so many rows of a file."""
    try:
      self._copy(source, count)
    except _READ_ERRORS as error:
      raise ValueError(messages.first_line(error)) from error

  def _copy(self, source: int, count: int) -> None:
    if source not in self._open:
      raw = self._exits.enter_context(self._sources[source].open('rb'))
      file = pq.ParquetFile(raw)
      self._open[source] = file.iter_batches()
      if self._writer is None:
        self._writer = pq.ParquetWriter(self._file, file.schema_arrow)
    while count:
      batch = self._rest.pop(source, None)
      if batch is None:
        batch = next(self._open[source], None)
      if batch is None:
        raise ValueError('rows are missing')
      part = batch.slice(0, count)
      if len(part) < len(batch):
        self._rest[source] = batch.slice(len(part))
      count -= len(part)
      self._waiting.append(part)
      if sum(map(len, self._waiting)) >= _GROUP_ROWS:
        self._flush()

  def _flush(self) -> None:
    if self._waiting and self._writer is not None:
      table = pa.Table.from_batches(self._waiting)
      self._writer.write_table(table, _GROUP_ROWS)
    self._waiting = []

  def close(self) -> None:
    """Write what is left."""
    self._flush()
    if self._writer is not None:
      self._writer.close()
    self._exits.close()


def _type(name: str, listed: bool) -> pa.DataType:
  """Return the type of a column of results."""
  kind = pa.int64() if name in ('words', 'oov') else pa.float64()
  if name == 'word_log_probs':
    kind = pa.list_(kind)
  return pa.list_(kind) if listed else kind
