import json

import numpy as np
import pytest
from small_matrix import FEATURES, SENTENCES, FakeRanker, expected, store


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


def test_other_images_begin_anew(tmp_path, ranker):
  store(tmp_path, ranker).matrix('m', FEATURES)
  other = store(tmp_path, ranker).matrix('m', FEATURES[1:])
  np.testing.assert_array_equal(other, expected(FEATURES[1:]))


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
