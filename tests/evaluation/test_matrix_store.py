import numpy as np
import pytest

from mrnn_jax.evaluation import matrix_store

SENTENCES = [np.asarray([1, s, 2]) for s in range(6)]
FEATURES = np.arange(14, dtype=np.float32).reshape(7, 2)


class FakeRanker:
  """Scores by a formula, two images a block; may be interrupted."""

  tiling = 'two'

  def __init__(self):
    self.computed = 0
    self.stop_at = None

  def blocks(self, sentences, features, progress, first, everywhere):
    assert everywhere
    for number, start in enumerate(range(0, len(features), 2)):
      if number < first:
        continue
      if number == self.stop_at:
        raise KeyboardInterrupt
      self.computed += 1
      columns = slice(start, min(start + 2, len(features)))
      words = np.asarray([s[1] for s in sentences], np.float32)
      block = words[:, None] - features[columns, 0]
      yield np.arange(len(sentences)), columns, block
      progress(columns.stop, len(features))


def expected(features):
  return np.arange(6, dtype=np.float32)[:, None] - features[:, 0]


@pytest.fixture
def ranker():
  return FakeRanker()


def store(folder, ranker, identity='a model', sentences=SENTENCES):
  return matrix_store.MatrixStore(folder, ranker, sentences, identity)


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


def test_a_state_without_its_matrix_begins_anew(tmp_path, ranker):
  store(tmp_path, ranker).matrix('m', FEATURES)
  (tmp_path / 'm.npy').unlink()
  matrix = store(tmp_path, ranker).matrix('m', FEATURES)
  np.testing.assert_array_equal(matrix, expected(FEATURES))
