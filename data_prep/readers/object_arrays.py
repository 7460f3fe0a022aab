"""``.npy`` files of Python objects, read without running anything of theirs.

What NumPy's pickles name are arrays, scalars and dtypes; here stand-ins take
their places, which hold plain values alone.
"""

import io
import math
import re
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.runtime import bounded_files, errors, messages, npz, pickles

_MAX_DIMENSIONS = 32
_PLAIN_DTYPE = re.compile(r'[biufSU]\d+|\?')


def load(path: epath.Path) -> Any:
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
    _, dtype = npz.read_header(data)
  except Exception as error:
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
    value, _ = pickles.read(content, TABLE, data.tell())
  except pickles.RefusedError as error:
    raise errors.InputError(
      f'{path} {error}, as no list of captions does, so it was not read: have'
      ' it saved anew from plain lists, dictionaries and strings.'
    ) from error
  except ValueError as error:
    raise errors.InputError(
      f'{path} is broken ({messages.first_line(error)}): save it again'
      ' with np.save.'
    ) from error
  return value_of(value)


def value_of(value: Any) -> Any:
  """Return what a stand-in for an array holds, or any other value itself."""
  return value.value if isinstance(value, _Array) else value


class _Dtype(pickles.StandIn):
  """Stands in for ``numpy.dtype``: numbers, text or objects."""

  def __init__(self, code: str | bytes, *unused: Any):
    code = _text(code)
    self.is_object = re.fullmatch(r'O\d*', code) is not None
    if not self.is_object and not _PLAIN_DTYPE.fullmatch(code):
      raise ValueError(f'an array of {code}')
    self.numpy = None if self.is_object else np.dtype(code)

  def set_state(self, state: Any) -> None:
    order, parts = _text(state[1]), state[2:5]
    if any(part is not None for part in parts):
      raise ValueError('an array of records')
    if self.numpy is not None and order in ('<', '>'):
      self.numpy = self.numpy.newbyteorder('<' if order == '<' else '>')


class _Array(pickles.StandIn):
  """Stands in for ``numpy.ndarray``; ``value`` is what it would hold."""

  def __init__(self, *unused: Any):
    self.value: Any = None

  def set_state(self, state: Any) -> None:
    shape, dtype, by_columns, data = state[-4:]
    pickles.expect(dtype, _Dtype)
    if len(pickles.expect(shape, tuple)) > _MAX_DIMENSIONS:
      raise ValueError(f'an array of {len(shape):,} dimensions')
    size = math.prod(pickles.expect(side, int) for side in shape)
    if not dtype.is_object:
      array = np.frombuffer(data, dtype.numpy)
      _check_text(array)
      self.value = array.reshape(shape, order='F' if by_columns else 'C')
      return
    if not isinstance(data, list) or len(data) != size or len(shape) > 1:
      raise ValueError('an array of objects that is no list')
    values = [value_of(item) for item in data]
    self.value = values if shape else values[0]


def _array(data: bytes, dtype: _Dtype, shape: tuple, order: str) -> _Array:
  """Return an array that is given at once, as in protocol 5."""
  made = _Array()
  made.set_state((shape, dtype, order == 'F', data))
  return made


def _scalar(dtype: _Dtype, data: bytes = b'') -> Any:
  plain = pickles.expect(dtype, _Dtype).numpy
  if plain is None or plain.itemsize != len(data):
    raise ValueError('a scalar that is no number or text')
  array = np.frombuffer(data, plain)
  _check_text(array)
  return array[0]


def _encode(text: str, encoding: str = 'latin1') -> bytes:
  """Return bytes as Python 3 writes them in the protocols of Python 2."""
  if _text(encoding) not in ('latin1', 'latin-1'):
    raise ValueError(f'bytes written in {encoding}')
  return text.encode('latin1')


def _check_text(array: np.ndarray) -> None:
  """Refuse text with numbers that are no characters, which NumPy lets pass."""
  if array.dtype.kind == 'U' and array.size and array.dtype.itemsize:
    codes = array.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if codes.max() > 0x10FFFF:
      raise ValueError('text that is none')


def _text(value: str | bytes) -> str:
  return value.decode('ascii') if isinstance(value, bytes) else value


TABLE = pickles.Table(
  calls={
    **pickles.CONTAINERS,
    '_codecs.encode': _encode,
    'numpy.dtype': _Dtype,
    'numpy.ndarray': _Array,
    **{
      f'numpy.{core}.{name}': make
      for core in ('core', '_core')  # Before NumPy 2, and since.
      for name, make in (
        ('multiarray._reconstruct', _Array),
        ('multiarray.scalar', _scalar),
        ('numeric._frombuffer', _array),
      )
    },
  }
)
