"""Reads files of others, as far as they are what they are given as.

Nothing here takes more memory than a file of its kind may need: a size, the
length of a line, the number of values and how far content is packed are
bounded, and what is beyond is refused by a sentence.
"""

from collections.abc import Iterator
from typing import IO

from etils import epath

from mrnn_jax.runtime import errors, messages

# Beyond these a file is not what it is given as, or nothing good will come of
# reading it: all captions of COCO are 0.1 GB.
MAX_FILE_BYTES = 2 * 2**30
_PIECE_BYTES = 2**20

MAX_LINE_BYTES = 10 * 2**20

# What is packed to less is made to fill the memory; small files may be.
MAX_PACKING = 100
_SMALL_BYTES = 2**30


def read_text(path: epath.Path, encoding: str = 'utf-8') -> str:
  """Read a text file, any line ends, an optional byte order mark.

  Args:
    path: the file.
    encoding: 'utf-8' or 'latin-1'.

  Returns:
    Its text.

  Raises:
    InputError: it cannot be read, or its bytes are not in the encoding.
  """
  data = read_bytes(path)
  try:
    text = data.decode(encoding)
  except UnicodeDecodeError as error:
    line = data[: error.start].count(b'\n') + 1
    raise errors.InputError(
      f'{path}:{line} is not UTF-8 (byte 0x{data[error.start]:02x}): convert'
      ' the file to UTF-8.'
    ) from error
  return text.removeprefix('\ufeff').replace('\r\n', '\n').replace('\r', '\n')


def read_bytes(path: epath.Path) -> bytes:
  """Return a whole file, if it is no larger than it should be."""
  try:
    with path.open('rb') as file:
      # In pieces: what is asked for is reserved, whether it is there or not.
      pieces, size = [], 0
      while size <= MAX_FILE_BYTES and (piece := file.read(_PIECE_BYTES)):
        pieces.append(piece)
        size += len(piece)
  except OSError as error:
    raise _unreadable(path, error) from error
  if size > MAX_FILE_BYTES:
    raise _too_large(path)
  return b''.join(pieces)


def read_head(path: epath.Path, num_bytes: int) -> bytes:
  """Return the beginning of a file, whatever it is and however large."""
  try:
    with path.open('rb') as file:
      return file.read(num_bytes)
  except OSError as error:
    raise _unreadable(path, error) from error


def _unreadable(path: epath.Path, error: OSError) -> errors.InputError:
  return errors.InputError(
    f'Cannot read {path} ({error.strerror or error}): check the path.'
  )


def _too_large(path: epath.Path) -> errors.InputError:
  return errors.InputError(
    f'{path} is larger than {MAX_FILE_BYTES >> 30} GB: give a file of'
    ' captions, or split it.'
  )


def is_packed_too_well(
  size: int, packed: int, small: int | None = None
) -> bool:
  """Whether content of a size is not small, and made to be: see MAX_PACKING."""
  small = _SMALL_BYTES if small is None else small
  return size > max(small, MAX_PACKING * packed)


def check_packing(path: epath.PathLike, size: int, packed: int) -> None:
  """Refuse content that takes far more memory than the file has bytes.

  Args:
    path: the file.
    size: of the content in memory, in bytes.
    packed: of the content in the file.

  Raises:
    InputError: it is more than ``MAX_PACKING`` times as large, and large.
  """
  if is_packed_too_well(size, packed):
    raise errors.InputError(
      f'{path} would become {size / 2**30:,.0f} GB of {packed:,} bytes, more'
      f' than {MAX_PACKING} times as much: save it again without compression.'
    )


class LineError(ValueError):
  """What is wrong with a line: 'is not UTF-8', without its subject."""


def cut_lines(
  file: IO[bytes], max_bytes: int
) -> Iterator[tuple[int, bytes, int]]:
  """Yield number, bytes and length of the lines of a file, ends included.

  Only the line feed ends a line: others may stand within quoted text.  Of a
  line that is too long, the rest behind the limit and one byte is passed over.
  """
  number = 0
  while line := file.readline(max_bytes + 1):
    number += 1
    yield number, line, len(line)
    while len(line) > max_bytes and not line.endswith(b'\n'):
      line = file.readline(max_bytes + 1)


def decode_line(number: int, line: bytes, max_bytes: int) -> str:
  """Return a line of ``cut_lines`` as text; the first may have a byte mark.

  Raises:
    LineError: it is too long or not UTF-8.
  """
  if len(line) > max_bytes:
    raise LineError(f'is longer than {max_bytes >> 20} MB')
  try:
    return line.decode('utf-8-sig' if number == 1 else 'utf-8')
  except UnicodeDecodeError as error:
    raise LineError(
      f'is not UTF-8 (byte 0x{error.object[error.start]:02x})'
    ) from error


def read_lines(path: epath.Path) -> Iterator[tuple[int, str]]:
  """Yield the lines of a UTF-8 file with their numbers, ends included.

  Raises:
    InputError: it cannot be read, is larger than it should be, or a line is
      longer than ``MAX_LINE_BYTES`` or not UTF-8.
  """
  size = 0
  try:
    with path.open('rb') as file:
      for number, line, length in cut_lines(file, MAX_LINE_BYTES):
        size += length
        if size > MAX_FILE_BYTES:
          raise _too_large(path)
        try:
          text = decode_line(number, line, MAX_LINE_BYTES)
        except LineError as error:
          raise errors.InputError(
            f'{path}:{number} {error}: give a file of UTF-8 text, one record a'
            ' line.'
          ) from error
        yield number, text
  except OSError as error:
    raise _unreadable(path, error) from error


def read_list(path: epath.Path) -> list[str]:
  """Read a split list: one image name a line, empty lines aside.

  Args:
    path: the file, UTF-8.

  Returns:
    The names in order.

  Raises:
    InputError: the file cannot be read or a line cannot be a name.
  """
  names = []
  for number, line in enumerate(read_text(path).split('\n'), start=1):
    name = line.strip()
    if not messages.is_name(name):
      raise errors.InputError(
        f'{path}:{number} is not the name of one image: give a file with one'
        ' image name a line.'
      )
    if name:
      names.append(name)
  return names
