"""Records to score, and what every format of files of them has in common.

A record is an image and one sentence or a list of them::

  {"image_id": "a.jpg", "sentence": "A dog runs."}
  {"image_id": "a.jpg", "sentences": ["A dog runs.", "Two cats."]}

``caption`` and ``captions`` are read too, and every other field is handed on.
Names that end in ``.gz`` are compressed.  A file is read in blocks, the units
in which it is shared out: where one ends is a function of the file alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import dataclasses
import gzip
import io
from typing import IO, Any, BinaryIO, Protocol, cast
import zlib

from etils import epath

# The first of these that a record has is scored.
SENTENCE_FIELDS = ('sentence', 'sentences', 'caption', 'captions')
# A block ends after so many bytes, even if it has not its number of lines.
BLOCK_BYTES = 4 << 20

# What reading a damaged file raises.
READ_ERRORS = (OSError, EOFError, zlib.error)


@dataclasses.dataclass(frozen=True)
class Record:
  """What one record asks for.

  Attributes:
    line: where it begins in its file, from 1; in Parquet, its row.
    image_id: the image.
    sentences: its sentences, at least one.
    single: whether it has its sentence by itself, not in a list.
    row: the record as its format keeps it until it is written.
  """

  line: int
  image_id: str
  sentences: Sequence[str]
  single: bool
  row: Any


@dataclasses.dataclass(frozen=True)
class BadRecord:
  """A record that cannot be scored: where it begins, and why."""

  line: int
  reason: str


@dataclasses.dataclass(frozen=True)
class Block:
  """Consecutive records of a file.

  Attributes:
    number: of the block in its file, from 0.
    records: its records in order.
    position: bytes of the file that were read up to its end.
  """

  number: int
  records: Sequence[Record | BadRecord]
  position: int


class Writer(Protocol):
  """Writes records with what was found about each."""

  def write(
    self, rows: Sequence[Any], results: Sequence[Mapping[str, Any]]
  ) -> None:
    """Write the rows of records, each with its fields of results."""

  def close(self) -> None:
    """Write what is left; the file itself stays open."""


class Format(Protocol):
  """A kind of file.

  Attributes:
    suffix: of its files, without ``.gz``.
  """

  suffix: str

  def head(self, path: epath.Path) -> Any:
    """Return what all files must have in common, None for nothing.

    Raises:
      InputError: the file cannot be one of records.
    """

  def blocks(
    self, path: epath.Path, size: int, wanted: Callable[[int], bool]
  ) -> Iterator[Block]:
    """Yield the blocks of a file that are wanted, by their number.

    Args:
      path: the file.
      size: records a block.
      wanted: says of a block's number whether it is.
    """

  def writer(self, file: IO[bytes], head: Any) -> Writer:
    """Begin a file of results."""


def is_packed(path: epath.Path) -> bool:
  """Say whether a file is compressed, by its name."""
  return path.name.lower().endswith('.gz')


@contextlib.contextmanager
def open_input(
  path: epath.Path,
) -> Iterator[tuple[BinaryIO, Callable[[], int]]]:
  """Open a file, and a function that tells how many of its bytes are read."""
  with path.open('rb') as raw:
    if is_packed(path):
      with gzip.GzipFile(fileobj=raw) as packed:
        yield io.BufferedReader(packed), raw.tell
    else:
      yield raw, raw.tell


@contextlib.contextmanager
def create(path: epath.Path, packed: bool) -> Iterator[IO[bytes]]:
  """Create a file whose bytes depend on nothing but what is written."""
  with path.open('wb') as raw:
    if packed:
      with gzip.GzipFile('', 'wb', fileobj=raw, mtime=0) as file:
        yield cast(IO[bytes], file)
    else:
      yield raw


def make_record(
  line: int, fields: Mapping[str, Any], row: Any
) -> Record | BadRecord:
  """Take out of a record what is scored, or say why it cannot be."""
  image_id = fields.get('image_id')
  if isinstance(image_id, int) and not isinstance(image_id, bool):
    image_id = str(image_id)
  if not isinstance(image_id, str) or not image_id.strip():
    return BadRecord(line, 'has no "image_id" that is text or a whole number')
  name = next((name for name in SENTENCE_FIELDS if name in fields), None)
  if name is None:
    return BadRecord(line, 'has no "sentence" and no "sentences"')
  value = fields[name]
  single = isinstance(value, str)
  sentences = [value] if single else value
  if not isinstance(sentences, list):
    return BadRecord(line, f'has a "{name}" that is neither text nor a list')
  if not sentences:
    return BadRecord(line, f'has no sentence in "{name}"')
  for number, sentence in enumerate(sentences, 1):
    if not isinstance(sentence, str):
      return BadRecord(line, f'has a "{name}" whose item {number} is no text')
  return Record(line, image_id, sentences, single, row)


def blocks_of(
  items: Iterator[tuple[int, Any, int]],
  size: int,
  wanted: Callable[[int], bool],
  parse: Callable[[int, Any], Record | BadRecord | None],
  position: Callable[[], int],
) -> Iterator[Block]:
  """Cut a stream into blocks, and parse those that are wanted.

  Args:
    items: line number, raw record and its length in bytes (or letters).
    size: items a block.
    wanted: says of a block's number whether it is.
    parse: line number and raw record -> record; None for a blank line.
    position: tells how much of the file is read.
  """
  number, length = 0, 0
  chunk: list[tuple[int, Any]] = []

  def block() -> Block:
    records = [parse(line, raw) for line, raw in chunk]
    there = [record for record in records if record is not None]
    return Block(number, there, position())

  for line, raw, size_of_item in items:
    chunk.append((line, raw))
    length += size_of_item
    if len(chunk) == size or length >= BLOCK_BYTES:
      if wanted(number):
        yield block()
      number, chunk, length = number + 1, [], 0
  if chunk and wanted(number):
    yield block()
