import numpy as np
import pytest

from mrnn_jax.metrics.cider import CiderD
from mrnn_jax.metrics.cider_pool import CiderPool

DOCUMENTS = [
  ['a dog runs', 'a a a a a'],
  ['a cat', 'the dog runs fast here', 'dog'],
  [],
  ['two men talk to a dog'],
]


def by_pairs(documents, sentences, chosen):
  cider = CiderD(documents)
  texts = [text for i in chosen for text in documents[i]]
  return [[cider.similarity(s, t) for t in texts] for s in sentences]


@pytest.mark.parametrize('chosen', [[0, 1, 2, 3], [3, 1], [2], [1, 1]])
def test_similarities_are_those_of_pairs(chosen):
  sentences = [
    'a dog runs',
    'a a a',
    'zebras run',
    'the dog runs zebra a cat',
    'dog',
    '',
  ]
  found = CiderPool(DOCUMENTS).similarities(sentences, np.asarray(chosen))
  expected = np.asarray(by_pairs(DOCUMENTS, sentences, chosen))
  assert found.shape == expected.shape
  np.testing.assert_allclose(found, expected, atol=1e-12)


def test_many_captions_are_those_of_pairs():
  rng = np.random.default_rng(0)

  def text():
    return ' '.join(rng.choice(list('abcdefg'), rng.integers(1, 9)))

  documents = [[text() for _ in range(rng.integers(0, 5))] for _ in range(40)]
  sentences = [text() + ' x' * (i % 3) for i in range(10)]
  chosen = rng.permutation(40)[:17]
  found = CiderPool(documents).similarities(sentences, chosen)
  expected = np.asarray(by_pairs(documents, sentences, chosen))
  assert (expected > 0.2).any() and len(np.unique(expected)) > 100
  np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_single_document_weighs_nothing():
  found = CiderPool([['a dog']]).similarities(['a dog'], np.array([0]))
  assert found.tolist() == [[0.0]]
