"""Which arrays have a place for each word, and a longer vocabulary."""

import numpy as np
import pytest
import small_models

from mrnn_jax.data.vocabulary import START
from mrnn_jax.models import words

V = 11


@pytest.mark.parametrize(
  ('name', 'options', 'axes'),
  [
    (
      'm-rnn',
      # As many units as words, so that shapes alone do not tell.
      {'embedding_size': V, 'multimodal_size': V},
      {'embedding_1/embedding': 0, 'softmax/kernel': 1, 'softmax/bias': 0},
    ),
    (
      'rnn-base',
      {'tie_softmax': True},
      {'embedding_1/embedding': 0, 'softmax_bias': 0},
    ),
    ('elman', {}, {'word/embedding': 0, 'softmax/kernel': 1}),
    ('mlbl-f', {}, {'words/embedding': 0, 'bias': 0}),
  ],
)
def test_arrays_with_a_place_for_each_word(name, options, axes):
  model, _ = small_models.make((name, options), V)
  found = {'/'.join(x[1:]): i for x, i in words.word_axes(model).items()}
  assert found == axes


# A cell has nothing to do with words.
@pytest.mark.parametrize(
  'variant',
  [x for x in small_models.TRAINED if 'cell' not in x[1]],
  ids=small_models.name_of,
)
def test_old_words_keep_their_logits_and_new_ones_have_the_mean(variant):
  """Logits are linear in the words' weights, in every model that there is."""
  model, variables = small_models.make(variant, V)
  longer = words.with_more_words(model, variables, 2)
  tokens = np.asarray([[START, 5, 9, 10, 4, 6]])
  features = np.random.default_rng(1).normal(size=(1, 1, 7)).astype(np.float32)
  before = small_models.apply(model, variables, tokens, features)
  after = small_models.apply(
    model.clone(vocab_size=V + 2), longer, tokens, features
  )
  np.testing.assert_allclose(after[..., :V], before, rtol=1e-4, atol=1e-4)
  mean = before[..., 4:].mean(-1)  # PAD, START, END and UNK do not count.
  for new in (V, V + 1):
    np.testing.assert_allclose(after[..., new], mean, rtol=1e-4, atol=1e-4)


def test_a_new_word_is_read_as_the_mean_of_the_others():
  model, variables = small_models.make(('rnn-base', {}), V)
  longer = words.with_more_words(model, variables, 1)
  embedding = longer['params']['embedding_1']['embedding']
  np.testing.assert_allclose(embedding[V], embedding[4:V].mean(0), rtol=1e-5)


def test_no_new_word_changes_nothing():
  model, variables = small_models.make(('m-rnn', {}), V)
  same = words.with_more_words(model, variables, 0)
  assert same['params']['softmax']['bias'].shape == (V,)


def test_a_vocabulary_without_a_word_of_its_own():
  model, variables = small_models.make(('lbl', {}), 4)
  longer = words.with_more_words(model, variables, 1)
  bias = longer['params']['bias']
  np.testing.assert_allclose(bias[4], bias[:4].mean(), rtol=1e-5)
