"""The input of a scoring job: which files, of which format, read by whom."""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import functools
import hashlib
import json
from typing import IO

from etils import epath
import numpy as np

from mrnn_jax.runtime import messages
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring import records, text_files
from mrnn_jax.scoring.records import Block, Format, Writer
from mrnn_jax.scoring.shards import Shard

# By so much of a file it is known again.
_PIECES, _PIECE_BYTES = 64, 1 << 20


class Inputs:
  """The files that a pattern names.

  Attributes:
    packed: whether any of them is compressed; the results are then too.
    suffix: of a file of results.
  """

  def __init__(self, pattern: str, result_fields: Sequence[str]):
    """Find the files and look at the first.

    Args:
      pattern: as ``find_files`` takes it.
      result_fields: names of the fields that are added to each record.

    Raises:
      InputError: there is none, or one of another kind.
    """
    paths = find_files(pattern)
    self._sizes = {path: size for path in paths if (size := path.stat().length)}
    if not self._sizes:
      raise InputError(f'{pattern} is empty: there is no record.')
    self._numbers = {path: number for number, path in enumerate(self._sizes)}
    self._first = next(iter(self._sizes))
    self._format = choose_format(self._first, result_fields)
    for path in self._sizes:
      if choose_format(path, result_fields).suffix != self._format.suffix:
        raise InputError(
          f'{self._first} and {path} are of two kinds: score one kind at a '
          'time.'
        )
    self.packed = any(map(records.is_packed, self._sizes))
    self.suffix = self._format.suffix + ('.gz' if self.packed else '')
    with _reading(self._first):
      self._head = self._format.head(self._first)

  def identity(self) -> str:
    """Return a hash by which the files are known, wherever they lie.

    It is made of their names, sizes and bytes; of files that are larger than
    ``_PIECES`` pieces of ``_PIECE_BYTES``, of so many pieces spread over them:
    no shard has to read them all.
    """
    digest = hashlib.sha256()
    for path, size in self._sizes.items():
      digest.update(json.dumps([path.name, size]).encode())
      last = max(0, size - _PIECE_BYTES)
      count = min(_PIECES, -(-size // _PIECE_BYTES))
      with _reading(path), path.open('rb') as file:
        for start in np.linspace(0, last, count, dtype=np.int64).tolist():
          file.seek(start)
          digest.update(file.read(_PIECE_BYTES))
    return digest.hexdigest()

  def num_bytes(self, shard: Shard) -> int:
    """Return the size of the files that a shard reads."""
    return sum(size for _, _, size in self._read_by(shard))

  def blocks(
    self, shard: Shard, size: int
  ) -> Iterator[tuple[epath.Path, Block]]:
    """Yield the blocks of a shard, with their files, in the input's order.

    Their positions count from the first byte of the shard's first file.

    Args:
      shard: which.
      size: records a block.

    Raises:
      InputError: a file cannot be read, or has other columns than the first.
    """
    before = 0
    for number, path, num_bytes in self._read_by(shard):
      with _reading(path):
        if self._head is not None and self._format.head(path) != self._head:
          raise InputError(
            f'{path} has other columns than {self._first}: score them by '
            'themselves.'
          )
        wanted = functools.partial(shard.owns, number, len(self._sizes))
        for block in self._format.blocks(path, size, wanted):
          position = before + block.position
          yield path, dataclasses.replace(block, position=position)
      before += num_bytes

  def number_of(self, path: epath.Path) -> int:
    """Return which of the files one is, from 0."""
    return self._numbers[path]

  def writer(self, file: IO[bytes]) -> Writer:
    """Begin a file of results."""
    return self._format.writer(file, self._head)

  def _read_by(self, shard: Shard) -> Iterator[tuple[int, epath.Path, int]]:
    """Yield number, path and size of the files that a shard reads."""
    for number, (path, size) in enumerate(self._sizes.items()):
      if shard.reads(number, len(self._sizes)):
        yield number, path, size


def choose_format(path: epath.Path, result_fields: Sequence[str]) -> Format:
  """Return the format of a file, by its name.

  Args:
    path: the file.
    result_fields: names of the fields that are added to each record, in place
      of those that have such a name.

  Raises:
    InputError: the name tells none.
  """
  name = path.name.lower().removesuffix('.gz')
  suffix = '.' + name.rpartition('.')[2]
  if suffix in ('.jsonl', '.ndjson'):
    return text_files.JsonLines(suffix, result_fields)
  if suffix in ('.csv', '.tsv'):
    return text_files.Table(suffix, result_fields)
  if suffix == '.parquet' and not records.is_packed(path):
    from mrnn_jax.scoring import (
      parquet_files,  # Late: pyarrow is not everybody's.
    )

    return parquet_files.Parquet(result_fields)
  raise InputError(
    f'{path} is no file of records by its name: --score_input wants .jsonl, '
    '.csv, .tsv (each also with .gz) or .parquet.'
  )


def find_files(pattern: str) -> list[epath.Path]:
  """Return the files that a pattern names, in alphabetical order.

  Args:
    pattern: a path, with ``*``, ``?`` and ``[...]`` as in the shell.

  Raises:
    InputError: there is none.
  """
  path = epath.Path(pattern).expanduser()
  if '**' in pattern:
    raise InputError(
      f'--score_input={pattern}: write a * for each level of folders.'
    )
  if path.exists():
    found = [path]
  else:
    parts = path.parts
    wild = next((i for i, x in enumerate(parts) if set(x) & set('*?[')), None)
    found = []
    if wild is not None:
      root = epath.Path(*parts[:wild])
      found = sorted(root.glob('/'.join(parts[wild:])), key=str)
      found = [x for x in found if not x.name.startswith('.') and x.is_file()]
  if not found:
    raise InputError(f'there is no {pattern}: correct --score_input.')
  if found[0].is_dir():
    raise InputError(
      f'{pattern} is a folder: name its files, --score_input="{pattern}/*".'
    )
  return found


@contextlib.contextmanager
def _reading(path: epath.Path) -> Iterator[None]:
  """Turn what a damaged file raises into an InputError."""
  try:
    yield
  except records.READ_ERRORS as error:
    raise InputError(
      f'{path} cannot be read ({messages.first_line(error)}): correct it or '
      'leave it out.'
    ) from error
