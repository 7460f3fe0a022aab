"""Numeric matrices of MATLAB's file format 5, the usual one before 7.3.

Written after MathWorks' description of level-5 MAT-files.  SciPy reads them
too, but files that are damaged can end the whole program there; and here a
matrix that is not packed is mapped instead of read.
"""

from collections.abc import Iterator
import dataclasses
import os
import struct
from typing import Any, BinaryIO, Literal
import zlib

from etils import epath
import numpy as np

from mrnn_jax.runtime import bounded_files

ByteOrder = Literal['<', '>']

_HEADER = 128
_ORDERS: dict[bytes, ByteOrder] = {b'IM': '<', b'MI': '>'}
_MATRIX, _PACKED = 14, 15
_TYPES = {
  1: 'i1',
  2: 'u1',
  3: 'i2',
  4: 'u2',
  5: 'i4',
  6: 'u4',
  7: 'f4',
  9: 'f8',
  12: 'i8',
  13: 'u8',
}
_CLASSES = {
  6: 'f8',
  7: 'f4',
  **{8 + i: kind for i, kind in enumerate(('i1', 'u1', 'i2', 'u2'))},
  **{12 + i: kind for i, kind in enumerate(('i4', 'u4', 'i8', 'u8'))},
}
_COMPLEX = 0x0800
# What stands before the numbers of a matrix is much shorter than this.
_HEAD_BYTES = 4096
# Deflate packs no more than 1 : 1032.
_MAX_PACKING = 1100
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Variable:
  """A numeric matrix in a file.

  Attributes:
    name: as MATLAB calls it.
    shape: as MATLAB has it, [D, N] for features.
    dtype: of the variable.
    stored: dtype of the numbers in the file, which may be smaller.
    begin: where its element begins in the file, after the tag.
    size: of the element in the file.
    numbers: where its numbers begin in the element, after unpacking.
    packed: whether the element is.
  """

  name: str
  shape: tuple[int, ...]
  dtype: np.dtype
  stored: np.dtype
  begin: int
  size: int
  numbers: int
  packed: bool


def variables(path: epath.Path) -> list[Variable]:
  """Return the numeric, real matrices of a file.

  Raises:
    ValueError: it is no such file, or damaged.
  """
  with path.open('rb') as file:
    header = file.read(_HEADER)
    order = _ORDERS.get(header[126:128])
    if order is None:
      raise ValueError('no MATLAB file of format 5')
    file.seek(0, os.SEEK_END)
    total = file.tell()
    found = _elements(file, order, total)
    return [variable for variable in found if variable is not None]


def read(path: epath.Path, variable: Variable) -> np.ndarray:
  """Return a matrix [D, N] as [N, D]: MATLAB stores it by columns.

  Args:
    path: the file.
    variable: one of its ``variables``.

  Returns:
    [N, D], memory-mapped where the numbers stand in the file as they are.

  Raises:
    ValueError: the file is damaged.
  """
  shape, stored = variable.shape[::-1], variable.stored
  if not variable.packed:
    begin = variable.begin + variable.numbers
    array: np.ndarray
    if os.path.exists(path):
      array = np.memmap(path, stored, 'r', begin, shape)
    else:
      with path.open('rb') as file:
        file.seek(begin)
        array = np.frombuffer(file.read(_num_bytes(variable)), stored)
        array = array.reshape(shape)
  else:
    array = _unpack(path, variable).reshape(shape)
  return array if variable.dtype == stored else array.astype(variable.dtype)


def _elements(
  file: BinaryIO, order: ByteOrder, total: int
) -> Iterator[Variable | None]:
  """Yield the elements of a file, None for those that are no matrix."""
  position = _HEADER
  while position + 8 <= total:
    file.seek(position)
    kind, size = struct.unpack(f'{order}II', file.read(8))
    begin = position + 8
    if begin + size > total:
      raise ValueError('it ends too early')
    head = file.read(min(size, _HEAD_BYTES))
    if kind == _MATRIX:
      yield _describe(head, order, begin, size, packed=False)
    elif kind == _PACKED:
      head = zlib.decompressobj().decompress(head, _HEAD_BYTES)
      inner, inner_size = struct.unpack(f'{order}II', head[:8])
      if inner == _MATRIX and inner_size <= _MAX_PACKING * size:
        yield _describe(head, order, begin, size, packed=True)
    position = begin + size


def _describe(
  head: bytes, order: ByteOrder, begin: int, size: int, packed: bool
) -> Variable | None:
  """Return the matrix that an element holds, None if it is not numeric."""
  # A packed element is a whole one, with a tag of its own.
  position = 8 if packed else 0
  limit = size
  if packed:
    limit = 8 + struct.unpack(f'{order}I', head[4:8])[0]
  parts: list[tuple[int, Any]] = []
  for _ in range(3):  # Flags, shape, name.
    kind, start, length = _tag(head, position, order)
    parts.append((kind, head[start : start + length]))
    position = _next(position, start, length)
  flags, dims, name = (content for _, content in parts)
  flag = struct.unpack(f'{order}I', flags[:4])[0]
  if flag & 0xFF not in _CLASSES or flag & _COMPLEX:
    return None
  shape = tuple(int(side) for side in np.frombuffer(dims, f'{order}i4'))
  kind, start, length = _tag(head, position, order)
  if kind not in _TYPES or min(shape, default=-1) < 0:
    raise ValueError('a matrix without numbers')
  stored = np.dtype(f'{order}{_TYPES[kind]}')
  variable = Variable(
    name.decode('latin-1'),
    shape,
    np.dtype(_CLASSES[flag & 0xFF]).newbyteorder(order),
    stored,
    begin,
    size,
    start,
    packed,
  )
  if _num_bytes(variable) != length or start + length > limit:
    raise ValueError(f'a matrix of {length:,} bytes for shape {shape}')
  return variable


def _tag(head: bytes, position: int, order: str) -> tuple[int, int, int]:
  """Return kind, beginning and length of the content of a sub-element."""
  kind, length = struct.unpack(f'{order}II', head[position : position + 8])
  if kind >> 16:  # Up to four bytes stand in the tag itself.
    return kind & 0xFFFF, position + 4, min(kind >> 16, 4)
  return kind, position + 8, length


def _next(position: int, start: int, length: int) -> int:
  """Return where the sub-element after this one begins."""
  if start == position + 4:
    return position + 8
  return start + (length + 7) // 8 * 8


def _num_bytes(variable: Variable) -> int:
  """Return how many bytes the numbers of a matrix take."""
  size = int(np.prod(variable.shape, dtype=object))
  return size * variable.stored.itemsize


def _unpack(path: epath.Path, variable: Variable) -> np.ndarray:
  """Return the numbers of a packed element, with little memory besides."""
  bounded_files.check_packing(path, _num_bytes(variable), variable.size)
  target = np.empty(_num_bytes(variable), np.uint8)
  unpacker = zlib.decompressobj()
  skip, filled = variable.numbers, 0
  with path.open('rb') as file:
    file.seek(variable.begin)
    left = variable.size
    while left and filled < len(target):
      packed = file.read(min(left, _CHUNK))
      if not packed:
        break
      left -= len(packed)
      while packed and filled < len(target):
        chunk = unpacker.decompress(packed, _CHUNK)
        packed = unpacker.unconsumed_tail
        if skip:
          chunk, skip = chunk[skip:], max(0, skip - len(chunk))
        chunk = chunk[: len(target) - filled]
        target[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
        filled += len(chunk)
  if filled < len(target):
    raise ValueError('it ends too early')
  return target.view(variable.stored)
