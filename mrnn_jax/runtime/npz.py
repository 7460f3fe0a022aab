"""``.npz`` files, written whole and with the same bytes for the same arrays."""

import os
import pathlib
from typing import BinaryIO
import zipfile

import numpy as np

# The earliest date that a zip file can have.
_DATE = (1980, 1, 1, 0, 0, 0)


def write(path: pathlib.Path, **arrays: np.ndarray):
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
          np.lib.format.write_array(file, array, allow_pickle=False)
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


def read_header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
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
