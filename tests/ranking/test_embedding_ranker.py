"""Ranking by cosine, in blocks, beside plain products."""

import numpy as np
import pytest
from small_models import apply, examples

from mrnn_jax import models
from mrnn_jax.data.vocabulary import END, PAD, START
from mrnn_jax.ranking import embedding_ranker

V, D = 20, 6


@pytest.fixture(scope='module')
def ranker():
  rng = np.random.default_rng(0)
  features = rng.normal(size=(50, D)).astype(np.float32)
  captions = [
    [START, *rng.integers(3, V, rng.integers(1, 6)), END] for _ in features
  ]
  model = models.create_model('cca', V, D, {'cca_size': 4})
  data = examples(captions, None, features)
  variables = {'params': model.fit(data), 'statistics': data.statistics}
  made = embedding_ranker.EmbeddingRanker(model, variables, image_block=7)
  return made, model, variables


@pytest.fixture
def pool():
  rng = np.random.default_rng(1)
  sentences = [
    [START, *rng.integers(3, V, rng.integers(1, 40)), END] for _ in range(23)
  ]
  return sentences, rng.normal(size=(17, D)).astype(np.float32)


@pytest.fixture
def matrix(ranker, pool):
  """All sentences and images at once."""
  _, model, variables = ranker
  sentences, features = pool
  rows = np.full((len(sentences), max(map(len, sentences))), PAD)
  for row, sentence in zip(rows, sentences, strict=True):
    row[: len(sentence)] = sentence
  images = apply(model, variables, features, method='image')
  return apply(model, variables, rows, method='sentence') @ images.T


def test_blocks_are_the_cosines(ranker, pool, matrix, monkeypatch):
  monkeypatch.setattr(embedding_ranker, '_SENTENCE_BLOCK', 10)
  monkeypatch.setattr(embedding_ranker, '_EMBEDDED', 4)
  monkeypatch.setattr(embedding_ranker, '_WORDS', 8)
  told = []
  blocks = list(ranker[0].blocks(*pool, progress=lambda *x: told.append(x)))
  assert len(blocks) == 3 * 3  # 10, 10, 3 sentences; 7, 7, 3 images.
  scores = np.full(matrix.shape, np.nan)
  for rows, columns, block in blocks:
    assert np.isnan(scores[rows, columns]).all()
    scores[rows, columns] = block
  np.testing.assert_allclose(scores, matrix, atol=1e-5)
  assert told[0] == (70, 391) and told[-1] == (391, 391)
  done = [x for x, _ in told]
  assert done == sorted(done)
  later = list(ranker[0].blocks(*pool, first=4))
  for (rows, columns, block), expected in zip(later, blocks[4:], strict=True):
    assert rows.tolist() == expected[0].tolist() and columns == expected[1]
    np.testing.assert_array_equal(block, expected[2])


def test_true_scores_have_the_bits_of_the_blocks(ranker, pool, monkeypatch):
  monkeypatch.setattr(embedding_ranker, '_SENTENCE_BLOCK', 10)
  owner = np.random.default_rng(2).integers(0, 17, 23)
  scores = np.empty((23, 17), np.float32)
  for rows, columns, block in ranker[0].blocks(*pool):
    scores[rows, columns] = block
  told = []
  true = ranker[0].true_scores(*pool, owner, lambda *x: told.append(x))
  np.testing.assert_array_equal(true, scores[np.arange(23), owner])
  assert told[-1] == (23, 23)


def test_the_best_of_both(ranker, pool, matrix):
  best = ranker[0].rank(*pool, top=3)
  np.testing.assert_array_equal(
    best.images, np.argsort(-matrix, axis=1, kind='stable')[:, :3]
  )
  np.testing.assert_array_equal(
    best.sentences, np.argsort(-matrix.T, axis=1, kind='stable')[:, :3]
  )
  np.testing.assert_allclose(
    best.sentence_scores, -np.sort(-matrix.T, axis=1)[:, :3], atol=1e-5
  )
