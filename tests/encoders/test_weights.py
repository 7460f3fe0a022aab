"""Weights files of every kind; hostile and broken ones are refused."""

import collections
import copyreg
import io
import json
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
from weights_files import (
  MAGIC,
  VALUES,
  Call,
  Storage,
  Tensor,
  dump,
  expected,
  legacy,
  npz,
  safetensors,
  state,
  torch_modules,
  zipped,
)

from mrnn_jax.encoders import weights
from mrnn_jax.runtime.errors import InputError


@pytest.fixture
def torch():
  with torch_modules():
    yield


def load(tmp_path, data, name='w.pth'):
  path = tmp_path / name
  path.write_bytes(data)
  return weights.load(path)


@pytest.mark.parametrize('write', [legacy, zipped])
@pytest.mark.parametrize('protocol', [2, 4])
def test_pth(tmp_path, torch, write, protocol):
  loaded = load(tmp_path, write(*state(), protocol))
  assert list(loaded.tensors) == list(expected())
  for name, values in expected().items():
    np.testing.assert_array_equal(loaded.tensors[name], values)
    assert loaded.tensors[name].dtype == values.dtype
  assert len(loaded.checksum) == 64
  assert np.shares_memory(loaded.tensors['whole'], loaded.tensors['part'])


@pytest.mark.parametrize('write', [legacy, zipped])
@pytest.mark.parametrize(
  ('kind', 'values', 'result'),
  [
    ('HalfStorage', np.float16([1.5, -2]), np.float16([1.5, -2])),
    # The upper halves of the float32 1.0 and -2.5.
    ('BFloat16Storage', np.uint16([0x3F80, 0xC020]), np.float32([1, -2.5])),
    ('DoubleStorage', np.float64([1 / 3]), np.float64([1 / 3])),
    ('BoolStorage', np.array([True, False]), np.array([True, False])),
    ('ByteStorage', np.uint8([255, 0]), np.uint8([255, 0])),
  ],
)
def test_dtypes(tmp_path, torch, write, kind, values, result):
  storage = Storage('0', values, kind)
  tensor = Tensor(storage, 0, (len(values),), (1,))
  loaded = load(tmp_path, write({'x': tensor}, [storage])).tensors['x']
  np.testing.assert_array_equal(loaded, result)
  assert loaded.dtype == result.dtype


@pytest.mark.parametrize('write', [legacy, zipped])
def test_checkpoints_with_more_than_weights(tmp_path, torch, write):
  tensors, storages = state()
  momentum = Storage('7', VALUES * 2)
  parallel = {f'module.{name}': tensor for name, tensor in tensors.items()}
  value = {
    'epoch': 3,
    'loss': 0.5,
    'optimizer': {'state': {0: {'m': Tensor(momentum, 0, (24,), (1,))}}},
    'state_dict': parallel,
  }
  loaded = load(tmp_path, write(value, [momentum, *storages])).tensors
  np.testing.assert_array_equal(loaded['part'], expected()['part'])
  assert 'optimizer' not in loaded


def test_parameters_of_old_and_new_versions(tmp_path, torch):
  storage = Storage('0', VALUES)
  tensor = Tensor(storage, 0, (24,), (1,))
  hooks = collections.OrderedDict()
  old = sys.modules['torch.nn.parameter'].Parameter
  # As PyTorch 0.1 did, whose files of AlexNet and VGG16 are still around.
  old.__reduce_ex__ = lambda self, protocol: (
    copyreg.__newobj__,
    (old, tensor),
    (True, False, hooks),
  )
  rebuild = sys.modules['torch._utils']._rebuild_parameter
  new = Call(rebuild, tensor, True, hooks)
  loaded = load(tmp_path, legacy({'old': old(), 'new': new}, [storage])).tensors
  np.testing.assert_array_equal(loaded['old'], VALUES)
  np.testing.assert_array_equal(loaded['new'], VALUES)


def test_byte_orders(tmp_path, torch):
  big = load(tmp_path, zipped(*state(), byte_order='big'))
  np.testing.assert_array_equal(big.tensors['whole'], expected()['whole'])
  assert big.tensors['whole'].dtype.isnative
  with pytest.raises(InputError, match='another byte order'):
    load(tmp_path, legacy(*state(), little_endian=False))


@pytest.mark.parametrize('write', [legacy, zipped])
@pytest.mark.parametrize('protocol', [2, 4])
@pytest.mark.parametrize(
  ('function', 'name'),
  [
    (os.system, f'{os.system.__module__}.system'),
    (eval, 'eval'),
    (getattr, 'getattr'),
    (pickle.loads, 'loads'),
  ],
)
def test_a_hostile_pickle_runs_nothing(
  tmp_path, torch, write, protocol, function, name
):
  marker = tmp_path / 'was_run'
  tensors, storages = state()
  tensors['bad'] = Call(function, f'touch {marker}')
  with pytest.raises(InputError, match=f'asks for .*{name}.* refused'):
    load(tmp_path, write(tensors, storages, protocol))
  assert not marker.exists()


@pytest.mark.parametrize(
  ('code', 'message'),
  [
    (b'cos\nsystem\n(S"id"\ntR.', 'asks for os.system'),
    (b'(S"id"\nios\nsystem\n.', 'asks for'),  # INST
    (b'(cos\nsystem\nS"id"\no.', 'asks for os.system'),  # OBJ
    (b'\x82\x01.', 'asks for EXT1'),
    (b'ccollections\nOrderedDict\n}b.', 'has none: refused'),  # BUILD a class
    (b'ctorch\nFloatStorage\n)R.', 'not to be called'),
    (b'ccollections\nOrderedDict.__class__\n.', 'asks for collections.'),
    (b'}(K\x01K\x01\x86K\x02u.', 'tuple as key'),
    (b'}' * 3 + b'.', 'no dictionary of weights'),
    (b'K\x01.', 'no dictionary of weights'),
    (b'0.', 'asks for POP'),
    (b'h\x05.', 'broken'),
    (b'(.', 'broken'),
    (b'X\xff\xff\xff\x7fshort.', 'broken'),
    (b'\x8d' + b'\xff' * 7 + b'\x00short.', 'broken'),
    (b'X\xff\xff\xff\x7f', 'broken'),
  ],
)
def test_other_steps_of_a_pickle_are_refused(tmp_path, torch, code, message):
  head = b''.join(dump(x) for x in (MAGIC, 1001, {'little_endian': True}))
  with pytest.raises(InputError, match=message):
    load(tmp_path, head + b'\x80\x02' + code)


@pytest.mark.parametrize(
  'view',
  [
    (0, (25,), (1,)),
    (20, (2, 3), (3, 1)),
    (-1, (2,), (1,)),
    (0, (2,), (-1,)),
    (0, (1000, 1000), (0, 0)),
    (0, (2, 2), (1,)),
    (0, (1 << 40,), (1 << 40,)),
    (0, (2.0,), (1,)),
  ],
)
@pytest.mark.parametrize('write', [legacy, zipped])
def test_views_beyond_their_values_are_refused(tmp_path, torch, write, view):
  storage = Storage('0', VALUES)
  with pytest.raises(InputError, match='contradicts itself|broken'):
    load(tmp_path, write({'x': Tensor(storage, *view)}, [storage]))


def test_a_compressed_pth_is_refused(tmp_path):
  file = io.BytesIO()
  with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
    archive.writestr('name/data.pkl', b'\0' * 10_000_000)
  with pytest.raises(InputError, match='compressed'):
    load(tmp_path, file.getvalue())


def test_safetensors(tmp_path):
  data = safetensors(
    {
      'a': ('F32', VALUES.reshape(4, 6)),
      'b': ('BF16', np.uint16([[0x3F80], [0xC020]])),
      'c': ('I64', np.arange(3)),
      'd': ('F16', np.zeros((0, 2), np.float16)),
      'e': ('F32', np.float32(7)),
    }
  )
  loaded = load(tmp_path, data, 'w.safetensors').tensors
  np.testing.assert_array_equal(loaded['a'], VALUES.reshape(4, 6))
  np.testing.assert_array_equal(loaded['b'], np.float32([[1], [-2.5]]))
  np.testing.assert_array_equal(loaded['c'], np.arange(3))
  assert loaded['d'].shape == (0, 2)
  assert loaded['e'] == 7 and loaded['e'].shape == ()


@pytest.mark.parametrize(
  ('entry', 'message'),
  [
    ({'dtype': 'F8_E4M3', 'shape': [4], 'data_offsets': [0, 4]}, 'F8_E4M3'),
    ({'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 4]}, 'contradicts'),
    ({'dtype': 'F32', 'shape': [-1], 'data_offsets': [4, 0]}, 'contradicts'),
    ({'dtype': 'F32', 'shape': [1], 'data_offsets': [-4, 0]}, 'contradicts'),
    ({'dtype': 'F32', 'shape': [9], 'data_offsets': [0, 36]}, 'cut off'),
    ({'dtype': 'F32'}, 'broken'),
  ],
)
def test_safetensors_that_contradict_themselves(tmp_path, entry, message):
  text = json.dumps({'x': entry}).encode()
  data = struct.pack('<Q', len(text)) + text + bytes(8)
  with pytest.raises(InputError, match=message):
    load(tmp_path, data)


def test_npz(tmp_path):
  data = npz(a=VALUES.reshape(4, 6), b=np.asfortranarray(np.eye(3)))
  loaded = load(tmp_path, data, 'w.npz').tensors
  np.testing.assert_array_equal(loaded['a'], VALUES.reshape(4, 6))
  np.testing.assert_array_equal(loaded['b'], np.eye(3))
  objects = npz(a=np.array([Call(os.getpid)], object))
  with pytest.raises(InputError, match='Python objects'):
    load(tmp_path, objects, 'w.npz')


def test_what_is_no_weights_file(tmp_path):
  for data, message in (
    (b'', 'is empty'),
    (b'hello, this is text', 'of no known kind'),
    (pickle.dumps({'a': 1}), 'not one of weights by PyTorch'),
  ):
    with pytest.raises(InputError, match=message):
      load(tmp_path, data)
  with pytest.raises(InputError, match='cannot be read'):
    weights.load(tmp_path / 'nowhere.pth')
  with pytest.raises(InputError, match='cannot be read'):
    weights.load(tmp_path)


def test_every_cut_is_noticed(tmp_path, torch):
  tensors, storages = state()
  files = [
    legacy(tensors, storages),
    zipped(tensors, storages),
    safetensors({'a': ('F32', VALUES), 'b': ('I64', np.arange(5))}),
    npz(a=VALUES),
  ]
  for data in files:
    for size in range(0, len(data), 5):
      with pytest.raises(InputError):
        load(tmp_path, data[:size])


def test_changed_bytes_give_weights_or_a_refusal(tmp_path, torch):
  tensors, storages = state()
  rng = np.random.default_rng(0)
  files = [
    legacy(tensors, storages),
    zipped(tensors, storages),
    safetensors({'a': ('F32', VALUES)}),
    npz(a=VALUES),
  ]
  refused = 0
  for data in files:
    for _ in range(100):
      changed = bytearray(data)
      changed[rng.integers(min(len(data), 700))] = rng.integers(256)
      try:
        load(tmp_path, bytes(changed))
      except InputError as error:
        refused += 1
        assert '\n' not in str(error)
  assert refused > 100


def test_an_installed_package_is_looked_into(tmp_path, monkeypatch):
  package = tmp_path / 'my_weights'
  (package / 'models').mkdir(parents=True)
  (package / '__init__.py').write_text('raise ImportError("was imported")')
  (package / 'models' / 'w.pth').write_bytes(npz(a=VALUES))
  info = tmp_path / 'my_weights-1.0.dist-info'
  info.mkdir()
  (info / 'METADATA').write_text('Name: my-weights\nVersion: 1.0\n')
  (info / 'RECORD').write_text(
    'my_weights/__init__.py,,\nmy_weights/models/w.pth,,\n'
  )
  monkeypatch.syspath_prepend(tmp_path)
  path = weights.installed('my-weights')
  assert path == str(package / 'models' / 'w.pth')
  np.testing.assert_array_equal(weights.load(path).tensors['a'], VALUES)
  assert weights.installed('no-such-package') is None
