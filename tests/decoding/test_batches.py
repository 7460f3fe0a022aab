import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import VARIANTS, make
from table_model import (
  A,
  B,
  C,
  captions,
  quick_jit,
  random_images,
  random_table,
  run,
)

from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from mrnn_jax.decoding import batches
from mrnn_jax.decoding.batches import decode_in_batches
from mrnn_jax.decoding.options import METHODS, DecodeOptions
from mrnn_jax.runtime.errors import InputError


@pytest.mark.parametrize('method', ['beam', 'sample'])
def test_rows_do_not_depend_on_their_batch_and_slots(method):
  table, images = random_table(9, 9, scale=1.0), random_images(11, 9)
  prefixes = [[A, B, C][: i % 4] for i in range(11)]
  max_words = [5 * i % 8 for i in range(11)]
  assert max_words[8] == 0
  options = DecodeOptions(
    method, beam_size=3, num_best=2, num_samples=3, max_words=7
  )
  expected = run(table, images, options, prefixes, max_words)
  done = []
  result = run(
    table,
    images,
    options,
    prefixes,
    max_words,
    num_slots=2,
    batch_size=6,
    progress_fn=lambda *args: done.append(args),
  )
  jax.tree.map(np.testing.assert_array_equal, result, expected)
  assert done == [(6, 11), (11, 11)]


@functools.cache
def small_model(number):
  """A random model, its variables, 7 features and what images give."""
  model, variables = make(VARIANTS[number], vocab_size=23, feature_size=6)
  # Some captions shall end, some shall not.
  for layer, name in (('softmax', 'bias'), ('', 'softmax_bias')):
    params = variables['params']
    there = params.get(layer, {}) if layer else params
    if name in there:
      there[name] = jnp.zeros(23).at[END].set(1.0)
  features = jax.random.normal(jax.random.key(4), (7, 6))
  images = model.apply(variables, features, method='image')
  return model, variables, features, np.asarray(images)


@pytest.mark.parametrize(
  ('number', 'method'),
  [(number, 'beam') for number in range(len(VARIANTS))]
  + [(0, 'greedy'), (0, 'sample')],
)
def test_log_prob_is_that_of_the_teacher_forced_model(number, method):
  model, variables, features, images = small_model(number)
  N = len(images)
  prefixes = [[5, UNK, 9, 4][: i % 5] for i in range(N)]
  # Temperature and top-k choose the samples; they are not in log_probs.
  options = DecodeOptions(
    method,
    beam_size=4,
    num_best=4,
    num_samples=3,
    temperature=1.5,
    top_k=12,
    max_words=9,
  )
  decode_fn = functools.partial(
    quick_jit(functools.partial(batches.decode, model, options, 3)),
    variables,
    jax.random.key(5),
  )
  result = decode_in_batches(decode_fn, images, options, prefixes, batch_size=4)
  found = [
    (row, *caption) for row in range(N) for caption in captions(result, row)
  ]
  tokens = np.full((4 * N, 16), PAD, np.int32)
  for line, (row, words, *_) in zip(tokens, found, strict=False):
    given = [START, *prefixes[row], *words, END]
    line[: len(given)] = given
  rows = np.zeros(len(tokens), np.int32)
  rows[: len(found)] = [row for row, *_ in found]
  log_probs = jax.nn.log_softmax(
    quick_jit(model.apply)(variables, tokens, features[rows, None])
  )
  log_probs = np.asarray(log_probs, np.float64)
  for i, (row, words, log_prob, _, cut) in enumerate(found):
    expected = sum(
      log_probs[i, len(prefixes[row]) + t, target]
      for t, target in enumerate(words if cut else (*words, END))
    )
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
  if number == 0:  # Whose bias was set to that end.
    assert result.cut.any() and not result.cut.all()
  scores = result.scores
  if method == 'beam':
    assert (scores[:, :-1] >= scores[:, 1:]).all()


def test_no_rows():
  result = run(
    random_table(7, 0),
    np.zeros((0, 7), np.float32),
    DecodeOptions('beam', num_best=2, max_words=4),
    batch_size=8,
  )
  assert result.words.shape == (0, 2, 4)


def test_too_many_words_asked_for():
  with pytest.raises(InputError, match='5 words'):
    run(
      random_table(7, 0),
      random_images(2, 7),
      DecodeOptions(max_words=4),
      max_words=[5, 2],
    )


@pytest.mark.parametrize(
  'kwargs',
  [
    {'method': 'argmax'},
    {'beam_size': 0},
    {'num_best': 0},
    {'method': 'beam', 'beam_size': 2, 'num_best': 3},
    {'beam_groups': 0},
    {'method': 'beam', 'beam_size': 10, 'beam_groups': 4},
    {'diversity_penalty': -0.1},
    {'diversity_penalty': float('inf')},
    {'num_samples': 0},
    {'max_words': 0},
    {'temperature': 0.0},
    {'temperature': float('inf')},
    {'top_k': -1},
    {'min_words': -1},
    {'no_repeat_ngram': -1},
    {'top_p': 0.0},
    {'top_p': 1.1},
    {'length_penalty': -1.0},
    {'length_penalty': float('nan')},
  ],
  ids=str,
)
def test_options_are_checked(kwargs):
  with pytest.raises(InputError) as error:
    DecodeOptions(**kwargs)
  assert str(error.value).endswith('.') or str(error.value).endswith(').')


def test_options_are_static_arguments():
  for method, top_k in itertools.product(METHODS, (0, 5)):
    options = DecodeOptions(method, top_k=top_k)
    assert hash(options) == hash(DecodeOptions(method, top_k=top_k))
