import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import VARIANTS, apply, make
from table_model import (
  A,
  B,
  C,
  captions,
  random_images,
  random_table,
  run,
)

from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from mrnn_jax.decoding import batches
from mrnn_jax.decoding.batches import decode_in_batches
from mrnn_jax.decoding.options import METHODS, DecodeOptions
from mrnn_jax.decoding.search import Decoded
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
  images = apply(model, variables, features, method='image')
  return model, variables, features, np.asarray(images)


# One of each kind of carry: a state, two, words, a table's nodes.
FEW = [
  ('m-rnn', {}),
  ('m-rnn', {'cell': 'lstm'}),
  ('mlbl-f', {}),
  ('ngram', {}),
]


@pytest.mark.parametrize(
  ('number', 'method'),
  [
    *(
      pytest.param(number, 'beam', marks=[] if x in FEW else [pytest.mark.slow])
      for number, x in enumerate(VARIANTS)
    ),
    (0, 'greedy'),
    (0, 'sample'),
  ],
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
    jax.jit(functools.partial(batches.decode, model, options, 3)),
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
    apply(model, variables, tokens, features[rows, None])
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


def fake_captions(batch_size, options, nan_rows=()):
  """A ``decode_fn`` whose captions tell what a row was given."""
  calls = []

  def decode_fn(images, prefix, prefix_lengths, max_words, row_ids):
    calls.append((images, prefix, prefix_lengths, max_words, row_ids))
    K, W = options.num_returned, options.max_words
    words = np.zeros((batch_size, K, W), np.int32)
    words[:, 0, 0] = row_ids
    log_probs = np.repeat(-images[:, :1], K, axis=1)
    for row in nan_rows:
      # In the last of its hypotheses alone.
      log_probs[row_ids == row, -1] = np.nan
    lengths = np.repeat(max_words[:, None], K, axis=1)
    return Decoded(
      words, lengths, lengths + 1, log_probs, 2 * log_probs, lengths > 2
    )

  return decode_fn, calls


def test_rows_are_put_into_batches_and_back():
  options = DecodeOptions('beam', beam_size=2, num_best=2, max_words=4)
  decode_fn, calls = fake_captions(2, options)
  images = np.arange(10, 15, dtype=np.float32)[:, None] * [1, 100]
  prefixes = [[5], [], [6, 7], [8], []]
  done = []
  result = decode_in_batches(
    decode_fn,
    images,
    options,
    prefixes,
    [1, 3, 2, 4, 0],
    batch_size=2,
    progress_fn=lambda *x: done.append(x),
  )
  # Those of most words first; what fills up asks for no word.
  assert [x[4].tolist() for x in calls] == [[3, 1], [2, 0], [4, 0]]
  assert [x[3].tolist() for x in calls] == [[4, 3], [2, 1], [0, 0]]
  assert [x[0][:, 1].tolist() for x in calls] == [
    [1300, 1100],
    [1200, 1000],
    [1400, 0],
  ]
  assert [x[1].tolist() for x in calls] == [
    [[8, PAD], [PAD, PAD]],
    [[6, 7], [5, PAD]],
    [[PAD, PAD], [0, 0]],
  ]
  assert [x[2].tolist() for x in calls] == [[1, 0], [2, 1], [0, 0]]
  assert done == [(2, 5), (4, 5), (5, 5)]
  # In the order in which they were asked for.
  assert result.words[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
  assert result.lengths[:, 1].tolist() == [1, 3, 2, 4, 0]
  assert result.num_targets[:, 0].tolist() == [2, 4, 3, 5, 1]
  assert result.log_probs[:, 0].tolist() == [-10, -11, -12, -13, -14]
  assert result.scores[:, 1].tolist() == [-20, -22, -24, -26, -28]
  assert result.cut[:, 0].tolist() == [False, True, False, True, False]


def test_without_more_said_all_rows_begin_anew_and_may_be_long():
  options = DecodeOptions(max_words=4)
  decode_fn, calls = fake_captions(100, options)
  decode_in_batches(decode_fn, np.zeros((3, 1), np.float32), options)
  [(_, prefix, prefix_lengths, max_words, row_ids)] = calls
  assert prefix.shape == (100, 0)
  assert not prefix_lengths.any()
  assert max_words.tolist() == [4] * 3 + [0] * 97
  assert row_ids[:3].tolist() == [0, 1, 2]


@pytest.mark.parametrize(('nan_rows', 'named'), [((2, 1), 1), ((4, 0), 0)])
def test_nan_in_any_hypothesis_names_the_first_row(nan_rows, named):
  options = DecodeOptions('beam', beam_size=3, num_best=3, max_words=4)
  decode_fn, _ = fake_captions(5, options, nan_rows)
  with pytest.raises(InputError, match=rf'\(NaN\) for row {named};'):
    decode_in_batches(
      decode_fn, np.zeros((5, 1), np.float32), options, batch_size=5
    )


def test_what_does_not_belong_together_is_a_fault():
  images, options = np.zeros((2, 1), np.float32), DecodeOptions(max_words=4)
  for arguments in ({'prefixes': [[]]}, {'max_words': [1, 1, 1]}):
    with pytest.raises(ValueError, match='2 images'):
      decode_in_batches(None, images, options, **arguments)


@pytest.mark.parametrize(
  ('num_rows', 'batch_size', 'expected'),
  [
    (0, 10, 10),
    (1, 10, 10),
    (10, 10, 10),
    (11, 10, 20),
    (80, 10, 80),
    (81, 10, 50),  # Two calls of five batches.
    (161, 10, 60),  # Three calls for 17.
  ],
)
def test_rows_of_a_call_are_few_even_batches(num_rows, batch_size, expected):
  assert batches.rows_per_call(num_rows, batch_size) == expected


@pytest.mark.parametrize(
  ('beam_size', 'batch_size', 'platform', 'expected'),
  [
    (1, 200, 'cpu', 128),
    (3, 200, 'cpu', 42),
    (3, 20, 'cpu', 20),
    (200, 20, 'cpu', 1),
    (3, 200, 'gpu', 200),
  ],
)
def test_slots_keep_to_the_cache_of_a_cpu(
  beam_size, batch_size, platform, expected
):
  options = DecodeOptions('beam', beam_size=beam_size)
  assert batches.num_slots(options, batch_size, platform) == expected


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
