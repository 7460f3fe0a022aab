import jax
import numpy as np
import pytest
from table_model import (
  NEVER,
  captions,
  greedy_by_hand,
  next_log_probs,
  random_images,
  random_table,
  run,
)

from mrnn_jax.data.vocabulary import END
from mrnn_jax.decoding.hypotheses import nucleus
from mrnn_jax.decoding.options import DecodeOptions

quick_nucleus = jax.jit(nucleus)


def first_words(table, image, num_samples, **kwargs):
  """Frequencies [V] of the first word, ##END## included."""
  options = DecodeOptions(
    'sample', num_samples=num_samples, max_words=1, **kwargs
  )
  result = run(table, image[None], options)
  drawn = np.where(result.lengths == 1, result.words[..., 0], END)
  return np.bincount(drawn.ravel(), minlength=len(image)) / num_samples


@pytest.mark.parametrize(
  'kwargs',
  [
    {},
    {'temperature': 0.5, 'top_k': 3},
    {'top_p': 0.6},
    {'top_k': 3, 'top_p': 0.7, 'temperature': 1.5},
  ],
  ids=str,
)
def test_samples_follow_the_truncated_distribution(kwargs):
  table, image = random_table(9, 6, scale=1.0), random_images(1, 9)[0]
  probs = np.exp(
    next_log_probs(table, image, ()) / kwargs.get('temperature', 1.0)
  )
  probs[list(NEVER)] = 0
  order = np.argsort(-probs)
  probs[order[kwargs.get('top_k') or len(probs) :]] = 0
  probs /= probs.sum()
  mass_before = np.cumsum(probs[order]) - probs[order]
  probs[order[mass_before >= kwargs.get('top_p', 1.0)]] = 0
  probs /= probs.sum()

  num_samples = 20000
  found = first_words(table, image, num_samples, **kwargs)
  assert ((found > 0) <= (probs > 0)).all()
  tolerance = 4.5 * np.sqrt(probs * (1 - probs) / num_samples)
  assert (np.abs(found - probs) <= tolerance + 1e-9).all()


@pytest.mark.parametrize(
  'kwargs',
  [
    {'temperature': 1e-38},
    {'top_k': 1},
    {'top_p': 1e-6},
  ],
  ids=str,
)
def test_sharp_sampling_is_greedy(kwargs):
  table, images = random_table(12, 8), random_images(30, 12)
  options = DecodeOptions('sample', num_samples=2, max_words=8, **kwargs)
  result = run(table, images, options)
  for row in range(30):
    words, log_prob, cut = greedy_by_hand(table, images[row], (), 8)
    for found in captions(result, row):
      assert (found[0], found[3]) == (words, cut)
      np.testing.assert_allclose(found[1], log_prob, rtol=1e-5)


def test_unlikely_words_are_no_danger_at_any_temperature():
  # The likeliest of so many has a log-probability below -3.4: divided by such
  # a temperature it would be no number of 32 bits.
  table, images = random_table(100, 8, scale=0.2), 0.1 * random_images(5, 100)
  options = DecodeOptions(
    'sample', num_samples=2, max_words=3, temperature=1e-38
  )
  result = run(table, images, options)
  for row in range(5):
    words, log_prob, _ = greedy_by_hand(table, images[row], (), 3)
    assert log_prob < 3 * -3.4
    for found in captions(result, row):
      assert found[0] == words


def test_samples_are_the_same_however_many_are_drawn():
  table, images = random_table(9, 10, scale=1.0), random_images(11, 9)
  few, many = (
    run(table, images, DecodeOptions('sample', num_samples=n)).words
    for n in (2, 7)
  )
  np.testing.assert_array_equal(few, many[:, :2])
  rows = {row.tobytes() for row in many.reshape(-1, many.shape[-1])}
  assert len(rows) > 20  # Neither rows nor samples share their draws.


def test_nucleus_is_the_fewest_words_that_have_the_mass():
  # 1/2, 1/4, 1/8 and 1/8 exactly.
  logits = np.log(np.array([[4, 2, 1, 1], [1, 1, 4, 2]], np.float32))
  kept = np.asarray(quick_nucleus(logits, 0.75)) > -np.inf
  assert kept.tolist() == [
    [True, True, False, False],
    [False, False, True, True],
  ]


def test_nucleus():
  probs = np.array([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.4, 0.1]])
  logits = (np.log(probs) + 3).astype(np.float32)
  for top_p, expected in (
    (0.39, [[1], [2]]),
    (0.69, [[1, 3], [0, 1, 2]]),
    (0.71, [[1, 2, 3], [0, 1, 2]]),
    (0.95, [[0, 1, 2, 3], [0, 1, 2, 3]]),
  ):
    kept = np.asarray(quick_nucleus(logits, top_p))
    for row in range(2):
      assert np.flatnonzero(kept[row] > -np.inf).tolist() == expected[row]
      np.testing.assert_array_equal(
        kept[row][kept[row] > -np.inf], logits[row][kept[row] > -np.inf]
      )
