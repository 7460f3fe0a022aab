"""Features that do not fit into memory, in a file of this process alone.

A split is read once; its features go to a file without a name, which the system
removes with the process, and rows of that are read as they are needed.  Records
of a dataset by themselves would be unpacked for each caption again.
"""

import mmap
import os
import tempfile
import weakref

import numpy as np

from mrnn_jax.runtime import files

# Of the memory of the machine so much may be taken for what files hold.
_CACHED_SHARE = 0.5


class FeatureSpool:
  """An array [N, D] on disk that is written and read by rows.

  Several threads may read at the same time.
  """

  def __init__(self, num_rows: int, size: int, dtype: np.dtype):
    """Reserve the place.

    Args:
      num_rows: N, at least one.
      size: D.
      dtype: of the features.

    Raises:
      OSError: there is not enough of it in the user's cache folder.
    """
    folder = files.user_cache()
    folder.mkdir(parents=True, exist_ok=True)
    dtype = np.dtype(dtype)
    self._row_bytes = size * dtype.itemsize
    num_bytes = num_rows * self._row_bytes
    with tempfile.TemporaryFile(dir=folder) as file:
      self._file = os.dup(file.fileno())
    weakref.finalize(self, os.close, self._file)
    if hasattr(os, 'posix_fallocate'):
      os.posix_fallocate(self._file, 0, num_bytes)
    else:  # On macOS; there a full disk shows later.
      os.ftruncate(self._file, num_bytes)
    mapped = mmap.mmap(self._file, num_bytes, prot=mmap.PROT_READ)
    self._rows = np.frombuffer(mapped, dtype).reshape(num_rows, size)
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    # Else the system keeps it in memory, once it has been written.
    self._is_large = num_bytes > _CACHED_SHARE * memory
    if self._is_large and hasattr(mmap, 'MADV_RANDOM'):
      mapped.madvise(mmap.MADV_RANDOM)

  def __len__(self) -> int:
    return len(self._rows)

  def __setitem__(self, index: int, feature: np.ndarray) -> None:
    row = np.ascontiguousarray(feature, self._rows.dtype)
    os.pwrite(self._file, row.tobytes(), index * self._row_bytes)

  def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
    """Return rows: [...] --> [..., D]."""
    if isinstance(indices, slice):
      indices = np.arange(len(self))[indices]
    if self._is_large and hasattr(os, 'posix_fadvise'):
      # The disk fetches all at once, and not one after another.
      for row in np.ravel(indices).tolist():
        os.posix_fadvise(
          self._file,
          row * self._row_bytes,
          self._row_bytes,
          os.POSIX_FADV_WILLNEED,
        )
    return self._rows[indices]
