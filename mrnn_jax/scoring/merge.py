"""Puts the shards of a scoring job together, in the order of its input.

Shards are dealt blocks in turn, so that neither is a piece of the input as it
stood.  Each says in ``done-*.json`` how many records of which block it has: one
block after another is copied, and nothing is computed or kept in memory.
"""

from collections.abc import Iterable, Sequence
import contextlib
import gzip
from typing import IO, BinaryIO, Protocol

from etils import epath

from mrnn_jax.runtime import files, messages
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring import records, shards


class Merger(Protocol):
  """Copies records of some files to another one."""

  def copy(self, source: int, count: int) -> None:
    """Copy the next so many of a file.

    Raises:
      ValueError: there are fewer.
    """

  def close(self) -> None:
    """Write what is left; the file itself stays open."""


def merge(folder: epath.PathLike) -> None:
  """Write what all shards of a folder say to one file there, and tell of it.

  Args:
    folder: the job's ``--output``.

  Raises:
    InputError: there is no job, or a shard of it is missing or damaged.
  """
  folder = epath.Path(folder).expanduser()
  states = shards.complete_states(folder)
  blocks = sorted(
    (*block, shard)
    for shard, state in enumerate(states)
    for block in state['blocks']
  )
  names = [state['results'] for state in states]
  suffix = names[0].partition(f'-of-{len(states):05d}')[2]
  written = folder / f'scores{suffix}'
  good = [(shard, count) for _, _, count, _, shard in blocks if count]
  bad = [(shard, count) for _, _, _, count, shard in blocks if count]
  _merge([folder / name for name in names], good, written)
  told = messages.counted(sum(count for _, count in good), 'record')
  if bad:
    names = [
      name.replace('scores', 'rejects', 1).removesuffix(suffix) + '.jsonl'
      for name in names
    ]
    rejects = folder / 'rejects.jsonl'
    _merge([folder / name for name in names], bad, rejects)
    told += f', and {rejects.name}: {sum(count for _, count in bad):,} bad'
  print(f'wrote {written}: {told}, in the order of the input')


def _merge(
  sources: Sequence[epath.Path],
  parts: Iterable[tuple[int, int]],
  target: epath.Path,
) -> None:
  """Copy records, so that the target is there whole or not at all.

  Args:
    sources: files of one kind.
    parts: which of them, and how many records of it are next.
    target: where they go.
  """
  packed = records.is_packed(target)
  with (
    files.whole(target) as temporary,
    records.create(temporary, packed) as file,
    contextlib.closing(_merger(sources, file)) as merger,
  ):
    for source, count in parts:
      try:
        merger.copy(source, count)
      except (ValueError, *records.READ_ERRORS) as error:
        raise InputError(
          f'{sources[source]} is damaged: remove it and score its shard again.'
        ) from error


def _merger(sources: Sequence[epath.Path], file: IO[bytes]) -> Merger:
  """Return what copies files of a kind, by their names."""
  name = sources[0].name.removesuffix('.gz')
  if name.endswith('.parquet'):
    from mrnn_jax.scoring import (
      parquet_files,  # Late: pyarrow is not everybody's.
    )

    return parquet_files.Merger(sources, file)
  return _LineMerger(sources, file, name.endswith(('.csv', '.tsv')))


class _LineMerger:
  """Copies lines, byte for byte; of tables rows, and the names of columns."""

  def __init__(
    self, sources: Sequence[epath.Path], file: IO[bytes], tables: bool
  ):
    self._sources, self._file, self._tables = sources, file, tables
    self._open: dict[int, BinaryIO] = {}
    self._exits = contextlib.ExitStack()

  def copy(self, source: int, count: int) -> None:
    if source not in self._open:
      path = self._sources[source]
      opened = self._exits.enter_context(path.open('rb'))
      if records.is_packed(path):
        opened = self._exits.enter_context(gzip.GzipFile(fileobj=opened))
      first = not self._open
      self._open[source] = opened
      if self._tables:
        names = self._row(opened)
        if first:
          self._file.write(names)
    for _ in range(count):
      self._file.write(self._row(self._open[source]))

  def _row(self, file: BinaryIO) -> bytes:
    """Return the next line; of a table, with those that quotes take in."""
    row = file.readline()
    while self._tables and row.count(b'"') % 2:
      line = file.readline()
      if not line:
        raise ValueError('a quote is not closed')
      row += line
    if not row.endswith(b'\n'):
      raise ValueError('a line is missing')
    return row

  def close(self) -> None:
    self._exits.close()
