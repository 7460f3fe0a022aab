import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from table_model import (
  NEVER,
  A,
  B,
  C,
  assert_same_captions,
  bigrams,
  captions,
  greedy_by_hand,
  next_log_probs,
  random_images,
  random_table,
  run,
  table_step_fn,
)

from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.decoding.search import search
from mrnn_jax.runtime.errors import InputError


def enumerate_captions(table, image, options, prefix, max_words):
  """All captions there are, best first, as ``captions`` gives them."""
  found = []
  words = [w for w in range(table.shape[0]) if w not in (*NEVER, END)]

  def visit(generated, log_prob):
    L = len(generated)
    n = options.no_repeat_ngram
    runs = [generated[i : i + n] for i in range(L - n + 1)] if n else []
    if len(set(runs)) < len(runs):
      return
    if len(generated) == max_words:
      found.append((generated, log_prob, L, True))
      return
    log_probs = next_log_probs(table, image, (*prefix, *generated))
    if not options.exact_length and options.min_words <= L:
      found.append((generated, log_prob + log_probs[END], L + 1, False))
    for word in words:
      visit((*generated, word), log_prob + log_probs[word])

  visit((), 0.0)
  alpha = options.length_penalty
  scored = [(w, p, p / L**alpha, cut) for w, p, L, cut in found]
  return sorted(scored, key=lambda caption: -caption[2])


@pytest.mark.parametrize(
  'rules',
  [
    {},
    {'length_penalty': 0.7, 'min_words': 2},
    {'length_penalty': 1.5, 'no_repeat_ngram': 1},
    {'length_penalty': 0.7, 'exact_length': True, 'no_repeat_ngram': 2},
  ],
  ids=str,
)
def test_wide_beam_is_brute_force(rules):
  # Three words and at most four of them: 3^4 that are cut, 40 that end.
  table, images = random_table(7, 0), random_images(5, 7)
  prefixes = [(), (A,), (B, UNK, C), (C, C), ()]
  max_words = [4, 4, 3, 1, 2]
  options = DecodeOptions(
    'beam', beam_size=121, num_best=121, max_words=4, **rules
  )
  result = run(table, images, options, prefixes, max_words)
  for row in range(5):
    expected = enumerate_captions(
      table, images[row], options, prefixes[row], max_words[row]
    )
    assert_same_captions(captions(result, row), expected)


def test_stopping_early_does_not_change_the_best():
  table, images = random_table(7, 1, scale=1.0), random_images(20, 7)
  all_best = DecodeOptions('beam', beam_size=6, num_best=6, max_words=8)
  expected = run(table, images, all_best)
  result = run(table, images, dataclasses.replace(all_best, num_best=2))
  for row in range(20):
    assert captions(result, row) == captions(expected, row)[:2]


def test_no_early_stop_while_a_longer_caption_can_still_win():
  # The empty caption leads after one step, .6 against .4; but what follows A
  # is certain, and .4^(1/4) > .6.
  table = bigrams({(START, A): 0.4, (START, END): 0.6, (A, A): 1.0})
  options = DecodeOptions('beam', beam_size=2, max_words=4, length_penalty=1.0)
  ((words, _, score, _),) = captions(run(table, jnp.zeros((1, 7)), options), 0)
  assert words == (A,) * 4
  np.testing.assert_allclose(score, np.log(0.4) / 4, rtol=1e-5)


@pytest.mark.parametrize('length_penalty', [0.0, 1.0])
def test_no_step_after_all_are_settled(length_penalty):
  # ##END## comes after A, and A after ##START##, with certainty; the other
  # hypotheses go on, and no two are equally unlikely.
  rng = np.random.default_rng(0)
  table = rng.uniform(-60, -50, (7, 7, 7)).astype(np.float32)
  table[..., END] = -90
  table[:, START, A] = table[:, A, END] = 0
  steps = []

  def step_fn(carry, tokens, image):
    jax.debug.callback(lambda: steps.append(1), ordered=False)
    return table_step_fn(jnp.asarray(table))(carry, tokens, image)

  # The best of the beam is sure long before the other two are, which even if
  # they grew by 30 words at no cost would be worse.
  options = DecodeOptions('beam', beam_size=3, length_penalty=length_penalty)
  zeros = jnp.zeros(1, jnp.int32)
  prefix = jnp.zeros((1, 0), jnp.int32)
  result = jax.jit(functools.partial(search, step_fn, options=options))(
    zeros,
    jnp.zeros((1, 7)),
    prefix,
    zeros,
    zeros + 30,
    zeros,
    jax.random.key(0),
  )
  jax.block_until_ready(result)
  jax.effects_barrier()
  assert result.words[0, 0, :2].tolist() == [A, PAD]
  assert len(steps) == 2


def test_greedy_is_argmax_and_beam_1_is_greedy():
  table, images = random_table(12, 2), random_images(30, 12)
  prefixes = [[A, B, C, 7, UNK][: i % 6] for i in range(30)]
  max_words = [1 + i % 10 for i in range(30)]
  greedy = run(table, images, DecodeOptions(max_words=10), prefixes, max_words)
  options = DecodeOptions('beam', beam_size=1, max_words=10, length_penalty=0.9)
  beam = run(table, images, options, prefixes, max_words)
  np.testing.assert_array_equal(beam.words, greedy.words)
  np.testing.assert_array_equal(beam.log_probs, greedy.log_probs)
  cuts = 0
  for row in range(30):
    words, log_prob, cut = greedy_by_hand(
      table, images[row], prefixes[row], max_words[row]
    )
    ((found, found_log_prob, _, found_cut),) = captions(greedy, row)
    assert (found, found_cut) == (words, cut)
    np.testing.assert_allclose(found_log_prob, log_prob, rtol=1e-5)
    cuts += cut
  assert 0 < cuts < 30


def test_finished_hypotheses_compete_with_live_ones():
  # The empty caption has .4.  "a" is likelier at first but then falls apart:
  # "a b" .6 * .5 = .3, "a c" .6 * .4 = .24, "a" .6 * .1 = .06.
  table = bigrams(
    {
      (START, A): 0.6,
      (START, END): 0.4,
      (A, B): 0.5,
      (A, C): 0.4,
      (A, END): 0.1,
      (B, END): 1.0,
      (C, END): 1.0,
    }
  )
  images = jnp.zeros((1, 7))
  options = DecodeOptions('beam', beam_size=2, num_best=2)
  first, second = captions(run(table, images, options), 0)
  assert (first[0], second[0]) == ((), (A, B))
  np.testing.assert_allclose(np.exp([first[1], second[1]]), [0.4, 0.3], 1e-5)
  # Per word it is the other way round: .3^(1/3) > .24^(1/3) > .4 > .06^(1/2).
  options = dataclasses.replace(options, length_penalty=1.0)
  first, second = captions(run(table, images, options), 0)
  assert (first[0], second[0]) == ((A, B), (A, C))
  np.testing.assert_allclose(first[2], np.log(0.3) / 3, rtol=1e-5)


def test_cut_hypotheses_compete_with_ended_ones():
  table = bigrams(
    {(START, A): 0.6, (START, END): 0.4, (A, A): 0.9, (A, END): 0.1}
  )
  options = DecodeOptions('beam', beam_size=3, num_best=3, max_words=2)
  result = run(table, jnp.zeros((1, 7)), options)
  found = captions(result, 0)
  assert [(c[0], c[3]) for c in found] == [
    ((A, A), True),
    ((), False),
    ((A,), False),
  ]
  assert result.num_targets[0].tolist() == [2, 1, 2]
  assert result.lengths[0].tolist() == [2, 0, 1]


@pytest.mark.parametrize('method', ['beam', 'sample'])
def test_barred_words_are_never_generated(method):
  # The model all but insists on the words that must not be said.
  table = random_table(7, 3, scale=0.5).at[..., jnp.array(NEVER)].add(20.0)
  table = table.at[..., END].add(-1.0)
  options = DecodeOptions(
    method, beam_size=4, num_best=4, num_samples=4, max_words=6
  )
  result = run(table, random_images(20, 7), options)
  said = result.words[np.arange(options.max_words) < result.lengths[..., None]]
  assert set(said) == {A, B, C}
  # Not renormalised: what is barred keeps its probability.
  assert (result.log_probs < -10 * result.num_targets).all()


def test_exact_length_of_samples():
  table = random_table(7, 4).at[..., END].add(20.0)
  max_words = [5, 1, 0, 3, 5, 2]
  options = DecodeOptions(
    'sample', num_samples=2, max_words=5, exact_length=True
  )
  result = run(table, random_images(6, 7), options, max_words=max_words)
  for row, expected in enumerate(max_words):
    for words, log_prob, _, cut in captions(result, row):
      assert len(words) == expected and cut
      assert END not in words
      assert np.isfinite(log_prob)
  np.testing.assert_array_equal(result.num_targets, result.lengths)


@pytest.mark.parametrize('method', ['beam', 'sample'])
def test_one_word_and_no_word_to_choose_from(method):
  options = DecodeOptions(
    method,
    beam_size=3,
    num_best=3,
    num_samples=3,
    top_p=0.5,
    length_penalty=1.0,
    max_words=3,
    exact_length=True,
  )
  table, images = random_table(5, 5), random_images(2, 5)
  result = run(table, images, options)
  for row in range(2):
    assert {c[0] for c in captions(result, row)} == {(A,) * 3}
  if method == 'beam':
    assert (result.log_probs[:, 1:] == -np.inf).all()
  # A model that holds every word impossible.
  result = run(jnp.full_like(table, -jnp.inf), images, options)
  assert (result.log_probs == -np.inf).all()
  assert (result.scores == -np.inf).all()
  assert not (result.lengths.any() or result.words.any())
  assert not result.cut.any()


def test_nan_is_an_error_that_names_the_row():
  images = random_images(3, 7).at[1].set(jnp.nan)
  with pytest.raises(InputError, match='row 1'):
    run(random_table(7, 0), images, DecodeOptions(max_words=2))
