"""TF-mRNN's lists of dictionaries, and pickles that want more."""

import os
import pathlib
import pickle
import struct

from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from data_prep.readers import mrnn, object_arrays, raw_files
from mrnn_jax.runtime import errors

IMAGES = [
  {
    'file_name': 'a.jpg',
    'file_path': 'train2014',
    'id': 7,
    'sentences': [['a', 'dog'], ['two', 'caf\xe9s', '.']],
  },
  {'file_name': 'b.jpg', 'id': np.int64(8), 'sentences': ('a cat',)},
  {'file_name': 'c.jpg', 'sentences': [np.array(['a', 'bird'])]},
]
CAPTIONS = {
  'a.jpg': ['a dog', 'two caf\xe9s .'],
  'b.jpg': ['a cat'],
  'c.jpg': ['a bird'],
}


def save(path, images, protocol=3):
  array = np.empty(len(images), object)
  array[:] = images
  raw_save(path, pickle.dumps(array, protocol))
  return path


def raw_save(path, content, shape=(1,)):
  header = {'descr': '|O', 'fortran_order': False, 'shape': shape}
  with path.open('wb') as file:
    np.lib.format.write_array_header_1_0(file, header)
    file.write(content)
  return path


def read(*paths):
  return mrnn.read(raw_files.RawFiles(captions=','.join(str(p) for p in paths)))


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(tmp_path, protocol):
  found = read(save(tmp_path / 'x_train.npy', IMAGES, protocol))
  assert found.captions == CAPTIONS


def test_what_numpy_saves(tmp_path):
  for name, value in (
    ('list', np.array(IMAGES, object)),
    ('object', np.array({'images': IMAGES}, object)),
  ):
    np.save(tmp_path / f'{name}.npy', value, allow_pickle=True)
  assert (
    object_arrays.load(epath.Path(tmp_path / 'object.npy'))['images'][0]
    == IMAGES[0]
  )
  assert read(tmp_path / 'list.npy').captions == CAPTIONS


def python_2(words):
  """Return what Python 2 and its NumPy write, in protocol 2."""

  def text(value):
    return b'U' + bytes([len(value)]) + value

  sentence = b'](' + b''.join(text(word) for word in words) + b'e'
  image = (
    b'}('
    + text(b'file_name')
    + text(b'a.jpg')
    + text(b'sentences')
    + (b'](' + sentence + b'e')
    + b'u'
  )
  return (
    b'\x80\x02cnumpy.core.multiarray\n_reconstruct\n'
    b'cnumpy\nndarray\nK\x00\x85U\x01b\x87R('
    b'K\x01K\x01\x85cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R'
    b'(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb'
    b'\x89](' + image + b'etb.'
  )


def test_python_2_in_utf8_and_latin1(tmp_path):
  content = python_2(['caf\xe9'.encode(), b'caf\xe9', b'x'])
  raw_save(tmp_path / 'x_train.npy', content)
  found = mrnn.read(
    raw_files.RawFiles(
      captions=str(tmp_path / 'x_train.npy'), validation_share=0, test_share=0
    )
  )
  assert found.captions == {'a.jpg': ['caf\xe9 caf\xe9 x']}


def test_names_of_files_tell_the_split(tmp_path):
  for name, number in (('train', 0), ('modelVal', 1), ('crVal', 2)):
    save(tmp_path / f'anno_list_mscoco_{name}_m_RNN.npy', [IMAGES[number]])
  save(tmp_path / 'anno_list_mscoco_trainModelVal_m_RNN.npy', IMAGES[:2])
  save(tmp_path / 'anno_list_mscoco_test2014.npy', [{'file_name': 'z.jpg'}])
  found = mrnn.read(raw_files.RawFiles(str(tmp_path)))
  assert found.splits == {
    'train': ['a.jpg'],
    'validation': ['b.jpg'],
    'test': ['c.jpg'],
  }
  assert [str(x) for x in found.oddities] == [
    'images without captions (left out): 1 (z.jpg)'
  ]


class Hostile:
  def __init__(self, function, *args):
    self.call = function, args

  def __reduce__(self):
    return self.call


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
  ('function', 'name'),
  [(os.mkdir, r'\w+\.mkdir'), (eval, r'builtins\.eval|__builtin__\.eval')],
)
def test_hostile_files_are_refused_by_name_and_run_nothing(
  tmp_path, monkeypatch, protocol, function, name
):
  monkeypatch.chdir(tmp_path)
  argument = 'owned' if function is os.mkdir else "__import__('os').mkdir('x')"
  image = {**IMAGES[0], 'url': Hostile(function, argument)}
  path = save(tmp_path / 'x.npy', [image], protocol)
  with pytest.raises(errors.InputError, match=f'asks for ({name}), as'):
    read(path)
  assert [p.name for p in tmp_path.iterdir()] == ['x.npy']


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    # A memo entry for which the quick unpickler would take 64 GB.
    (b'\x80\x04Nr\xff\xff\xff\x7f.', r'memo entry 2,147,483,647'),
    (b'Np99999999999\n.', 'memo entry 99,999,999,999'),
    (b'\x80\x05\x96' + struct.pack('<Q', 1 << 40) + b'.', 'ends too early'),
    (b'\x80\x04]', 'is broken'),
    (b'\x80\x04\xff.', 'unknown step 0xff'),
    (pickle.dumps([1, 2]), 'image 0, is no dictionary'),
    (pickle.dumps(3), 'no list of dictionaries'),
    (pickle.dumps([{'file_name': 'a', 'sentences': 3}]), 'are no list'),
    (pickle.dumps([{'file_name': 'a', 'sentences': [[3]]}]), 'a word that is'),
    (pickle.dumps([{'file_name': 'a', 'sentences': [3]}]), 'that is no text'),
    (pickle.dumps([{'file_name': 3.5, 'sentences': ['a']}]), 'no name of an'),
    (pickle.dumps(np.ones(2, 'i4,f4')), 'is broken'),
  ],
)
def test_broken_files_get_one_sentence(tmp_path, content, message):
  raw_save(tmp_path / 'x.npy', content)
  with pytest.raises(errors.InputError, match=message) as caught:
    read(tmp_path / 'x.npy')
  assert '\n' not in str(caught.value)


def test_no_npy_and_numbers(tmp_path):
  (tmp_path / 'x.npy').write_bytes(b'hello, world')
  with pytest.raises(errors.InputError, match=r'is no \.npy file'):
    read(tmp_path / 'x.npy')
  np.save(tmp_path / 'x.npy', np.ones(3))
  with pytest.raises(errors.InputError, match='numbers .float64.*--features'):
    read(tmp_path / 'x.npy')


GOOD = pickle.dumps(np.array(IMAGES, object), 2)


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(GOOD)), st.binary(max_size=6), st.integers(0, 6))
def test_any_bytes_give_captions_or_one_sentence(
  tmp_path_factory, start, noise, skip
):
  content = bytearray(GOOD)
  content[start : start + skip] = noise
  path = pathlib.Path(tmp_path_factory.mktemp('any')) / 'x_train.npy'
  raw_save(path, content)
  try:
    found = read(path)
  except errors.InputError as error:
    assert '\n' not in str(error)
  else:
    assert found.captions
