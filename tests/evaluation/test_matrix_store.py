import hashlib
import json

import numpy as np
import pytest
from small_matrix import FEATURES, SENTENCES, FakeRanker, expected, store

from mrnn_jax.runtime.errors import InputError


@pytest.fixture
def ranker():
  return FakeRanker()


def test_an_interrupted_matrix_goes_on_where_it_stopped(tmp_path, ranker):
  ranker.stop_at = 2
  with pytest.raises(KeyboardInterrupt):
    store(tmp_path, ranker).matrix('m', FEATURES)
  ranker.stop_at = None
  matrix = store(tmp_path, ranker).matrix('m', FEATURES)
  np.testing.assert_array_equal(matrix, expected(FEATURES))
  assert ranker.computed == 4
  np.testing.assert_array_equal(np.load(tmp_path / 'm.npy'), matrix)


def test_a_finished_matrix_serves_for_its_first_images(tmp_path, ranker):
  store(tmp_path, ranker).matrix('m', FEATURES)
  fewer = store(tmp_path, ranker).matrix('m', FEATURES[:3])
  np.testing.assert_array_equal(fewer, expected(FEATURES[:3]))
  assert ranker.computed == 4


def test_a_finished_matrix_begins_a_larger_one(tmp_path, ranker):
  store(tmp_path, ranker).matrix('m', FEATURES[:3])
  assert ranker.computed == 2
  ranker.stop_at = 1
  with pytest.raises(KeyboardInterrupt):
    store(tmp_path, ranker).matrix('m', FEATURES)
  ranker.stop_at = None
  matrix = store(tmp_path, ranker).matrix('m', FEATURES)
  np.testing.assert_array_equal(matrix, expected(FEATURES))
  assert ranker.computed == 4  # Two for three images, two for four more.


@pytest.mark.parametrize(
  'change',
  [
    {'identity': 'another model'},
    {'sentences': [*SENTENCES[:-1], np.asarray([1, 5, 5, 2])]},
  ],
)
def test_another_model_or_other_sentences_begin_anew(tmp_path, ranker, change):
  store(tmp_path, ranker).matrix('m', FEATURES)
  store(tmp_path, ranker, **change).matrix('m', FEATURES)
  assert ranker.computed == 8


def test_other_images_begin_anew(tmp_path, ranker, capsys):
  store(tmp_path, ranker).matrix('m', FEATURES)
  other = store(tmp_path, ranker).matrix('m', FEATURES[1:])
  np.testing.assert_array_equal(other, expected(FEATURES[1:]))
  assert 'm.npy is of other images: computed anew' in capsys.readouterr().err


def test_a_finished_matrix_serves_whatever_its_tiles(tmp_path, ranker, capsys):
  store(tmp_path, ranker).matrix('m', FEATURES[:5])
  ranker.tiling = '2 x 7'
  ranker.computed = 0
  found = store(tmp_path, ranker).matrix('m', FEATURES[:5])
  np.testing.assert_array_equal(found, expected(FEATURES[:5]))
  assert ranker.computed == 0
  assert 'is there: not computed again' in capsys.readouterr().out
  # And begins a larger one.
  found = store(tmp_path, ranker).matrix('m', FEATURES)
  np.testing.assert_array_equal(found, expected(FEATURES))
  assert ranker.computed == 1
  # Other numbers are another matrix, which is told.
  ranker.arithmetic = 'bfloat16'
  store(tmp_path, ranker).matrix('m', FEATURES)
  assert ranker.computed == 5
  assert 'or other arithmetic: computed anew' in capsys.readouterr().err


def test_a_matrix_under_way_keeps_its_tiles(tmp_path, ranker):
  ranker.stop_at = 2
  with pytest.raises(KeyboardInterrupt):
    store(tmp_path, ranker).matrix('m', FEATURES)
  ranker.stop_at, ranker.tiling = None, '9 x 7'
  before = {x.name: x.read_bytes() for x in tmp_path.iterdir()}
  with pytest.raises(
    InputError, match='--rank_image_block=2 --rank_tile_rows=500'
  ):
    store(tmp_path, ranker).matrix('m', FEATURES)
  assert before == {x.name: x.read_bytes() for x in tmp_path.iterdir()}
  ranker.tiling = '2 x 500'
  store(tmp_path, ranker).matrix('m', FEATURES)
  assert ranker.computed == 4


def test_a_finished_matrix_of_an_earlier_program_serves(tmp_path, ranker):
  """Its key told the tiles, and its state how many blocks were done."""
  store(tmp_path, ranker).matrix('m', FEATURES)
  path = tmp_path / 'm.json'
  state = json.loads(path.read_text())
  digest = hashlib.sha256(b'a model 2 x 500 float32')
  for sentence in SENTENCES:
    digest.update(sentence.tobytes())
  del state['tiling']
  state |= {'key': digest.hexdigest(), 'blocks_done': 4}
  path.write_text(json.dumps(state))
  assert store(tmp_path, ranker).has('m', FEATURES[:2])
  store(tmp_path, ranker).matrix('m', FEATURES[:2])
  assert ranker.computed == 4


def test_a_block_writes_little(tmp_path, ranker):
  ranker.stop_at = 2
  with pytest.raises(KeyboardInterrupt):
    store(tmp_path, ranker).matrix('m', FEATURES)
  progress = json.loads((tmp_path / 'm.progress.json').read_text())
  assert set(progress) == {'of', 'blocks_done'}
  # That of another matrix tells nothing of this one.
  ranker.stop_at = None
  store(tmp_path, ranker).matrix('m', FEATURES)
  (tmp_path / 'm.progress.json').write_text(json.dumps(progress))
  other = store(tmp_path, ranker).matrix('m', FEATURES[::-1])
  np.testing.assert_array_equal(other, expected(FEATURES[::-1]))
  assert sorted(x.name for x in tmp_path.iterdir()) == ['m.json', 'm.npy']


def test_what_is_there_is_told(tmp_path, ranker):
  ranker.stop_at = 2
  with pytest.raises(KeyboardInterrupt):
    store(tmp_path, ranker).matrix('m', FEATURES)
  assert not store(tmp_path, ranker).has('m', FEATURES)
  ranker.stop_at = None
  store(tmp_path, ranker).matrix('m', FEATURES)
  assert store(tmp_path, ranker).has('m', FEATURES[:3])
  assert not store(tmp_path, ranker).has('m', FEATURES[1:])
  assert not store(tmp_path, ranker, identity='other').has('m', FEATURES)


@pytest.mark.parametrize(
  ('name', 'content'),
  [
    ('m.npy', b''),
    ('m.npy', b'\x93NUMPY'),
    ('m.npy', None),
    ('m.json', b'[]'),
    ('m.json', b'[' * 5000),
    ('m.json', b'{"key": 3}'),
    ('m.json', b'\xff'),
  ],
)
def test_a_damaged_matrix_begins_anew(tmp_path, ranker, name, content):
  store(tmp_path, ranker).matrix('m', FEATURES)
  path = tmp_path / name
  # None: its end is missing.
  path.write_bytes(path.read_bytes()[:-9] if content is None else content)
  matrix = store(tmp_path, ranker).matrix('m', FEATURES)
  np.testing.assert_array_equal(matrix, expected(FEATURES))
  assert ranker.computed == 8


@pytest.mark.parametrize(
  'change', [{'images': 3}, {'images': [3]}, {'first_image': 'x'}]
)
def test_a_state_that_cannot_be_begins_anew(tmp_path, ranker, change):
  store(tmp_path, ranker).matrix('m', FEATURES)
  path = tmp_path / 'm.json'
  path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
  matrix = store(tmp_path, ranker).matrix('m', FEATURES)
  np.testing.assert_array_equal(matrix, expected(FEATURES))


def test_a_state_without_its_matrix_begins_anew(tmp_path, ranker):
  store(tmp_path, ranker).matrix('m', FEATURES)
  (tmp_path / 'm.npy').unlink()
  matrix = store(tmp_path, ranker).matrix('m', FEATURES)
  np.testing.assert_array_equal(matrix, expected(FEATURES))
