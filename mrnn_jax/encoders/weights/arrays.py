"""Readers of files that hold arrays and nothing else."""

import json
import math
from typing import BinaryIO, Literal

import numpy as np

from mrnn_jax.runtime import npz
from mrnn_jax.runtime.npz import UnusableError

# Ten thousand tensors; JSON takes many times its size in memory.
_MAX_HEADER = 1 << 24
# What safetensors calls a dtype; all values are little-endian.
_DTYPES = {
  'F64': '<f8',
  'F32': '<f4',
  'F16': '<f2',
  'BF16': '<u2',
  'I64': '<i8',
  'I32': '<i4',
  'I16': '<i2',
  'I8': 'i1',
  'U8': 'u1',
  'BOOL': '?',
}


def from_bytes(
  data: bytes,
  dtype: str,
  bfloat16: bool,
  byte_order: Literal['<', '>'] = '<',
) -> np.ndarray:
  """Return raw values as a flat array of native byte order.

  Args:
    data: the values.
    dtype: a numpy dtype; for bfloat16 that of its bits.
    bfloat16: whether they are bfloat16, which becomes float32.
    byte_order: '<' or '>'.
  """
  values = np.frombuffer(data, np.dtype(dtype).newbyteorder(byte_order))
  values = values.astype(values.dtype.newbyteorder('='), copy=False)
  if bfloat16:
    # A bfloat16 is the upper half of a float32.
    return (values.astype(np.uint32) << 16).view(np.float32)
  return values


def read_safetensors(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
  """Read ``.safetensors``: a length, a header in JSON, the values.

  Args:
    file: at its beginning.
    size: of the file, in bytes.

  Raises:
    UnusableError: the header does not fit the file.
  """
  header_size = int.from_bytes(file.read(8), 'little')
  if header_size > size - 8:
    raise UnusableError('is cut off: fetch it again')
  if header_size > _MAX_HEADER:
    raise UnusableError(
      f'has a header of {header_size:,} bytes, more than any network needs'
      f' ({_MAX_HEADER:,}): refused'
    )
  header = json.loads(file.read(header_size))
  begin = 8 + header_size
  tensors, total = {}, 0
  for name, entry in header.items():
    if name == '__metadata__':
      continue
    kind, shape = entry['dtype'], entry['shape']
    if kind not in _DTYPES:
      raise UnusableError(
        f'holds {name!r} as {kind}, which is not read here: save it as float32'
      )
    first, last = entry['data_offsets']
    count = math.prod(shape)
    fits = last - first == count * np.dtype(_DTYPES[kind]).itemsize
    if min(shape, default=0) < 0 or not fits or first < 0:
      raise UnusableError(
        f'contradicts itself about {name!r} (shape {shape} in {last - first:,}'
        ' bytes): fetch it again'
      )
    if begin + last > size:
      raise UnusableError('is cut off: fetch it again')
    # Names for the same values again and again would fill the memory.
    total += last - first
    if total > size:
      raise UnusableError('holds values twice: fetch it again')
    file.seek(begin + first)
    values = from_bytes(file.read(last - first), _DTYPES[kind], kind == 'BF16')
    tensors[name] = values.reshape(shape)
  return tensors


def read_npz(file: BinaryIO) -> dict[str, np.ndarray]:
  """Read a ``.npz`` whose arrays hold no Python objects.

  Args:
    file: the archive.

  Raises:
    UnusableError: an array holds objects, which only pickle could read.
  """
  reader = npz.Reader(file)
  return {name: reader.read(name) for name in reader.names}
