"""The machine that pickles run on: what it may build, and out of what."""

from collections.abc import Callable, Collection, Iterable, Mapping
import dataclasses
from typing import Any

import numpy as np

from mrnn_jax.runtime import errors

# A step takes sixty bytes of memory or more; COCO's captions are a third of it.
MAX_STEPS = 50_000_000
# What calls may be given beside as much as the file has bytes: each item and
# each letter stands in it once.
_FREE_ITEMS = 1 << 16
# A set takes so many times the memory of another container.
SET_ITEMS = 4
# Any number of larger ones may have the same hash, and be slow to look up.
_MAX_KEY_BITS = 64
_MAX_NAME = 100


class RefusedError(ValueError):
  """Why a pickle is refused: 'asks for os.system', without its subject."""


@dataclasses.dataclass(frozen=True)
class Name:
  """A name of a module's member that was asked for, and nothing more."""

  name: str


class StandIn:
  """Stands for an object of a file; the calls of a table may build some."""

  def set_state(self, state: Any) -> None:
    """Take what the file tells the object about itself; here, drop it."""


@dataclasses.dataclass(frozen=True)
class Table:
  """What pickles of a kind may ask for.

  Attributes:
    calls: name -> what stands for a call of it.  It is given what the file
      holds, and may copy each argument once.
    tags: names that are named, but not called.
    refer: what stands for a reference to something outside of the pickle.
    python_2: how the texts of Python 2 are encoded; 'bytes': they stay so.
    max_steps: a longer program is refused.
  """

  calls: Mapping[str, Callable[..., Any]]
  tags: Collection[str] = ()
  refer: Callable[[Any], Any] | None = None
  python_2: str = 'bytes'
  max_steps: int = MAX_STEPS


def add_pairs(target: dict, pairs: Iterable[Any]) -> dict:
  """Add pairs whose keys are plain, and return the dictionary.

  Raises:
    RefusedError: a key is no text, number, truth value or None.
  """
  for key, value in pairs:
    _check_key(key, 'a dictionary with a {} as key')
    target[key] = value
  return target


def add_items(target: set, items: Iterable[Any]) -> set:
  """Add items that are plain, and return the set.

  Raises:
    RefusedError: one is no text, number, truth value or None.
  """
  for item in items:
    _check_key(item, 'a set with a {} in it')
    target.add(item)
  return target


def _check_key(key: Any, what: str) -> None:
  """Refuse what is slow to look up: deep tuples, numbers of equal hashes."""
  kind = type(key)
  if kind in (str, bytes):
    return
  if kind is int and key.bit_length() > _MAX_KEY_BITS:
    raise RefusedError(f'has {what.format("number of many digits")}')
  if kind not in (int, float, bool, type(None)) and not isinstance(
    key, np.generic
  ):
    raise RefusedError(f'has {what.format(kind.__name__)}')


def _to_dict(pairs: Any = ()) -> dict:
  return add_pairs({}, pairs.items() if type(pairs) is dict else pairs)


# The containers of Python, under the names of Python 3 and 2.
CONTAINERS: dict[str, Callable[..., Any]] = {
  **{
    f'{module}.{name}': make
    for module in ('builtins', '__builtin__')
    for name, make in (
      ('bytes', lambda: b''),
      ('dict', _to_dict),
      ('frozenset', lambda items=(): frozenset(add_items(set(), items))),
      ('list', lambda items=(): [*items]),
      ('set', lambda items=(): add_items(set(), items)),
    )
  },
  'collections.OrderedDict': _to_dict,
}
# What has a length that a call may copy.
_SIZED = (str, bytes, list, tuple, dict, set, frozenset)


class Machine:
  """The stack, the memo, and the budget of a program."""

  def __init__(self, data: bytes, table: Table, begin: int):
    """Begin with nothing at a place of a file, with a table of names."""
    self.data, self.table = data, table
    self.stack: list[Any] = []
    self.memo: dict[int, Any] = {}
    # Where on the stack lists of arguments begin.
    self._marks: list[int] = []
    self._budget = len(data) - begin + _FREE_ITEMS

  def spend(self, number: int) -> None:
    """Count what is built of more than the step's own bytes."""
    self._budget -= number
    if self._budget < 0:
      raise RefusedError('builds far more than it has bytes')

  def line(self, at: int) -> tuple[bytes, int]:
    """Return the bytes up to the end of the line, and where the next begins."""
    end = self.data.index(b'\n', at)
    return self.data[at:end], end + 1

  def mark(self) -> None:
    """Begin a list of arguments."""
    self._marks.append(len(self.stack))

  def pop_to_mark(self) -> list[Any]:
    """Take what lies above the topmost mark, and the mark."""
    begin = self._marks.pop()
    if begin > len(self.stack):
      raise ValueError('a mark where a value should be')
    items = self.stack[begin:]
    del self.stack[begin:]
    return items

  def put(self, number: int) -> None:
    """Remember the topmost value."""
    if not 0 <= number <= len(self.data):
      raise ValueError(f'memo entry {number:,}')
    self.memo[number] = self.stack[-1]

  def push_python_2(self, text: bytes) -> None:
    """Push a text of Python 2."""
    encoding = self.table.python_2
    self.stack.append(text if encoding == 'bytes' else text.decode(encoding))

  def build_tuple(self, count: int) -> None:
    """Make a tuple of the topmost values."""
    items = [self.stack.pop() for _ in range(count)]
    self.stack.append(tuple(items[::-1]))

  def build_set(self) -> None:
    """Push an empty set."""
    self.spend(SET_ITEMS)
    self.stack.append(set())

  def append(self, items: list[Any]) -> None:
    """Add values to the list below them."""
    expect(self.stack[-1], list).extend(items)

  def set_items(self, items: list[Any]) -> None:
    """Add keys and values, one after another, to the dictionary below them."""
    pairs = zip(items[::2], items[1::2], strict=True)
    add_pairs(expect(self.stack[-1], dict), pairs)

  def look_up(self, name: str) -> None:
    """Push a name, if it is one of the table."""
    if name not in self.table.calls and name not in self.table.tags:
      shown = errors.printable(name)
      if len(shown) > _MAX_NAME:
        shown = f'{shown[:_MAX_NAME]}...'
      raise RefusedError(f'asks for {shown}')
    self.stack.append(Name(name))

  def call(self) -> None:
    """Replace a name and its arguments by what they stand for."""
    arguments = expect(self.stack.pop(), tuple)
    name = expect(self.stack.pop(), Name).name
    if name not in self.table.calls:
      raise RefusedError(f'calls {name}, which is not to be called')
    self._spend_on(arguments)
    self.stack.append(self.table.calls[name](*arguments))

  def set_state(self) -> None:
    """Tell an object about itself; containers need not know."""
    state = self.stack.pop()
    target = self.stack[-1]
    if isinstance(target, StandIn):
      self._spend_on(state if type(state) is tuple else (state,))
      target.set_state(state)
    elif type(target) is not dict:
      raise RefusedError('sets the state of what has none')

  def refer(self, value: Any) -> None:
    """Push what stands for a reference."""
    if self.table.refer is None:
      raise RefusedError('refers to what is not in it')
    self.stack.append(self.table.refer(value))

  def _spend_on(self, arguments: tuple[Any, ...]) -> None:
    """Count what is given to a call, which may copy each argument."""
    self.spend(sum(len(x) for x in arguments if isinstance(x, _SIZED)))


def expect(value: Any, kind: type) -> Any:
  """Return the value, or raise ValueError if it is of another type."""
  if type(value) is not kind:
    raise ValueError(
      f'a {type(value).__name__} where a {kind.__name__} belongs'
    )
  return value
