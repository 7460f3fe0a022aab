"""Pickles of PyTorch, read by an interpreter that can call nothing.

A pickle is a program for a stack machine that may call any function of any
module.  This machine knows the steps that build numbers, texts, lists, tuples
and dictionaries.  The few functions that PyTorch's files name become tags, for
each of which this module itself says what it stands for.  Any other name and
any other step is refused, so no file can run code or build other objects.
"""

from collections.abc import Callable
import dataclasses
import pickletools
from typing import Any, BinaryIO

from mrnn_jax.encoders.weights.arrays import UnusableError

# Beyond any network: one tensor takes about 30 steps.
_MAX_STEPS = 5_000_000

# torch's name of a storage -> numpy's of its values; bfloat16 as its bits.
STORAGES = {
  'torch.DoubleStorage': '<f8',
  'torch.FloatStorage': '<f4',
  'torch.HalfStorage': '<f2',
  'torch.BFloat16Storage': '<u2',
  'torch.LongStorage': '<i8',
  'torch.IntStorage': '<i4',
  'torch.ShortStorage': '<i2',
  'torch.CharStorage': 'i1',
  'torch.ByteStorage': 'u1',
  'torch.BoolStorage': '?',
}


@dataclasses.dataclass(frozen=True)
class Storage:
  """Values that lie elsewhere in the file.

  Attributes:
    kind: a name of ``STORAGES``.
    key: under which the file has them.
    size: how many there are.
  """

  kind: str
  key: str
  size: int


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A view of a storage: offset and strides in elements."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Name:
  """A name of a module's member that was asked for, and nothing more."""

  name: str


class _Mark:
  """Where on the stack a list of arguments begins."""


def read(file: BinaryIO, storages: dict[str, Storage] | None = None) -> Any:
  """Read one pickle.

  Args:
    file: the pickle begins where it stands; it is left behind its end.
    storages: gets every storage that is referred to, by its key.

  Returns:
    None, truth values, numbers, texts, bytes, lists, tuples and dictionaries of
    them, and ``Tensor``.

  Raises:
    UnusableError: it asks for anything else.
    ValueError: it is broken.
  """
  machine = _Machine({} if storages is None else storages)
  for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
    if number > _MAX_STEPS:
      raise UnusableError('describes more than any network has')
    if opcode.name == 'STOP':
      return machine.pop()
    machine.step(opcode.name, argument)
  raise ValueError('a pickle without an end')


class _Machine:
  """The stack, the memo, and the steps that are known."""

  def __init__(self, storages: dict[str, Storage]):
    self.storages = storages
    self.stack: list[Any] = []
    self.memo: dict[int, Any] = {}

  def step(self, name: str, argument: Any):
    """Do one step."""
    if name in _CONSTANTS:
      self.stack.append(_CONSTANTS[name]())
    elif name in _LITERALS:
      self.stack.append(argument)
    elif name in _IGNORED:
      pass
    elif name in _STEPS:
      _STEPS[name](self, argument)
    else:
      raise UnusableError(
        f'is a pickle that asks for {name}, which no weights need: refused'
      )

  def pop(self) -> Any:
    """Take the topmost value."""
    value = self.stack.pop()
    if value is _Mark:
      raise ValueError('a mark where a value should be')
    return value

  def pop_to_mark(self) -> list[Any]:
    """Take what lies above the topmost mark, and the mark."""
    items = []
    while (value := self.stack.pop()) is not _Mark:
      items.append(value)
    return items[::-1]

  def build_tuple(self, count: int | None = None):
    """Make a tuple of the topmost values, or of those above the mark."""
    if count is None:
      items = self.pop_to_mark()
    else:
      items = [self.pop() for _ in range(count)][::-1]
    self.stack.append(tuple(items))

  def append(self, items: list[Any]):
    """Add values to the list below them."""
    _expect(self.stack[-1], list).extend(items)

  def set_items(self, items: list[Any]):
    """Add keys and values, one after another, to the dictionary below them."""
    _update(
      _expect(self.stack[-1], dict),
      zip(items[::2], items[1::2], strict=True),
    )

  def look_up(self, name: str):
    """Push a name if it is one of those that PyTorch's files need."""
    if name not in _CALLS and name not in STORAGES:
      raise UnusableError(
        f'asks for {name}, which is neither a tensor nor a plain container:'
        ' refused, and nothing of it was run'
      )
    self.stack.append(_Name(name))

  def call(self):
    """Replace a name and its arguments by what they stand for."""
    arguments = _expect(self.pop(), tuple)
    name = _expect(self.pop(), _Name).name
    if name not in _CALLS:
      raise UnusableError(f'calls {name}, which is not to be called: refused')
    self.stack.append(_CALLS[name](*arguments))

  def set_state(self):
    """Drop what an object is told about itself: no container needs it."""
    self.pop()
    if not isinstance(self.stack[-1], (dict, Tensor)):
      raise UnusableError('sets the state of what has none: refused')

  def refer(self):
    """Replace the reference to a storage by the storage."""
    kind, name, key, _, size, *view = _expect(self.pop(), tuple)
    if kind != 'storage' or any(part is not None for part in view):
      raise UnusableError(
        'refers to its values in a way that is not read here: save it again by'
        ' a newer PyTorch'
      )
    name = _expect(name, _Name).name
    if name not in STORAGES:
      raise UnusableError(f'refers to a storage of kind {name}: refused')
    storage = Storage(name, _expect(key, str), _expect(size, int))
    if self.storages.setdefault(key, storage) != storage:
      raise ValueError(f'two kinds of values under the key {key!r}')
    self.stack.append(storage)


def _expect(value: Any, kind: type) -> Any:
  """Return the value, or raise ValueError if it is of another type."""
  if type(value) is not kind:
    raise ValueError(
      f'a {type(value).__name__} where a {kind.__name__} belongs'
    )
  return value


def _update(target: dict, pairs) -> dict:
  """Add pairs whose keys are plain, and return the dictionary."""
  for key, value in pairs:
    if type(key) not in (str, int, float, bool, type(None)):
      raise UnusableError(
        f'has a dictionary with a {type(key).__name__} as key: refused'
      )
    target[key] = value
  return target


def _tensor(storage, offset, shape, strides, *_) -> Tensor:
  """Return what torch._utils._rebuild_tensor and _v2 stand for."""
  shape, strides = _expect(shape, tuple), _expect(strides, tuple)
  for number in (offset, *shape, *strides):
    if _expect(number, int) < 0:
      raise ValueError('a negative size, stride or offset')
  if len(shape) != len(strides):
    raise ValueError(f'{len(strides)} strides for {len(shape)} dimensions')
  return Tensor(_expect(storage, Storage), offset, shape, strides)


def _parameter(tensor, *_) -> Tensor:
  """Return what a parameter stands for: its tensor."""
  return _expect(tensor, Tensor)


# Name -> what stands for a call of it.
_CALLS: dict[str, Callable[..., Any]] = {
  'collections.OrderedDict': lambda pairs=(): _update({}, pairs),
  'torch.Size': lambda sizes: _expect(sizes, tuple),
  'torch._utils._rebuild_parameter': _parameter,
  'torch._utils._rebuild_tensor': _tensor,
  'torch._utils._rebuild_tensor_v2': _tensor,
  'torch.nn.parameter.Parameter': _parameter,
}
_CONSTANTS: dict[str, Callable[[], Any]] = {
  'NONE': lambda: None,
  'NEWTRUE': lambda: True,
  'NEWFALSE': lambda: False,
  'EMPTY_DICT': dict,
  'EMPTY_LIST': list,
  'EMPTY_TUPLE': tuple,
  'MARK': lambda: _Mark,
}
_LITERALS = (
  *('BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'BINFLOAT'),
  *('BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8'),
  *('BINSTRING', 'SHORT_BINSTRING'),
  *('BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8'),
)
_IGNORED = ('PROTO', 'FRAME')


def _put(machine: _Machine, place: int):
  machine.memo[place] = machine.stack[-1]


def _stack_global(machine: _Machine, _):
  member, module = machine.pop(), machine.pop()
  machine.look_up(f'{module}.{member}')


_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
  'APPEND': lambda m, _: m.append([m.pop()]),
  'APPENDS': lambda m, _: m.append(m.pop_to_mark()),
  'BINGET': lambda m, place: m.stack.append(m.memo[place]),
  'BINPERSID': lambda m, _: m.refer(),
  'BINPUT': _put,
  'BUILD': lambda m, _: m.set_state(),
  # The argument is 'module member'.
  'GLOBAL': lambda m, names: m.look_up(names.replace(' ', '.', 1)),
  'LONG_BINGET': lambda m, place: m.stack.append(m.memo[place]),
  'LONG_BINPUT': _put,
  'MEMOIZE': lambda m, _: _put(m, len(m.memo)),
  'NEWOBJ': lambda m, _: m.call(),
  'REDUCE': lambda m, _: m.call(),
  'SETITEM': lambda m, _: m.set_items([m.pop(), m.pop()][::-1]),
  'SETITEMS': lambda m, _: m.set_items(m.pop_to_mark()),
  'STACK_GLOBAL': _stack_global,
  'TUPLE': lambda m, _: m.build_tuple(),
  'TUPLE1': lambda m, _: m.build_tuple(1),
  'TUPLE2': lambda m, _: m.build_tuple(2),
  'TUPLE3': lambda m, _: m.build_tuple(3),
}
