"""PyTorch's ``.pth``: a pickle of tensors, and their values beside it."""

from collections.abc import Mapping
import math
from typing import Any, BinaryIO, Literal
import zipfile

import numpy as np

from mrnn_jax.encoders.weights import torch_pickles
from mrnn_jax.encoders.weights.arrays import UnusableError, from_bytes

_MAX_PICKLE = 1 << 26
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_CUT_OFF = 'is cut off: fetch it again'


def read_zip(archive: zipfile.ZipFile, size: int) -> dict[str, np.ndarray]:
  """Read the form of PyTorch 1.6 and later.

  Args:
    archive: ``NAME/data.pkl`` beside ``NAME/data/KEY`` for each storage.
    size: of the file, in bytes.

  Raises:
    UnusableError: it is no such archive, or asks for more than tensors.
  """
  entries = {info.filename: info for info in archive.infolist()}
  found = [name for name in entries if name.endswith('/data.pkl')]
  if len(found) != 1:
    raise UnusableError('is an archive without weights of PyTorch')
  # PyTorch does not compress, so no entry can be larger than the file.
  if sum(info.file_size for info in entries.values()) > size:
    raise UnusableError('is compressed, as PyTorch saves no weights: refused')
  if entries[found[0]].file_size > _MAX_PICKLE:
    raise UnusableError('describes more than any network has')
  root = found[0].removesuffix('data.pkl')
  order = b'little'
  if f'{root}byteorder' in entries:
    order = archive.read(f'{root}byteorder').strip()
  state = _state(torch_pickles.read(archive.read(found[0]))[0])
  storages = {}
  for storage in {tensor.storage for tensor in state.values()}:
    name = f'{root}data/{storage.key}'
    if name not in entries:
      raise UnusableError(f'lacks its part {name!r}: fetch it again')
    storages[storage] = _values(
      archive.read(name), storage, '>' if order == b'big' else '<'
    )
  return _views(state, storages)


def read_legacy(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
  """Read the form before PyTorch 1.6, which can still be written.

  Args:
    file: at its beginning: magic number, protocol, facts about the machine,
      the object, the keys of its storages (five pickles), their values.
    size: of the file, in bytes.

  Raises:
    UnusableError: it is no such file, or asks for more than tensors.
  """
  head = file.read(_MAX_PICKLE)
  magic, end = torch_pickles.read(head)
  if magic != _MAGIC:
    raise UnusableError('is a pickle, but not one of weights by PyTorch')
  protocol, end = torch_pickles.read(head, end)
  if protocol != _PROTOCOL:
    raise UnusableError('is of an unknown version of PyTorch')
  machine, end = torch_pickles.read(head, end)
  if machine.get('little_endian') is not True:
    raise UnusableError('comes from a machine of another byte order')
  known: dict[str, torch_pickles.Storage] = {}
  tree, end = torch_pickles.read(head, end, known)
  state = _state(tree)
  keys, position = torch_pickles.read(head, end)
  needed = {tensor.storage for tensor in state.values()}
  storages = {}
  # One behind another, also those that no weight needs.
  for key in keys:
    file.seek(position)
    count = int.from_bytes(file.read(8), 'little')
    storage = known.get(key)
    if position + 8 > size:
      raise UnusableError(_CUT_OFF)
    if storage is None or storage.size != count:
      raise UnusableError('contradicts itself about its values: fetch it again')
    num_bytes = count * np.dtype(torch_pickles.STORAGES[storage.kind]).itemsize
    position += 8 + num_bytes
    if position > size:
      raise UnusableError(_CUT_OFF)
    if storage in needed:
      storages[storage] = _values(file.read(num_bytes), storage, '<')
  return _views(state, storages)


def _state(tree: Any) -> dict[str, torch_pickles.Tensor]:
  """Return the weights of what was saved: a state, or a dictionary around it.

  Raises:
    UnusableError: there are none.
  """
  if not isinstance(tree, dict):
    raise UnusableError('holds no dictionary of weights')
  for inner in (tree, tree.get('state_dict'), tree.get('model')):
    if not isinstance(inner, dict):
      continue
    tensors = {
      # As networks that were trained on several GPUs are saved.
      str(name).removeprefix('module.'): value
      for name, value in inner.items()
      if isinstance(value, torch_pickles.Tensor)
    }
    if tensors:
      return tensors
  raise UnusableError('holds no dictionary of weights')


def _values(
  data: bytes, storage: torch_pickles.Storage, byte_order: Literal['<', '>']
) -> np.ndarray:
  """Return the values of a storage."""
  values = from_bytes(
    data,
    torch_pickles.STORAGES[storage.kind],
    storage.kind == 'torch.BFloat16Storage',
    byte_order,
  )
  if values.size != storage.size:
    raise UnusableError(_CUT_OFF)
  return values


def _views(
  state: Mapping[str, torch_pickles.Tensor],
  storages: Mapping[torch_pickles.Storage, np.ndarray],
) -> dict[str, np.ndarray]:
  """Return the tensors as arrays; those of one storage share its memory."""
  result = {}
  for name, tensor in state.items():
    values = storages.get(tensor.storage)
    if values is None:
      raise UnusableError('lacks some of its values: fetch it again')
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((size - 1) * step for size, step in steps)
    count = math.prod(tensor.shape)
    # A view of more elements than there are is how a small file fills memory.
    if count and (last >= values.size or count > values.size):
      raise UnusableError(f'contradicts itself about {name!r}: fetch it again')
    result[name] = np.lib.stride_tricks.as_strided(
      values[tensor.offset :],
      tensor.shape,
      [step * values.itemsize for step in tensor.strides],
      writeable=False,
    )
  return result
