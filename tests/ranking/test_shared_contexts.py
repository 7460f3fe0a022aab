"""Prefixes after which a model says the same are computed once."""

import jax
import numpy as np
import pytest
from small_models import make

from mrnn_jax.data.vocabulary import END, START
from mrnn_jax.ranking.edge_scores import EdgeScores
from mrnn_jax.ranking.prefix_tree import PrefixTree
from mrnn_jax.ranking.ranker import Ranker

V, D = 11, 7


def sentences():
  rng = np.random.default_rng(5)
  drawn = {
    (START, *rng.integers(4, 8, rng.integers(1, 7)).tolist(), END)
    for _ in range(50)
  }
  return sorted(drawn)


def contexts_of(pool, n):
  """What a look n words back tells apart, and with it each next word."""
  seen = {}
  for sentence in pool:
    for t in range(1, len(sentence)):
      context = ((START,) * n + sentence[:t])[-n:]
      seen.setdefault(context, set()).add(sentence[t])
  return seen


@pytest.mark.parametrize('n', [1, 2])
def test_what_is_computed_is_what_can_be_told_apart(n):
  model, variables = make(('mlbl-f', {}), V, D, context_size=n)
  pool = sentences()
  features = np.random.default_rng(1).normal(size=(5, D)).astype(np.float32)
  ranker = Ranker(model, variables, jax.local_devices()[:1], 3, 12)
  tree = EdgeScores(ranker, PrefixTree.build(pool))._tree
  contexts = contexts_of(pool, n)
  assert tree.edge_prefix.max() + 1 == len(contexts)
  assert len(tree.edge_word) == sum(map(len, contexts.values()))
  found = ranker.log_probs(pool, features)
  # The whole model, all sentences in one batch.
  length = max(map(len, pool))
  tokens = np.zeros((len(pool), length), np.int32)
  for row, sentence in zip(tokens, pool, strict=True):
    row[: len(sentence)] = sentence
  logits = jax.jit(jax.vmap(model.apply, (None, None, 0)))(
    variables,
    tokens[:, :-1],
    np.repeat(features[:, None, None], len(pool), 1),
  )
  log_probs = np.asarray(jax.nn.log_softmax(logits))  # [N, S, T, V]
  for s, sentence in enumerate(pool):
    steps = range(len(sentence) - 1)
    expected = sum(log_probs[:, s, t, sentence[t + 1]] for t in steps)
    np.testing.assert_allclose(found[s], expected, rtol=1e-4, atol=1e-4)


def test_where_all_differ_nothing_changes():
  tree = PrefixTree.build(sentences())
  contexts = np.random.default_rng(0).normal(size=(tree.num_prefixes, 3))
  joined, kept = tree.joined(contexts.astype(np.float32))
  np.testing.assert_array_equal(kept, contexts.astype(np.float32))
  for name in ('edge_prefix', 'edge_word', 'paths'):
    np.testing.assert_array_equal(getattr(joined, name), getattr(tree, name))
