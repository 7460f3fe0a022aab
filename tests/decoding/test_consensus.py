import numpy as np
import pytest

from mrnn_jax.decoding.consensus import Consensus
from mrnn_jax.metrics.cider import CiderD

FEATURES = np.asarray([[0, 0], [1, 0], [5, 5], [0, 1]], np.float32)
CAPTIONS = [
  ['A dog runs fast.', 'The dog runs.'],
  ['A dog runs on the grass .', '!'],
  ['Two men talk', 'men at a table'],
  ['a brown dog'],
]


def test_neighbors_are_nearest_first():
  consensus = Consensus(FEATURES, CAPTIONS, 3, 10)
  # For the second one all three are as near as each other: by number.
  found = consensus.neighbors(np.asarray([[0.2, 0.1], [0.5, 0.5]]))
  assert found.tolist() == [[0, 1, 3], [0, 1, 3]]
  every = Consensus(FEATURES, CAPTIONS, 99, 1).neighbors(FEATURES)
  assert every.shape == (4, 4)


def test_the_first_encoder_tells_how_near_images_are():
  wide = np.concatenate([FEATURES, 100 * FEATURES[::-1]], axis=1)
  asked = np.asarray([[0.2, 0.1, 900, 900]])
  consensus = Consensus(wide, CAPTIONS, 3, 10, size=2)
  assert consensus.neighbors(asked).tolist() == [[0, 1, 3]]
  assert Consensus(wide, CAPTIONS, 3, 10).neighbors(asked).tolist() != [
    [0, 1, 3]
  ]


class Blocks:
  """Features that are read in blocks; remembers the largest one."""

  def __init__(self, features):
    self.features, self.most = features, 0

  def __len__(self):
    return len(self.features)

  def __getitem__(self, indices):
    self.most = max(self.most, len(indices))
    return self.features[indices]


@pytest.mark.parametrize('block', [1, 7, 64, 1024])
def test_blocks_find_the_same_neighbors(block):
  rng = np.random.default_rng(0)
  features = rng.normal(size=(150, 24)).astype(np.float32)
  features[100:] = features[:50]  # Twins: the first one comes first.
  asked = rng.normal(size=(20, 24)).astype(np.float32)
  blocks = Blocks(features)
  consensus = Consensus(blocks, [['a dog']] * 150, 60, 10)
  found = consensus.neighbors(asked, block)
  distances = ((asked[:, None].astype(float) - features) ** 2).sum(2)
  expected = np.argsort(distances, axis=1, kind='stable')[:, :60]
  np.testing.assert_array_equal(found, expected)
  assert blocks.most == min(block, 150)


@pytest.mark.parametrize('num_captions', [1, 2, 100])
def test_scores_are_means_of_the_best_similarities(num_captions):
  consensus = Consensus(FEATURES, CAPTIONS, 2, num_captions)
  hypotheses = ['a dog runs', 'two men talk', 'dog']
  [neighbors] = consensus.neighbors(np.zeros((1, 2)))
  scores = consensus.scores(neighbors, hypotheses)
  cider = CiderD(
    [
      ['a dog runs fast', 'the dog runs'],
      ['a dog runs on the grass'],
      ['two men talk', 'men at a table'],
      ['a brown dog'],
    ]
  )
  asked = ['a dog runs fast', 'the dog runs', 'a dog runs on the grass']
  for hypothesis, score in zip(hypotheses, scores, strict=True):
    best = sorted(cider.similarity(hypothesis, text) for text in asked)[::-1]
    assert score == pytest.approx(np.mean(best[:num_captions]))
  assert scores[0] == max(scores)


def test_neighbours_without_a_word_are_like_nothing():
  captions = [['!'], [], ['a dog'], ['a cat']]
  consensus = Consensus(FEATURES, captions, 2, 10)
  assert consensus.scores(np.array([1, 0]), ['a dog', 'a']) == [0, 0]
