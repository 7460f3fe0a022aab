"""Files made to fill memory, to take for ever or to leave their place."""

import dataclasses
import io
import json
import os
import struct
import tracemalloc
import zipfile

import fuzz_kinds
import h5py
import numpy as np
import pytest
import scipy.io

from data_prep.readers import READERS, object_arrays, raw_files
from mrnn_jax.data import feature_files
from mrnn_jax.encoders import photos, weights
from mrnn_jax.runtime import bounded_files, errors, json_files, picture_files


def read(reader, path):
  return READERS[reader](raw_files.RawFiles(captions=str(path)))


def refused(function, *args):
  """Return the one sentence of a refusal."""
  with pytest.raises(errors.InputError) as raised:
    function(*args)
  message = str(raised.value)
  assert '\n' not in message and len(message) < 500
  return message


@pytest.fixture
def tiny_limits(monkeypatch):
  """Limits that small files reach."""
  monkeypatch.setattr(bounded_files, '_SMALL_BYTES', 1000)
  table = dataclasses.replace(object_arrays.TABLE, max_steps=1000)
  monkeypatch.setattr(object_arrays, 'TABLE', table)


@pytest.mark.parametrize(
  ('bomb', 'message'),
  [
    ('[' * 200_000, 'nested too deeply'),
    ('{"a":' * 200_000, 'nested too deeply'),
    ('{"image_id": ' + '9' * 5000 + '}', 'cannot be read'),
    ('{"image_id": 1e999, "captions": ["a"]}', 'no name of an image'),
    ('{"image_id": "a", "captions": [' + '"",' * 300_000 + '""]}', '300,000 v'),
  ],
)
def test_json_bombs(tmp_path, monkeypatch, bomb, message):
  monkeypatch.setattr(json_files, 'MAX_VALUES', 300_000)
  path = tmp_path / 'x.jsonl'
  path.write_text(bomb)
  assert message in refused(read, 'jsonl', path)
  whole = tmp_path / 'x.json'
  whole.write_text('{"images": [' + bomb + '], "annotations": []}')
  for reader in ('coco', 'karpathy'):
    refused(read, reader, whole)


@pytest.mark.parametrize(
  'megabytes', [11, pytest.param(100, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize('reader', ['csv', 'jsonl', 'token', 'coco', 'list'])
def test_lines_of_many_megabytes(tmp_path, reader, megabytes):
  path = tmp_path / 'x'
  with path.open('wb') as file:
    if reader == 'csv':
      file.write(b'image,caption\n')
    file.write(b'a.jpg#0\t' if reader == 'token' else b'a.jpg')
    file.truncate(megabytes * 2**20)
  if reader == 'list':
    message = refused(bounded_files.read_list, path)
  else:
    message = refused(read, reader, path)
  assert str(path) in message
  if reader in ('csv', 'jsonl'):
    assert 'longer than 10 MB' in message
  if reader == 'token':
    assert 'at most 10,000 will do' in message


def test_a_list_of_photos_is_no_film(tmp_path, monkeypatch):
  monkeypatch.setattr(photos, '_MAX_LIST_BYTES', 1000)
  monkeypatch.setattr(picture_files, 'MAX_BYTES', 1000)
  for name in ('list.txt', 'photo.jpg'):
    (tmp_path / name).write_bytes(b'x' * 1001)
  message = refused(photos.find_all, str(tmp_path / 'list.txt'))
  assert 'is larger than' in message
  with pytest.raises(photos.PhotoError, match='more than'):
    photos.read(str(tmp_path / 'photo.jpg'), 8, 'squash')


def test_openings_without_an_end(tmp_path):
  """Each could be searched to the end of the file for what closes it."""
  data = b'<DESCRIPTION>' * 200_000
  path = tmp_path / 'input.eng'
  path.write_bytes(data)
  assert 'ends without' in refused(
    fuzz_kinds.KINDS['captions iaprtc12'].read, path
  )
  path.write_bytes(b'<DESCRIPTION>&#' + b'9' * 5000 + b';</DESCRIPTION>')
  assert 'cannot be read' in refused(
    fuzz_kinds.KINDS['captions iaprtc12'].read, path
  )


def write_program(path, steps):
  """Write a ``.npy`` of objects whose pickle consists of these steps."""
  head = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    head, {'descr': '|O', 'fortran_order': False, 'shape': (1,)}
  )
  path.write_bytes(head.getvalue() + steps)


def test_pickles_of_many_steps(tmp_path, tiny_limits):
  path = tmp_path / 'x.npy'
  write_program(path, b']' * 1000 + b'.')
  assert 'more than 1,000 steps' in refused(read, 'mrnn', path)


# What stands for NumPy's arrays copies lists and texts, too.
_LIST = b'](' + b'K\x01' * 20_000 + b'eq\x00'
_TEXT = b'X' + struct.pack('<I', 20_000) + b'x' * 20_000 + b'q\x00'
_BYTES = b'B' + struct.pack('<I', 20_000) + b'x' * 20_000 + b'q\x00'
_OBJECTS = b'cnumpy\ndtype\nX\x01\0\0\0O\x85Rq\x01'
_LETTERS = b'cnumpy\ndtype\nX\x06\0\0\0S20000\x85Rq\x01'
_EMPTY = b'cnumpy.core.multiarray\n_reconstruct\n)R'


@pytest.mark.parametrize(
  ('begin', 'step'),
  [
    (_LIST, b'cbuiltins\nlist\nh\x00\x85R'),
    (_TEXT, b'c_codecs\nencode\nh\x00\x85R'),
    (_BYTES + _LETTERS, b'cnumpy.core.multiarray\nscalar\nh\x01h\x00\x86R'),
    (_LIST + _OBJECTS, _EMPTY + b'(M\x20\x4e\x85h\x01\x89h\x00tb'),
  ],
)
def test_pickles_that_copy_what_they_hold(tmp_path, begin, step):
  """Lists of 20,000 numbers, a thousand times: 160 MB of 60 KB."""
  path = tmp_path / 'x.npy'
  write_program(path, b'\x80\x02' + begin + b'](' + step + b'e.')
  assert 'is no dictionary with' in refused(read, 'mrnn', path)
  write_program(path, b'\x80\x02' + begin + b'](' + step * 1000 + b'e.')
  tracemalloc.start()
  try:
    assert 'far more than it has bytes' in refused(read, 'mrnn', path)
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
  finally:
    tracemalloc.stop()


def test_archives_that_unpack_to_much_more(tmp_path, tiny_limits):
  path = tmp_path / 'x.npz'
  zeros = np.zeros((10, 100_000), np.float32)
  np.savez_compressed(path, ids=np.arange(10), features=zeros)
  assert 'more than 100 times' in refused(feature_files.load, path)
  assert 'more than 100 times' in refused(weights.load, path)
  # What is stored as it is may be as large as it likes.
  np.savez(path, ids=np.arange(10), features=zeros)
  assert len(feature_files.load(path)) == 10
  path = tmp_path / 'x.mat'
  scipy.io.savemat(path, {'feats': zeros.T}, do_compression=True)
  path.with_suffix('.txt').write_text('\n'.join('abcdefghij'))
  assert 'more than 100 times' in refused(feature_files.load, path)


def test_hdf5_of_room_that_was_never_written(tmp_path):
  path = tmp_path / 'x.h5'
  for names in (['features'], ['a.jpg', 'b.jpg']):
    with h5py.File(path, 'w') as file:
      for name in names:
        shape = (10**6, 10**4) if name == 'features' else (10**10,)
        file.create_dataset(name, shape, np.float32, chunks=True)
      file['ids'] = [b'a'] if names == ['features'] else np.zeros(1)
      if names != ['features']:
        del file['ids']
    assert 'more than 100 times' in refused(feature_files.load, path)


def test_a_header_beyond_any_network(tmp_path):
  path = tmp_path / 'x.safetensors'
  with path.open('wb') as file:
    file.write((17_000_000).to_bytes(8, 'little') + b'{')
    file.truncate(17_000_008)
  assert 'header of 17,000,000 bytes' in refused(weights.load, path)


def test_many_names_for_the_same_values(tmp_path):
  path = tmp_path / 'x.safetensors'
  entry = {'dtype': 'U8', 'shape': [1000], 'data_offsets': [0, 1000]}
  header = json.dumps({str(i): entry for i in range(100)}).encode()
  size = len(header).to_bytes(8, 'little')
  path.write_bytes(size + header + bytes(1000))
  assert 'holds values twice' in refused(weights.load, path)


def test_entries_of_archives_stay_in_memory(tmp_path):
  inside = tmp_path / 'in' / 'side'
  inside.mkdir(parents=True)
  path = inside / 'x.npz'
  names = ('../../x.npy', '/../x.npy', 'a/../../b.npy')
  with zipfile.ZipFile(path, 'w') as archive:
    for name in ('ids.npy', 'features.npy', *names):
      value = np.arange(2) if name == 'ids.npy' else np.eye(2)
      with archive.open(name, 'w') as file:
        np.save(file, value)
  assert len(feature_files.load(path)) == 2
  assert len(weights.load(path).tensors) == 5
  assert [p for p in tmp_path.rglob('*') if p.is_file()] == [path]


@pytest.mark.parametrize('name', [b'a\nb.png', b'\xff.png', b'a\tb.png'])
def test_photos_whose_names_no_list_can_hold(tmp_path, name):
  with open(os.path.join(os.fsencode(tmp_path), name), 'wb'):
    pass
  message = refused(photos.find_all, str(tmp_path))
  assert 'is no name for a photo: rename it' in message
  message.encode('utf-8')


def test_a_list_of_photos_with_zeros(tmp_path):
  path = tmp_path / 'list.txt'
  path.write_bytes(b'a\0b.jpg\n')
  assert 'is no name for a photo' in refused(photos.find_all, str(path))


def test_hdf5_of_names_of_two_gigabytes(tmp_path):
  path = tmp_path / 'x.h5'
  with h5py.File(path, 'w') as file:
    file['features'] = np.eye(2, dtype=np.float32)
    file['ids'] = ['a', 'b']
    offset = file['ids'].id.get_offset()
  data = bytearray(path.read_bytes())
  data[offset : offset + 4] = (2**31).to_bytes(4, 'little')
  path.write_bytes(data)
  assert 'a name of 2,147,483,648 bytes' in refused(feature_files.load, path)


def test_numbers_that_are_no_characters(tmp_path):
  """NumPy makes texts of them that break whatever touches them."""
  words = np.array(['ab', 'cd'])
  words.view(np.uint32)[1] = 0x110000
  path = tmp_path / 'x.npy'
  image = {'file_name': 'a.jpg', 'sentences': [words]}
  np.save(path, np.array([image] * 3, object), allow_pickle=True)
  assert 'text that is none' in refused(read, 'mrnn', path)
  path = tmp_path / 'x.npz'
  np.savez(path, ids=words, features=np.eye(2))
  refused(feature_files.load, path)


def test_hdf5_of_texts_without_an_end(tmp_path):
  """The library would go round and round at a free place of no size."""
  path = tmp_path / 'x.h5'
  with h5py.File(path, 'w') as file:
    file['features'] = np.eye(2, dtype=np.float32)
    file['ids'] = ['a', 'b']
  assert len(feature_files.load(path)) == 2
  data = bytearray(path.read_bytes())
  heap = data.index(b'GCOL')
  # Collection, two texts, and what is free.
  free = heap + 16 + 2 * 24
  assert data[free : free + 2] == b'\0\0'
  data[free + 8 : free + 16] = bytes(8)
  path.write_bytes(data)
  assert 'texts without an end' in refused(feature_files.load, path)
