"""Pickles in ``.npy`` files, read without running anything of theirs.

A pickle is a program: it can name any function of any module and call it.
Here the names lead to stand-ins that build plain containers, text, numbers and
arrays of them; any other name ends the reading.  Before that, its steps are
counted through once: a file of twenty bytes can ask for all memory there is,
by a length or by the number of a memo entry.
"""

from collections.abc import Callable
import io
import pickle
import pickletools
import re
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.runtime import bounded_files, errors, messages

# Opcode -> how many bytes it takes with its argument; 0 where that is told by
# the argument, or where the argument is a number of a memo entry.
_SIZES = [0] * 256
_CODES = {ord(code.code): code for code in pickletools.opcodes}
for _byte, _code in _CODES.items():
  if _code.arg is None:
    _SIZES[_byte] = 1
  elif _code.arg.n >= 0 and _code.name != 'LONG_BINPUT':
    _SIZES[_byte] = 1 + _code.arg.n
_PREFIXES = {
  pickletools.TAKEN_FROM_ARGUMENT1: 1,
  pickletools.TAKEN_FROM_ARGUMENT4: 4,
  pickletools.TAKEN_FROM_ARGUMENT4U: 4,
  pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
# A step takes sixty bytes of memory or more; COCO's captions are a third of it.
MAX_STEPS = 50_000_000
_PLAIN_DTYPE = re.compile(r'[biufSU]\d+|\?')


def load_npy(path: epath.Path) -> Any:
  """Read the object that ``np.save`` has pickled into a ``.npy`` file.

  Args:
    path: the file; of Python 3 or 2, whose ``str`` come back as bytes.

  Returns:
    Lists, dictionaries, tuples, sets, text, bytes, numbers, None, and NumPy
    arrays and scalars of plain dtypes.  An array of objects is a list; one
    without dimensions is the object in it.

  Raises:
    InputError: the file cannot be read, is no such pickle, or names something
      that is not plain.
  """
  content = bounded_files.read_bytes(path)
  data = io.BytesIO(content)
  try:
    version = np.lib.format.read_magic(data)
    read_header = {
      (1, 0): np.lib.format.read_array_header_1_0,
      (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    _, _, dtype = read_header(data)
  except Exception as error:  # NumPy has a parser for Python's own headers.
    raise errors.InputError(
      f'{path} is no .npy file ({messages.first_line(error)}): save it again'
      ' with np.save.'
    ) from error
  if not dtype.hasobject:
    raise errors.InputError(
      f'{path} holds numbers ({dtype}), not captions: features are given with'
      ' --features.'
    )
  try:
    _count_through(content, data.tell())
    return value_of(_Unpickler(data, str(path)).load())
  except errors.InputError:
    raise
  except Exception as error:  # A broken pickle raises nearly anything.
    raise errors.InputError(
      f'{path} is broken ({messages.first_line(error)}): save it again'
      ' with np.save.'
    ) from error


def value_of(value: Any) -> Any:
  """Return what a stand-in for an array holds, or any other value itself."""
  return value.value if isinstance(value, _Array) else value


def _count_through(data: bytes, begin: int) -> None:
  """Check that no step of a pickle asks for more than the file can hold.

  Raises:
    ValueError: a step does, or is unknown; IndexError: there is no end.
  """
  position, stop = begin, ord('.')
  for _ in range(MAX_STEPS):
    if data[position] == stop:
      return
    size = _SIZES[data[position]]
    position += size or _long_step(data, position)
  raise ValueError(f'more than {MAX_STEPS:,} steps')


def _long_step(data: bytes, position: int) -> int:
  """Return the size of a step that its argument tells."""
  code = _CODES.get(data[position])
  if code is None:
    raise ValueError(f'unknown step {data[position]:#04x}')
  begin = position + 1
  if code.name == 'LONG_BINPUT':
    _check_memo(int.from_bytes(data[begin : begin + 4], 'little'), data)
    return 5
  if code.arg.n == pickletools.UP_TO_NEWLINE:
    end = data.index(b'\n', begin)
    if code.name in ('GLOBAL', 'INST'):  # Module and name, a line each.
      end = data.index(b'\n', end + 1)
    if code.name == 'PUT':
      _check_memo(int(data[begin:end]), data)
    return end + 1 - position
  prefix = _PREFIXES[code.arg.n]
  length = int.from_bytes(data[begin : begin + prefix], 'little')
  if begin + prefix + length > len(data):
    raise ValueError('it ends too early')
  return 1 + prefix + length


def _check_memo(number: int, data: bytes) -> None:
  """Refuse the number of an entry that no file of this size can have."""
  if not 0 <= number <= len(data):
    raise ValueError(f'memo entry {number:,}')


class _Unpickler(pickle.Unpickler):
  """Builds plain values only."""

  def __init__(self, file: io.BytesIO, source: str):
    super().__init__(file, encoding='bytes')
    self._source = source
    # Made anew for each file: a pickle may set attributes of what it is given.
    self._makers = _makers()

  def find_class(self, module: str, name: str) -> Any:
    module = module.replace('numpy._core.', 'numpy.core.')
    module = module.replace('__builtin__', 'builtins')
    maker = self._makers.get(f'{module}.{name}')
    if maker is None:
      raise errors.InputError(
        f'{self._source} asks for {messages.shorten(f"{module}.{name}")}, which'
        ' no list of captions needs, so it was not read: have it saved anew'
        ' from plain lists, dictionaries and strings.'
      )
    return maker


def _makers() -> dict[str, Callable[..., Any]]:
  """Return a function for each name that a plain pickle may use."""

  def encode(text: str, encoding: str = 'latin1') -> bytes:
    # How Python 3 writes bytes in the protocols of Python 2.
    if _text(encoding) not in ('latin1', 'latin-1'):
      raise ValueError(f'bytes written in {encoding}')
    return text.encode('latin1')

  def scalar(dtype: '_Dtype', data: bytes = b'') -> Any:
    if dtype.numpy is None or dtype.numpy.itemsize != len(data):
      raise ValueError('a scalar that is no number or text')
    array = np.frombuffer(data, dtype.numpy)
    _check_text(array)
    return array[0]

  def array(data: bytes, dtype: '_Dtype', shape: tuple, order: str) -> '_Array':
    # Protocol 5: all at once instead of an empty array and its state.
    made = _Array()
    made.__setstate__((shape, dtype, order == 'F', data))
    return made

  return {
    'numpy.core.numeric._frombuffer': array,
    'numpy.core.multiarray._reconstruct': lambda *unused: _Array(),
    'numpy.core.multiarray.scalar': scalar,
    'numpy.ndarray': lambda *unused: _Array(),
    'numpy.dtype': lambda code, *unused: _Dtype(_text(code)),
    '_codecs.encode': encode,
    'builtins.list': lambda items=(): list(items),
    'builtins.dict': lambda items=(): dict(items),
    'builtins.set': lambda items=(): set(items),
    'builtins.frozenset': lambda items=(): frozenset(items),
    'collections.OrderedDict': lambda items=(): dict(items),
  }


class _Dtype:
  """Stands in for ``numpy.dtype``: numbers, text or objects."""

  def __init__(self, code: str):
    self.is_object = re.fullmatch(r'O\d*', code) is not None
    if not self.is_object and not _PLAIN_DTYPE.fullmatch(code):
      raise ValueError(f'an array of {code}')
    self.numpy = None if self.is_object else np.dtype(code)

  def __setstate__(self, state: tuple):
    order, parts = _text(state[1]), state[2:5]
    if any(part is not None for part in parts):
      raise ValueError('an array of records')
    if self.numpy is not None and order in '<>':
      self.numpy = self.numpy.newbyteorder(order)


class _Array:
  """Stands in for ``numpy.ndarray``; ``value`` is what it would hold."""

  value: Any = None

  def __setstate__(self, state: tuple):
    shape, dtype, by_columns, data = state[-4:]
    size = int(np.prod(shape, dtype=object))
    if not dtype.is_object:
      array = np.frombuffer(data, dtype.numpy)
      order = 'F' if by_columns else 'C'
      _check_text(array)
      self.value = array.reshape(shape, order=order)
      return
    if not isinstance(data, list) or len(data) != size or len(shape) > 1:
      raise ValueError('an array of objects that is no list')
    values = [value_of(item) for item in data]
    self.value = values if shape else values[0]


def _check_text(array: np.ndarray) -> None:
  """Refuse text with numbers that are no characters, which NumPy lets pass."""
  if array.dtype.kind == 'U' and array.size and array.dtype.itemsize:
    codes = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if codes.max() > 0x10FFFF:
      raise ValueError('text that is none')


def _text(value: str | bytes) -> str:
  return value.decode('ascii') if isinstance(value, bytes) else value
