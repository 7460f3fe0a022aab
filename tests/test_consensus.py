import numpy as np
import pytest

from mrnn_jax.consensus import Consensus
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
  assert consensus.neighbors(np.asarray([0.2, 0.1])).tolist() == [0, 1, 3]
  # As near as each other: by number.
  assert consensus.neighbors(np.asarray([0.5, 0.5])).tolist() == [0, 1, 3]
  assert len(Consensus(FEATURES, CAPTIONS, 99, 1).neighbors(FEATURES[0])) == 4


@pytest.mark.parametrize('num_captions', [1, 2, 100])
def test_scores_are_means_of_the_best_similarities(num_captions):
  consensus = Consensus(FEATURES, CAPTIONS, 2, num_captions)
  hypotheses = ['a dog runs', 'two men talk', 'dog']
  scores = consensus.scores(np.zeros(2), hypotheses)
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
