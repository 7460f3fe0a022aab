"""JSON of others: whole files of one object, and files of an object a line.

What is read is bounded, and what cannot be read is told with file and line.
"""

from collections.abc import Iterable, Iterator
import json
from typing import Any

from etils import epath

from mrnn_jax.runtime import bounded_files, errors, messages

# Each takes sixty bytes or more in memory, and as few as two in the file; those
# of COCO's captions are a tenth of this.
MAX_VALUES = 50_000_000


class NotJsonError(ValueError):
  """Why a text is not read: 'is no JSON (...)', without its subject.

  Attributes:
    line: of the text, from 1, where that shows.
  """

  def __init__(self, reason: str, line: int = 1):
    """Take the reason and the line."""
    super().__init__(reason)
    self.line = line


def parse(text: str, finite: bool = False) -> Any:
  """Parse JSON.

  Args:
    text: one value.
    finite: whether NaN and infinity, which JSON does not know, are refused.

  Raises:
    NotJsonError: it is none, or larger or deeper than it should be.
  """
  if _num_values(text) > MAX_VALUES:
    raise NotJsonError(f'is JSON of more than {MAX_VALUES:,} values')
  try:
    return json.loads(text, parse_constant=_no_number if finite else None)
  except json.JSONDecodeError as error:
    reason = f'is no JSON ({error.msg} at column {error.colno})'
    raise NotJsonError(reason, error.lineno) from error
  except RecursionError as error:
    raise NotJsonError('is JSON nested too deeply') from error
  except ValueError as error:  # For example a number of 5,000 digits.
    reason = f'is JSON that cannot be read ({messages.first_line(error)})'
    raise NotJsonError(reason) from error


def _num_values(text: str) -> int:
  """Return how many values there are at most."""
  return sum(text.count(c) for c in '[{,')


def _no_number(name: str) -> None:
  raise ValueError(f'{name} is not a number')


def read_object(path: epath.Path, remedy: str = 'correct it') -> dict[str, Any]:
  """Read a file that holds one JSON object.

  Args:
    path: the file.
    remedy: what to do about a file that does not.

  Raises:
    InputError: it cannot be read or is no JSON, with the line of the mistake.
  """
  text = bounded_files.read_text(path)
  try:
    value = parse(text)
  except NotJsonError as error:
    where = f'{path}:{error.line}'
    raise errors.InputError(f'{where} {error}: {remedy}.') from error
  if not isinstance(value, dict):
    raise errors.InputError(
      f'{path} is no JSON object but begins with'
      f' {messages.shorten(text.strip())}: {remedy}.'
    )
  return value


def read_lines(
  path: epath.Path, remedy: str = 'correct it', may_be_cut: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yield the objects of a file with one a line, and the lines' numbers.

  Args:
    path: the file; blank lines are passed over.
    remedy: what to do about a line that holds none.
    may_be_cut: whether a last line without its end, which a killed process
      may have left, is passed over if it is no JSON.

  Raises:
    InputError: it cannot be read, or a line holds no JSON object.
  """
  lines = bounded_files.read_lines(path)
  return objects(lines, str(path), remedy, may_be_cut)


def objects(
  lines: Iterable[tuple[int, str]],
  source: str,
  remedy: str = 'correct it',
  may_be_cut: bool = False,
) -> Iterator[tuple[int, dict[str, Any]]]:
  """Do as ``read_lines`` with lines and their numbers; ``source`` is named."""
  num_values = 0
  for number, line in lines:
    if not line.strip():
      continue
    where = f'{source}:{number}'
    try:
      value = parse(line)
    except NotJsonError as error:
      if may_be_cut and not line.endswith('\n'):
        continue
      raise errors.InputError(f'{where} {error}: {remedy}.') from error
    if not isinstance(value, dict):
      raise errors.InputError(f'{where} is no JSON object: {remedy}.')
    num_values += _num_values(line)
    if num_values > MAX_VALUES:
      raise errors.InputError(
        f'{source} holds more than {MAX_VALUES:,} values: split it.'
      )
    yield number, value
