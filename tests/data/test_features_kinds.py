"""Features from MATLAB, HDF5 and folders, and what is no such thing."""

import json
import os
import pathlib

import h5py
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import scipy.io

from mrnn_jax.data import feature_files
from mrnn_jax.runtime import errors

IDS = ['a.jpg', 'b.jpg', '00/25.jpg']
VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


def check(table, dtype=np.float32):
  assert table.dtype == dtype
  assert (len(table), table.dim) == (3, 4)
  for name, row in zip(('a', 'b.jpg', 'x/00/25'), VALUES, strict=True):
    np.testing.assert_array_equal(table.get(name), row)
    assert table.get(name).dtype == dtype


def write_ids(path, names=IDS):
  path.write_text('\n'.join(names))


@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_matlab(tmp_path, compress, dtype):
  path = tmp_path / 'vgg_feats.mat'
  feats = VALUES.T.astype(dtype)
  scipy.io.savemat(path, {'feats': feats, 'n': 3}, do_compression=compress)
  with pytest.raises(errors.InputError, match=r'tasks\.txt.*--feature_ids'):
    feature_files.load(path)
  write_ids(tmp_path / 'tasks.txt')
  table = feature_files.load(path)
  check(table)
  assert isinstance(table.features, np.memmap) == (not compress)
  write_ids(tmp_path / 'mine.lst')
  check(feature_files.load(path, str(tmp_path / 'mine.lst')))


def test_matlab_square_and_by_rows(tmp_path):
  path = tmp_path / 'f.mat'
  square = np.arange(9, dtype=np.float32).reshape(3, 3)
  scipy.io.savemat(path, {'feats': square})
  write_ids(tmp_path / 'f.txt')
  np.testing.assert_array_equal(feature_files.load(path).get('a'), square[:, 0])
  scipy.io.savemat(path, {'mine': VALUES})
  check(feature_files.load(path))


def test_matlab_takes_names_from_dataset_json_by_imgid(tmp_path):
  path = tmp_path / 'vgg_feats.mat'
  scipy.io.savemat(path, {'feats': VALUES.T})
  images = [{'filename': n, 'imgid': i} for i, n in enumerate(IDS)][::-1]
  write = (tmp_path / 'dataset.json').write_text
  write(json.dumps({'images': images}))
  check(feature_files.load(path))
  images[0]['imgid'] = 1
  write(json.dumps({'images': images}))
  with pytest.raises(errors.InputError, match='image 1, has "imgid" .1.'):
    feature_files.load(path)


@pytest.mark.parametrize('options', [{}, {'chunks': (2, 2), 'compression': 1}])
def test_matlab_7_3_is_hdf5(tmp_path, options):
  path = tmp_path / 'f.mat'
  # MATLAB writes [D, N] by columns, which HDF5 calls [N, D].
  with h5py.File(path, 'w', userblock_size=512) as file:
    file.create_dataset('feats', data=VALUES, **options)
  with path.open('r+b') as file:
    file.write(b'MATLAB 7.3 MAT-file')
  write_ids(tmp_path / 'f.txt')
  table = feature_files.load(path)
  check(table)
  assert isinstance(table.features, np.memmap) == (not options)


def test_matlab_without_features(tmp_path):
  path = tmp_path / 'f.mat'
  write_ids(tmp_path / 'f.txt')
  scipy.io.savemat(path, {'x': VALUES, 'y': VALUES})
  with pytest.raises(errors.InputError, match='holds x, y: save the features'):
    feature_files.load(path)
  path.write_bytes(b'MATLAB 5.0 MAT-file' + bytes(200))
  with pytest.raises(errors.InputError, match='is broken or not'):
    feature_files.load(path)


@pytest.mark.parametrize('names', [('features', 'ids'), ('feats', 'image_ids')])
@pytest.mark.parametrize('kind', ['text', 'bytes'])
def test_hdf5_with_ids(tmp_path, names, kind):
  path = tmp_path / 'f.h5'
  ids = np.array(IDS, 'S') if kind == 'bytes' else IDS
  with h5py.File(path, 'w') as file:
    file[names[0]], file[names[1]] = VALUES, ids
    file.attrs['encoder'], file.attrs['weights'] = 'vgg', '12ab'
  table = feature_files.load(path)
  check(table)
  assert isinstance(table.features, np.memmap)
  assert table.encoder == feature_files.Encoder('vgg', '12ab')
  with pytest.raises(errors.InputError, match='leave out --feature_ids'):
    feature_files.load(path, 'ids.txt')


def test_hdf5_with_a_list_beside_it(tmp_path):
  path = tmp_path / 'f.hdf5'
  with h5py.File(path, 'w') as file:
    file['features'] = VALUES.astype('>f2')
  write_ids(tmp_path / 'f.txt')
  check(feature_files.load(path), np.float16)


def test_hdf5_with_a_dataset_for_each_image(tmp_path):
  path = tmp_path / 'f.h5'
  with h5py.File(path, 'w') as file:
    for name, row in zip(IDS, VALUES, strict=True):
      file[name] = row[None] if name == 'b.jpg' else row
  check(feature_files.load(path))
  with h5py.File(path, 'a') as file:
    file['c'] = VALUES[0, :3]
  with pytest.raises(errors.InputError, match="3 numbers for 'c' and 4"):
    feature_files.load(path)
  with h5py.File(path, 'a') as file:
    file['0'] = VALUES
  with pytest.raises(errors.InputError, match=r"'0' is float32 of shape"):
    feature_files.load(path)


def test_hdf5_does_not_reach_into_other_files(tmp_path):
  other, path = tmp_path / 'other.h5', tmp_path / 'f.h5'
  with h5py.File(other, 'w') as file:
    file['features'] = VALUES
  with h5py.File(path, 'w') as file:
    file['features'] = h5py.ExternalLink(str(other), 'features')
  with pytest.raises(errors.InputError, match='holds no dataset'):
    feature_files.load(path)
  with h5py.File(path, 'w') as file:
    file.create_dataset('features', (3, 4), 'f4', external=str(other))
    file['ids'] = IDS
  with pytest.raises(errors.InputError, match='in other files'):
    feature_files.load(path)


def test_folder_of_npy(tmp_path, capsys):
  for name, row in zip(('a', 'b.jpg', '00/25'), VALUES, strict=True):
    path = tmp_path / f'{name}.npy'
    path.parent.mkdir(exist_ok=True)
    np.save(path, row[None] if name == 'a' else row)
  (tmp_path / '.hidden.npy').write_bytes(b'')
  check(feature_files.load(tmp_path))
  capsys.readouterr()
  np.save(tmp_path / 'c.npy', VALUES[0].astype(np.float16))
  with pytest.raises(errors.InputError, match=r'c\.npy holds 4 numbers of fl'):
    feature_files.load(tmp_path)
  np.save(tmp_path / 'c.npy', np.array([None]), allow_pickle=True)
  with pytest.raises(errors.InputError, match=r'c\.npy is no feature'):
    feature_files.load(tmp_path)
  np.save(tmp_path / 'c.npy', VALUES)
  with pytest.raises(errors.InputError, match=r'c\.npy has shape \(3, 4\)'):
    feature_files.load(tmp_path)


def test_folder_without_npy(tmp_path):
  with pytest.raises(errors.InputError, match=r'No \.npy lies in'):
    feature_files.load(tmp_path)


def test_what_float32_cannot_hold_is_infinite():
  table = feature_files.FeatureTable(['a'], np.array([[1e300]]), 'x')
  assert np.isinf(table.get('a')).all()


def test_a_damaged_file_that_begins_like_an_archive(tmp_path):
  path = tmp_path / 'f.npy'
  np.save(path, VALUES)
  path.write_bytes(b'PK\x03\x04' + path.read_bytes()[4:])
  write_ids(tmp_path / 'f.txt')
  # A file that stays open would be a warning.
  with pytest.raises(errors.InputError, match='f.npy is broken'):
    feature_files.load(path)
  (tmp_path / 'f.txt').unlink()
  with pytest.raises(errors.InputError, match='f.npy is no feature'):
    feature_files.load(tmp_path)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_bytes_give_a_table_or_one_sentence(tmp_path_factory, data):
  folder = tmp_path_factory.mktemp('any')
  kind = data.draw(st.sampled_from(['mat', 'h5', 'npy']))
  path = folder / f'f.{kind}'
  write_ids(folder / 'f.txt')
  if kind == 'mat':
    scipy.io.savemat(path, {'feats': VALUES.T})
  elif kind == 'npy':
    np.save(path, VALUES)
  else:
    with h5py.File(path, 'w') as file:
      file['features'] = VALUES
  content = bytearray(path.read_bytes())
  start = data.draw(st.integers(0, len(content)))
  content[start : start + 4] = data.draw(st.binary(max_size=8))
  path.write_bytes(content)
  try:
    table = feature_files.load(path)
  except errors.InputError as error:
    assert '\n' not in str(error)
  else:
    assert table.dim > 0


@pytest.mark.slow
@pytest.mark.skipif('MRNN_DATA' not in os.environ, reason='needs $MRNN_DATA')
def test_the_example_of_neuraltalk():
  folder = pathlib.Path(os.environ['MRNN_DATA']) / 'neuraltalk_example'
  table = feature_files.load(folder / 'vgg_feats.mat')
  assert (len(table), table.dim, table.dtype) == (16, 4096, np.float32)
  names = (folder / 'tasks.txt').read_text().split()
  assert table.ids == names
  columns = scipy.io.loadmat(folder / 'vgg_feats.mat')['feats']
  for i, name in enumerate(names):
    np.testing.assert_array_equal(table.get(name), columns[:, i])
