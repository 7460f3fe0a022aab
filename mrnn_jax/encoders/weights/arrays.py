"""Readers of files that hold arrays and nothing else."""

import io
import json
import math
from typing import BinaryIO
import zipfile

import numpy as np

from mrnn_jax.runtime import bounded_files, npz

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


class UnusableError(ValueError):
  """Why a file is refused: the end of a sentence that begins with its name."""


def from_bytes(
  data: bytes, dtype: str, bfloat16: bool, byte_order: str = '<'
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


def read_npz(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
  """Read a ``.npz`` whose arrays hold no Python objects.

  Args:
    archive: the file.

  Raises:
    UnusableError: an array holds objects, which only pickle could read.
  """
  entries = archive.infolist()
  size = sum(entry.file_size for entry in entries)
  if bounded_files.is_packed_too_well(
    size, sum(x.compress_size for x in entries)
  ):
    raise UnusableError(
      f'would become {size >> 20:,} MB, more than'
      f' {bounded_files.MAX_PACKING} times its size: save it without'
      ' compression'
    )
  tensors = {}
  for name in archive.namelist():
    data = io.BytesIO(archive.read(name))
    shape, dtype = npz.read_header(data)
    if dtype.hasobject:
      raise UnusableError(
        f'holds Python objects in {name!r}: save arrays of numbers'
      )
    # Before anything of that size is reserved.
    if math.prod(shape) * dtype.itemsize > len(data.getbuffer()):
      raise UnusableError('is cut off: fetch it again')
    data.seek(0)
    array = np.lib.format.read_array(data, allow_pickle=False)
    tensors[name.removesuffix('.npy')] = array
  return tensors
