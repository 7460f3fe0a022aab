"""Write ``.npz`` files whole, and with the same bytes for the same arrays."""

import os
import pathlib
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
