"""An ensemble against the members' own numbers, averaged by plain NumPy."""

import itertools

import numpy as np
import pytest
from small_models import apply, initial_carry, make

from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from mrnn_jax.decoding.generate import generate
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.models import Ensemble, Member, ensemble
from mrnn_jax.ranking.ranker import Ranker
from mrnn_jax.runtime import parallel

V = 7
# Of one kind each: another cell, no image, gating instead of adding.
KINDS = (
  ('m-rnn', {'cell': 'gru'}),
  ('rnn-base', {}),
  ('mlbl-f', {}),
)
SIZES = (5, 3, 4)
# The second and third see the same feature.
FIRST = (0, 5, 5)
WEIGHTS = (1.0, 2.0, 5.0)


def softmax(logits):
  exps = np.exp(np.float64(logits) - np.max(logits, axis=-1, keepdims=True))
  return exps / exps.sum(-1, keepdims=True)


@pytest.fixture(scope='module')
def members():
  return [
    make(kind, V, size, seed=i)
    for i, (kind, size) in enumerate(zip(KINDS, SIZES, strict=True))
  ]


def joined(members, mean='arithmetic', weights=WEIGHTS):
  model = Ensemble.make(
    [
      Member(model, weight, first)
      for (model, _), weight, first in zip(members, weights, FIRST, strict=True)
    ],
    mean,
  )
  variables = {}
  for i, (_, own) in enumerate(members):
    for kind, tree in own.items():
      variables.setdefault(kind, {})[ensemble.name_of(i)] = tree
  return model, variables


@pytest.fixture(scope='module')
def averaged(members):
  return joined(members)


def parts_of(features):
  """What each member sees of the features [..., 9] of the ensemble."""
  return [
    features[..., first : first + size]
    for first, size in zip(FIRST, SIZES, strict=True)
  ]


def probabilities(members, caption, feature, mean='arithmetic'):
  """[T, V] by the members' own forward passes."""
  tokens, total = np.asarray([caption]), 0
  for (model, variables), weight, part in zip(
    members, WEIGHTS, parts_of(feature), strict=True
  ):
    logits = apply(model, variables, tokens, part[None, None])[0]
    p = softmax(logits)
    total = total + weight / 8 * (p if mean == 'arithmetic' else np.log(p))
  return total if mean == 'arithmetic' else softmax(total)


@pytest.mark.parametrize('mean', ensemble.MEANS)
def test_probabilities_are_the_mean_of_the_members(members, mean):
  model, variables = joined(members, mean)
  features = np.random.default_rng(4).normal(size=(2, 9)).astype(np.float32)
  captions = [[START, 4, 5, 6, 4], [START, 6, 6, UNK, 5]]
  logits = apply(model, variables, np.asarray(captions), features[:, None])
  for i in range(2):
    np.testing.assert_allclose(
      softmax(logits[i]),
      probabilities(members, captions[i], features[i], mean),
      rtol=1e-5,
      atol=1e-7,
    )


@pytest.mark.parametrize(
  ('kind', 'mean'),
  [
    *((kind, ensemble.MEANS[0]) for kind in KINDS),
    (KINDS[0], ensemble.MEANS[1]),
  ],
  ids=str,
)
def test_a_model_and_itself_are_that_model(kind, mean):
  single, own = make(kind, V, 5)
  model = Ensemble.make([Member(single, 0.3), Member(single, 2.0)], mean)
  variables = {
    name: {ensemble.name_of(i): tree for i in range(2)}
    for name, tree in own.items()
  }
  assert model.feature_size == 5
  tokens = np.asarray([[START, 4, 6, 5]])
  features = np.random.default_rng(0).normal(size=(1, 1, 5)).astype(np.float32)
  np.testing.assert_allclose(
    softmax(apply(model, variables, tokens, features)),
    softmax(apply(single, own, tokens, features)),
    rtol=1e-5,
  )


def test_word_by_word_is_row_by_row(averaged):
  model, variables = averaged
  tokens = np.asarray([[START, 4, 6, START, 5]])
  whole = apply(model, variables, tokens, method='language')
  carry = initial_carry(model, variables, 1)
  for t in range(tokens.shape[1]):
    carry, language = apply(
      model, variables, carry, tokens[:, t], method='language_step'
    )
    np.testing.assert_allclose(language, whole[:, t], rtol=1e-5, atol=1e-6)


def test_what_no_member_finds_possible_is_a_number(members):
  """Probabilities below the smallest number have logarithms."""
  model, variables = joined(members[:1] * 3)
  language, image = np.zeros((1, 6 * 3)), np.zeros((1, 6 * 3))
  bias = np.zeros(V, np.float32)
  bias[4] = -500
  for part in variables['params'].values():
    part = {**part, 'softmax': {**part['softmax'], 'bias': bias}}
    variables['params'] = {ensemble.name_of(i): part for i in range(3)}
  logits = apply(model, variables, language, image, method='readout')[0]
  np.testing.assert_allclose(logits[4] - logits[5], -500, rtol=0.02)


def test_ranking_is_the_sum_over_words(members, averaged):
  model, variables = averaged
  features = np.random.default_rng(5).normal(size=(3, 9)).astype(np.float32)
  sentences = [[START, 4, 5, END], [START, 4, 6, 6, END], [START, 5, END]]
  scores = Ranker(model, variables, image_block=2, tile_rows=4).log_probs(
    sentences, features
  )
  for s, sentence in enumerate(sentences):
    for i in range(3):
      p = probabilities(members, sentence[:-1], features[i])
      words = p[np.arange(len(p)), sentence[1:]]
      np.testing.assert_allclose(scores[s, i], np.log(words).sum(), rtol=1e-5)


def test_beam_finds_what_trying_all_sentences_finds(members, averaged):
  model, variables = averaged
  features = np.random.default_rng(6).normal(size=(2, 9)).astype(np.float32)
  options = DecodeOptions('beam', beam_size=40, num_best=3, max_words=3)
  devices = parallel.local_devices(1)
  found = generate(model, variables, devices, features, options)
  for i in range(2):
    expected = []
    for length in range(4):
      for words in itertools.product(range(4, V), repeat=length):
        p = probabilities(members, [START, *words], features[i])
        targets = [*words, END] if length < 3 else words
        chosen = p[np.arange(len(targets)), targets]
        expected.append((np.log(chosen).sum(), words))
    expected.sort(reverse=True)
    for k, (log_prob, words) in enumerate(expected[:3]):
      own = [w for w in found.words[i, k] if w not in (PAD, END)]
      assert own == list(words)
      np.testing.assert_allclose(found.log_probs[i, k], log_prob, rtol=1e-5)


def test_another_precision_reaches_the_members(averaged):
  model, variables = averaged
  tokens, features = np.asarray([[START, 4, 5]]), np.ones((1, 1, 9), np.float32)
  exact = apply(model, variables, tokens, features)
  rounded = apply(model.clone(dtype='bfloat16'), variables, tokens, features)
  assert 1e-5 < np.abs(exact - rounded).max() < 0.1
