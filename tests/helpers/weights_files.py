"""Weights files of every kind, as PyTorch and others write them."""

import collections
import contextlib
import io
import json
import pickle
import struct
import sys
import types
from unittest import mock
import zipfile

import numpy as np

from mrnn_jax.encoders.weights import torch_pickles

VALUES = np.arange(24, dtype=np.float32)
MAGIC = 0x1950A86A20F9469CFC6C


class Storage:
  def __init__(self, key, values, kind='FloatStorage'):
    self.key, self.values, self.kind = key, values, kind


class Tensor:
  """What PyTorch's own tensor does when it is pickled."""

  def __init__(self, storage, offset, shape, strides):
    self.view = (storage, offset, shape, strides)

  def __reduce__(self):
    torch = sys.modules['torch._utils']
    hooks = collections.OrderedDict()
    return torch._rebuild_tensor_v2, (*self.view, False, hooks)


class Call:
  """Pickled as a call of any function."""

  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


class Pickler(pickle.Pickler):
  def persistent_id(self, value):
    if not isinstance(value, Storage):
      return None
    kind = getattr(sys.modules['torch'], value.kind)
    return ('storage', kind, value.key, 'cpu', len(value.values))


def dump(value, protocol=2):
  file = io.BytesIO()
  Pickler(file, protocol).dump(value)
  return file.getvalue()


@contextlib.contextmanager
def torch_modules():
  """Empty modules with PyTorch's names, so that pickles can name them."""
  names = {
    'torch': [
      'Size',
      *(k.removeprefix('torch.') for k in torch_pickles.STORAGES),
    ],
    'torch._utils': ['_rebuild_tensor_v2', '_rebuild_parameter'],
    'torch.nn.parameter': ['Parameter'],
  }
  with mock.patch.dict(sys.modules):
    for module_name, members in names.items():
      module = types.ModuleType(module_name)
      for member in members:
        setattr(module, member, type(member, (), {'__module__': module_name}))
      sys.modules[module_name] = module
    yield


def state():
  """Return a state and the storages that it lies in."""
  a = Storage('94', VALUES)
  ids = Storage('95', np.arange(3), 'LongStorage')
  tensors = {
    'whole': Tensor(a, 0, (4, 6), (6, 1)),
    'turned': Tensor(a, 0, (6, 4), (1, 6)),
    'part': Tensor(a, 6, (2, 3), (6, 2)),
    'empty': Tensor(a, 24, (0, 3), (3, 1)),
    'scalar': Tensor(a, 5, (), ()),
    'ids': Tensor(ids, 0, (3,), (1,)),
  }
  return collections.OrderedDict(tensors), [a, ids]


def expected():
  whole = VALUES.reshape(4, 6)
  return {
    'whole': whole,
    'turned': whole.T,
    'part': whole[1:3, ::2],
    'empty': np.zeros((0, 3), np.float32),
    'scalar': np.float32(5),
    'ids': np.arange(3),
  }


def legacy(value, storages, protocol=2, little_endian=True):
  head = [MAGIC, 1001, {'little_endian': little_endian}, value]
  data = b''.join(dump(x, protocol) for x in head)
  data += dump([storage.key for storage in storages], protocol)
  for storage in storages:
    data += struct.pack('<q', len(storage.values)) + storage.values.tobytes()
  return data


def zipped(value, storages, protocol=2, byte_order='little'):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('name/data.pkl', dump(value, protocol))
    archive.writestr('name/byteorder', byte_order)
    for storage in storages:
      values = storage.values
      if byte_order == 'big':
        values = values.byteswap()
      archive.writestr(f'name/data/{storage.key}', values.tobytes())
  return file.getvalue()


def safetensors(tensors):
  header, data = {'__metadata__': {'format': 'pt'}}, b''
  for name, (kind, values) in tensors.items():
    end = len(data) + values.nbytes
    header[name] = {
      'dtype': kind,
      'shape': list(values.shape),
      'data_offsets': [len(data), end],
    }
    data += values.tobytes()
  text = json.dumps(header).encode()
  return struct.pack('<Q', len(text)) + text + data


def npz(**arrays):
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()
