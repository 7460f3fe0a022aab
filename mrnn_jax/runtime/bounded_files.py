"""Reads files of others, as far as they are what they are given as.

Nothing here takes more memory than a file of its kind may need: a size, the
length of a line, the number of values and how far content is packed are
bounded, and what is beyond is refused by a sentence.
"""

from collections.abc import Iterator
import json
from typing import Any

from etils import epath

from mrnn_jax.runtime import errors, messages

# Beyond these a file is not what it is given as, or nothing good will come of
# reading it: all captions of COCO are 0.1 GB.
MAX_FILE_BYTES = 2 * 2**30


MAX_LINE_BYTES = 10 * 2**20


# Each takes sixty bytes or more in memory, and as few as two in the file; those
# of COCO's captions are a tenth of this.
MAX_JSON_VALUES = 50_000_000


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
      data = file.read(MAX_FILE_BYTES + 1)
  except OSError as error:
    raise errors.InputError(
      f'Cannot read {path} ({error.strerror or error}): check the path.'
    ) from error
  if len(data) > MAX_FILE_BYTES:
    raise errors.InputError(
      f'{path} is larger than {MAX_FILE_BYTES >> 30} GB: give a file of'
      ' captions, or split it.'
    )
  return data


def is_packed_too_well(size: int, packed: int) -> bool:
  """Whether content of a size is large, and made to be: see MAX_PACKING."""
  return size > max(_SMALL_BYTES, MAX_PACKING * packed)


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


def read_lines(path: epath.Path) -> Iterator[tuple[int, str]]:
  """Yield the lines of a UTF-8 file with their numbers, ends included.

  Only the line feed ends a line: others may stand within quoted text.

  Raises:
    InputError: it cannot be read, a line is longer than ``MAX_LINE_BYTES`` or
      not UTF-8.
  """
  try:
    with path.open('rb') as file:
      for number in range(1, MAX_FILE_BYTES):
        line = file.readline(MAX_LINE_BYTES + 1)
        if not line:
          return
        if len(line) > MAX_LINE_BYTES:
          raise errors.InputError(
            f'{path}:{number} is longer than {MAX_LINE_BYTES >> 20} MB: give a'
            ' file of captions, one image or caption a line.'
          )
        try:
          text = line.decode('utf-8')
        except UnicodeDecodeError as error:
          raise errors.InputError(
            f'{path}:{number} is not UTF-8 (byte 0x{line[error.start]:02x}):'
            ' convert the file to UTF-8.'
          ) from error
        yield number, text.removeprefix('\ufeff') if number == 1 else text
  except OSError as error:
    raise errors.InputError(
      f'Cannot read {path} ({error.strerror or error}): check the path.'
    ) from error


def read_json(path: epath.Path) -> dict[str, Any]:
  """Read a file that holds one JSON object.

  Raises:
    InputError: it cannot be read or is no JSON, with the line of the mistake.
  """
  text = read_text(path)
  value = parse_json(text, str(path))
  if not isinstance(value, dict):
    raise errors.InputError(
      f'{path} is no JSON object but begins with'
      f' {messages.shorten(text.strip())}: give'
      " COCO's or Karpathy's file, or JSON lines in a .jsonl file."
    )
  return value


def parse_json(text: str, source: str, line: int = 1) -> Any:
  """Parse JSON; ``line`` is the number of the first line, for messages."""
  if sum(text.count(c) for c in '[{,') > MAX_JSON_VALUES:
    raise errors.InputError(
      f'{source}:{line} is JSON of more than {MAX_JSON_VALUES:,} values: give a'
      ' file of captions, or split it.'
    )
  try:
    return json.loads(text)
  except json.JSONDecodeError as error:
    raise errors.InputError(
      f'{source}:{line + error.lineno - 1} is no JSON ({error.msg} at column'
      f' {error.colno}): correct it.'
    ) from error
  except RecursionError as error:
    raise errors.InputError(
      f'{source}:{line} is JSON nested too deeply to be captions.'
    ) from error
  except ValueError as error:  # For example a number of 5,000 digits.
    raise errors.InputError(
      f'{source}:{line} is JSON that cannot be read'
      f' ({messages.first_line(error)}).'
    ) from error


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
