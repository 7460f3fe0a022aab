"""Has the C library keep the memory that XLA frees and soon wants again.

XLA asks for the temporary arrays of a program anew at every call.  The GNU C
library takes large ones from the system and gives them back at once, so that
the kernel clears every page of them again and again: on CPUs a fifth of a
training step.
"""

import ctypes
import sys

# Of malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST = 2**31 - 1  # The arguments are ints.


def keep_freed_memory() -> bool:
  """Keep freed arrays of up to 2 GiB for the next ones; return whether.

  For this process, as early as possible.  Only the GNU C library knows how:
  elsewhere nothing happens.
  """
  if not sys.platform.startswith('linux'):
    return False
  try:
    mallopt = ctypes.CDLL(None).mallopt
  except (OSError, AttributeError):  # Another C library.
    return False
  options = _M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD
  return all(mallopt(option, _LARGEST) for option in options)
