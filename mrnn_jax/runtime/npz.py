"""``.npz`` files: written whole, with the same bytes for the same arrays; read
without Python objects, and only as far as they are what they claim.
"""

from collections.abc import Iterable
import dataclasses
import math
import os
import pathlib
from typing import IO, BinaryIO
import zipfile

import numpy as np

from mrnn_jax.runtime import bounded_files

# The earliest date that a zip file can have.
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class Pieces:
  """An array that is written as it comes, and is never there as a whole.

  Attributes:
    shape: of the array.
    dtype: of it.
    rows: its rows, in pieces [n, ...].
  """

  shape: tuple[int, ...]
  dtype: np.dtype
  rows: Iterable[np.ndarray]

  def write(self, file: IO[bytes]) -> None:
    """Write it as a ``.npy``, with the bytes of ``np.save``."""
    np.lib.format.write_array_header_1_0(
      file,
      {
        'descr': np.lib.format.dtype_to_descr(self.dtype),
        'fortran_order': False,
        'shape': self.shape,
      },
    )
    for piece in self.rows:
      file.write(np.ascontiguousarray(piece, self.dtype).tobytes())


def write(path: pathlib.Path, **arrays: np.ndarray | Pieces):
  """Write arrays so that the file is there whole or not at all.

  Args:
    path: the file; its folder has to be there.
    **arrays: name -> array, without Python objects.
  """
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    with zipfile.ZipFile(temporary, 'w') as archive:
      for name, array in arrays.items():
        info = zipfile.ZipInfo(f'{name}.npy', _DATE)
        with archive.open(info, 'w', force_zip64=True) as file:
          if isinstance(array, Pieces):
            array.write(file)
          else:
            np.lib.format.write_array(file, array, allow_pickle=False)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


class UnusableError(ValueError):
  """Why a file is not read: 'is cut off', without its subject."""


class Reader:
  """The arrays of a ``.npz``, one by one.

  Attributes:
    names: of the arrays.
  """

  def __init__(self, file: BinaryIO, small: int | None = None) -> None:
    """Read the directory of an archive.

    Args:
      file: the archive, which can be sought in.
      small: so many bytes may be packed however well; None: a gigabyte.

    Raises:
      UnusableError: unpacked it would be far larger than it is.
      zipfile.BadZipFile: it is no archive; others are as possible.
    """
    self._archive = zipfile.ZipFile(file)
    entries = self._archive.infolist()
    size = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    # Several entries may claim the same bytes.
    packed = min(packed, file.seek(0, os.SEEK_END))
    if bounded_files.is_packed_too_well(size, packed, small):
      raise UnusableError(
        f'would become {size >> 20:,} MB, more than'
        f' {bounded_files.MAX_PACKING} times its size: save it without'
        ' compression'
      )
    self.names = [
      name.removesuffix('.npy') for name in self._archive.namelist()
    ]

  def header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and dtype of an array, which is not read.

    Raises:
      KeyError: there is no such array.
      UnusableError: it holds Python objects, which only pickle could read.
    """
    with self._archive.open(f'{name}.npy') as file:
      return self._header(name, file)

  def read(self, name: str) -> np.ndarray:
    """Return an array.

    Raises:
      KeyError: there is none of that name.
      UnusableError: it holds Python objects, or other than its header says.
    """
    entry = self._archive.getinfo(f'{name}.npy')
    shape, dtype = self.header(name)
    # Before anything of that size is reserved.
    if math.prod(shape) * dtype.itemsize > entry.file_size:
      raise UnusableError('is cut off: fetch it again')
    with self._archive.open(entry) as file:
      array = np.lib.format.read_array(file, allow_pickle=False)
      # Only at the end is the checksum looked at.
      if file.read(1):
        raise UnusableError(
          f'holds more in {name!r} than it says: save it again'
        )
    return array

  def _header(
    self, name: str, file: IO[bytes]
  ) -> tuple[tuple[int, ...], np.dtype]:
    shape, dtype = read_header(file)
    if dtype.hasobject:
      raise UnusableError(
        f'holds Python objects in {name!r}: save arrays of numbers'
      )
    return shape, dtype


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
  """Return shape and dtype of a ``.npy``, and leave the file behind its header.

  NumPy has a parser of its own for them, which raises nearly anything.
  """
  version = np.lib.format.read_magic(file)
  read = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
  }[version]
  shape, _, dtype = read(file)
  return shape, dtype
