import contextlib

import jax
import numpy as np
import pytest
import quick
from small_models import VARIANTS, apply, init, make, name_of

from mrnn_jax import models
from mrnn_jax.data.vocabulary import END, PAD, START
from mrnn_jax.ranking import ranker as ranker_lib
from mrnn_jax.runtime import parallel
from mrnn_jax.scoring import pair_scorer
from mrnn_jax.scoring.pair_scorer import PairScorer

D = 7


@pytest.fixture(scope='module')
def model_and_variables():
  model = models.MRNN(
    vocab_size=20,
    feature_size=D,
    embedding_size=5,
    recurrent_size=6,
    multimodal_size=8,
  )
  return model, init(model, jax.random.key(0))


@pytest.fixture(scope='module')
def problem():
  """Sentences that share beginnings, features, and pairs of them."""
  rng = np.random.default_rng(0)
  sentences = {
    (START, *rng.integers(3, 8, rng.integers(1, 6)).tolist(), END)
    for _ in range(60)
  }
  features = rng.normal(size=(70, D)).astype(np.float32)
  pairs = np.stack(
    [rng.integers(len(sentences), size=200), rng.integers(70, size=200)], 1
  )
  return sorted(sentences), features, np.concatenate([pairs, pairs[:9]])


def score(model_and_variables, problem, num_devices=1, tile_rows=32):
  sentences, features, pairs = problem
  scorer = PairScorer(
    *model_and_variables, parallel.local_devices(num_devices), tile_rows
  )
  plans = scorer.plan(sentences, pairs)
  return plans, scorer.word_log_probs(plans, features)


@pytest.fixture(scope='module')
def scored(model_and_variables, problem):
  return score(model_and_variables, problem)


# A state, two, words, no image, a table's nodes.
QUICK = [
  ('m-rnn', {'cell': 'lstm'}),
  ('rnn-base', {}),
  ('mlbl-f', {}),
  ('ngram', {}),
]


@pytest.mark.parametrize(
  'variant',
  [
    pytest.param(
      x, id=name_of(x), marks=[] if x in QUICK else [pytest.mark.slow]
    )
    for x in VARIANTS
  ],
)
def test_pairs_are_what_the_whole_model_gives(variant, problem):
  """Of every model, also one that does not see the image."""
  model, variables = make(variant, vocab_size=20)
  sentences, features, pairs = problem
  pairs = pairs[::20]
  _, found = score((model, variables), (sentences, features, pairs), 2)
  at = 0
  for s, n in pairs:
    # Padded behind: what comes later changes nothing before.
    tokens = np.full((1, 8), PAD)
    tokens[0, : len(sentences[s])] = sentences[s]
    logits = apply(model, variables, tokens[:, :-1], features[n][None, None])
    length = len(sentences[s]) - 1
    log_probs = np.asarray(jax.nn.log_softmax(logits))[0, :length]
    expected = log_probs[np.arange(length), tokens[0, 1 : length + 1]]
    part = found[at : at + length]
    np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-5)
    at += length
  assert at == len(found)


def test_as_the_matrix_has_it(model_and_variables, problem, scored):
  sentences, features, pairs = problem
  devices = parallel.local_devices(1)
  ranker = ranker_lib.Ranker(*model_and_variables, devices, 10, 40)
  expected = ranker.log_probs(sentences, features)[pairs[:, 0], pairs[:, 1]]
  lengths = np.asarray([len(s) - 1 for s in sentences])[pairs[:, 0]]
  _, values = scored
  assert values.shape == (lengths.sum(),)
  found = np.add.reduceat(values, np.cumsum(lengths) - lengths)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_each_word_is_its_logit(model_and_variables, problem, scored):
  model, variables = model_and_variables
  sentences, features, pairs = problem
  sentence, image = pairs[0]
  ids = np.asarray([sentences[sentence]])
  logits = apply(model, variables, ids[:, :-1], features[None, [image]])
  expected = jax.nn.log_softmax(logits)[0, np.arange(ids.size - 1), ids[0, 1:]]
  np.testing.assert_allclose(scored[1][: ids.size - 1], expected, atol=1e-5)


def test_nothing_is_computed_twice(problem, scored):
  sentences, _, pairs = problem
  (plan,), _ = scored
  used = {tuple(sentences[s]) for s, _ in pairs.tolist()}
  prefixes = {s[:t] for s in used for t in range(1, len(s))}
  assert plan.tree.num_prefixes == len(prefixes)
  readouts = {
    (sentences[s][:t], image)
    for s, image in pairs.tolist()
    for t in range(1, len(sentences[s]))
  }
  assert len(plan.row_prefix) == len(readouts)
  # Only the last tile is not full.
  assert len(plan.tiles.prefixes) == -(-len(readouts) // 32)


@pytest.mark.parametrize(
  'compiler',
  [
    contextlib.nullcontext,
    pytest.param(quick.users_compiler, marks=pytest.mark.slow),
  ],
)
def test_bits_do_not_depend_on_devices(model_and_variables, problem, compiler):
  with compiler():
    one, four = (score(model_and_variables, problem, n)[1] for n in (1, 4))
  np.testing.assert_array_equal(one, four)


def test_many_words_go_in_windows(
  model_and_variables, problem, scored, monkeypatch
):
  monkeypatch.setattr(pair_scorer, '_WINDOW_WORDS', 90)
  plans, values = score(model_and_variables, problem)
  assert len(plans) > 5
  np.testing.assert_allclose(values, scored[1], atol=1e-5)
