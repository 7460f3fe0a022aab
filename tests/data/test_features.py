"""Feature files of every kind, and broken ones."""

import io

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from mrnn_jax.data import feature_files
from mrnn_jax.runtime import errors

IDS = ['a.jpg', 'b.jpg', '00/25.jpg']


def values(dtype=np.float16):
  return np.arange(12).reshape(3, 4).astype(dtype)


@pytest.mark.parametrize('dtype', [np.float16, np.float32])
@pytest.mark.parametrize('kind', ['S', 'U'])
def test_npz(tmp_path, dtype, kind):
  path = tmp_path / 'f.npz'
  np.savez(path, ids=np.array(IDS, kind), features=values(dtype))
  table = feature_files.load(path)
  assert table.dim == 4
  assert table.dtype == dtype
  assert len(table) == 3
  for name in ('b', 'b.jpg', 'images/b.png'):
    np.testing.assert_array_equal(table.get(name), values(dtype)[1])
  np.testing.assert_array_equal(table.get('images/00/25'), values()[2])
  assert 'c' not in table
  assert table.encoder == feature_files.Encoder()


def test_npz_passes_the_encoder_on(tmp_path):
  path = tmp_path / 'f.npz'
  np.savez(path, ids=IDS, features=values(), encoder='vgg', weights=b'12ab')
  assert feature_files.load(path).encoder == feature_files.Encoder(
    'vgg', '12ab'
  )


def test_npy_is_mapped_and_ids_stand_beside(tmp_path):
  path = tmp_path / 'f.npy'
  np.save(path, values())
  (tmp_path / 'f.txt').write_text('\n'.join(IDS))
  table = feature_files.load(path)
  assert isinstance(table.features, np.memmap)
  np.testing.assert_array_equal(table.get('a'), values()[0])
  (tmp_path / 'other.txt').write_text('x\ny\nz\n')
  table = feature_files.load(path, str(tmp_path / 'other.txt'))
  np.testing.assert_array_equal(table.get('z'), values()[2])


def test_repeated_ids(tmp_path):
  twice = np.ones((2, 4), np.float32)
  table = feature_files.FeatureTable(['a.jpg', 'a'], twice, 'f.npz')
  assert table.repeated == ['a']
  assert len(table) == 1
  twice[1, 0] = 2
  with pytest.raises(errors.InputError, match='two different features for a'):
    feature_files.FeatureTable(['a.jpg', 'a'], twice, 'f.npz')


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    ({'ids': IDS}, "no array 'features'"),
    ({'features': values()}, "no array 'ids'"),
    ({'ids': IDS[:2], 'features': values()}, '3 features for 2 ids'),
    ({'ids': IDS, 'features': values(np.int32)}, 'are int32'),
    ({'ids': IDS, 'features': values()[0]}, r'shape \(4,\)'),
    ({'ids': [0.1, 0.2, 0.3], 'features': values()}, 'no list of names'),
    ({'ids': IDS, 'features': np.array([None] * 3)}, 'Python objects'),
  ],
)
def test_unfit_npz(tmp_path, arrays, message):
  path = tmp_path / 'f.npz'
  np.savez(path, **arrays)
  with pytest.raises(errors.InputError, match=message):
    feature_files.load(path)


def test_paths_that_do_not_fit(tmp_path):
  with pytest.raises(errors.InputError, match='There is no'):
    feature_files.load(tmp_path / 'f.npz')
  (tmp_path / 'f.pkl').write_bytes(b'')
  with pytest.raises(errors.InputError, match='one of .npz, .npy'):
    feature_files.load(tmp_path / 'f.pkl')
  np.save(tmp_path / 'f.npy', values())
  with pytest.raises(errors.InputError, match='--feature_ids'):
    feature_files.load(tmp_path / 'f.npy')
  np.savez(tmp_path / 'f.npz', ids=IDS, features=values())
  with pytest.raises(errors.InputError, match='leave out --feature_ids'):
    feature_files.load(tmp_path / 'f.npz', 'ids.txt')


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_bytes_give_a_table_or_one_sentence(tmp_path_factory, data):
  buffer = io.BytesIO()
  np.savez(buffer, ids=IDS, features=values())
  good = bytearray(buffer.getvalue())
  start = data.draw(st.integers(0, len(good)))
  good[start : start + 4] = data.draw(st.binary(max_size=8))
  path = tmp_path_factory.mktemp('any') / 'f.npz'
  path.write_bytes(good)
  try:
    table = feature_files.load(path)
  except errors.InputError as error:
    assert '\n' not in str(error)
  else:
    assert table.dim > 0
