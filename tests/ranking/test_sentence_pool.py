import numpy as np
import pytest

from mrnn_jax.data.vocabulary import END, START
from mrnn_jax.ranking import sentence_pool
from mrnn_jax.ranking.sentence_pool import SentencePool


def test_pool_by_hand():
  pool = SentencePool(
    [
      [START, 7, END],
      [START, 4, 300, END],
      [START, 4, END],
      [START, 4, 5, END],
    ],
    3,
  )
  # ##END## comes before any word, and 5 before 300, whose bytes begin with 1.
  assert [x.tolist() for x in pool.parts] == [[2, 3, 1], [0]]
  # #, #4, #4 5, #4 300; #, #7.
  assert pool.num_prefixes.tolist() == [4, 2]
  assert pool.tree(1).edge_word.tolist() == [7, END]


@pytest.mark.parametrize('compared', [1, 2, 7, 1000])
def test_prefixes_are_counted_without_trees(monkeypatch, compared):
  monkeypatch.setattr(sentence_pool, '_COMPARED', compared)
  rng = np.random.default_rng(0)
  sentences = [
    [START, *rng.integers(3, 6, rng.integers(1, 6)), END] for _ in range(60)
  ]
  pool = SentencePool(sentences, 25)
  assert [len(x) for x in pool.parts] == [25, 25, 10]
  order = np.concatenate(pool.parts)
  texts = [tuple(map(int, sentences[s])) for s in order]
  assert texts == sorted(texts)
  for part, rows in enumerate(pool.parts):
    prefixes = {
      tuple(sentences[s][:t]) for s in rows for t in range(1, len(sentences[s]))
    }
    assert pool.num_prefixes[part] == len(prefixes)
    assert pool.tree(part).num_prefixes == len(prefixes)
