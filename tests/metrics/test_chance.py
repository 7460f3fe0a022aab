from fractions import Fraction
import itertools

import numpy as np
import pytest

from mrnn_jax import metrics
from mrnn_jax.runtime.errors import InputError


def _enumerated(num_own, lengths):
  """Summarise the best rank over all places that true items can have."""
  weights = {}
  for own, length in zip(num_own, lengths, strict=True):
    places = list(itertools.combinations(range(1, length + 1), own))
    for place in places:
      share = Fraction(1, len(places) * len(num_own))
      weights[place[0]] = weights.get(place[0], 0) + share
  ranks = sorted(weights)
  below = {r: sum(weights[x] for x in ranks if x <= r) for r in ranks}
  summary = {
    f'r@{k}': 100 * float(sum(weights[r] for r in ranks if r <= k))
    for k in (1, 5, 10)
  }
  low = min(r for r in ranks if below[r] >= Fraction(1, 2))
  high = min(r for r in ranks if below[r] > Fraction(1, 2))
  summary['median_rank'] = (low + high) / 2
  summary['mean_rank'] = float(sum(r * weights[r] for r in ranks))
  return summary


# Of 12 and of 24 the half is rounded up and down: the median lies between two
# ranks all the same.
@pytest.mark.parametrize(
  'num_own',
  [
    [1],
    [4],
    [1, 1],
    [2, 1, 3],
    [1, 1, 1, 1],
    [5, 1, 2, 3],
    [1] * 12,
    [1] * 13,
    [1] * 24,
  ],
)
def test_chance_by_enumeration(num_own):
  num_images = len(num_own)
  result = metrics.chance(np.array(num_own))
  assert result['image_to_text'] == pytest.approx(
    _enumerated(num_own, [sum(num_own)] * num_images)
  )
  assert result['text_to_image'] == pytest.approx(
    _enumerated([1], [num_images])
  )


def test_chance_within_shortlists():
  num_own = np.array([5, 1, 2, 3])
  shortlist = np.array([[0, 1], [1, 3], [2, 3], [0, 3]])
  result = metrics.chance(num_own, shortlist)
  assert result['image_to_text'] == pytest.approx(
    _enumerated(num_own, [6, 4, 5, 8])
  )


def test_chance_is_what_random_scores_give():
  rng = np.random.default_rng(0)
  num_own = rng.integers(1, 8, 50)
  owner = rng.permutation(np.repeat(np.arange(50), num_own))
  shortlist = metrics.nearest_images(rng.normal(size=(50, 3)), 20)
  for listed in (None, shortlist):
    ranks = np.concatenate(
      [
        metrics.image_to_text_ranks(
          rng.random((len(owner), 50), np.float32), owner, listed
        )
        for _ in range(400)
      ]
    )
    expected = metrics.chance(num_own, listed)['image_to_text']
    assert metrics.summarize_ranks(ranks) == pytest.approx(expected, rel=0.05)


def test_chance_is_the_published_one():
  # Table 3 of the paper: .1/.5/1.0, 631 (a sample's median) and .1/.5/1.0, 500.
  result = metrics.chance(np.full(1000, 5))
  to_text, to_image = result['image_to_text'], result['text_to_image']
  for summary in (to_text, to_image):
    assert [round(summary[f'r@{k}'], 1) for k in (1, 5, 10)] == [0.1, 0.5, 1.0]
  assert to_text['median_rank'] == 647
  assert to_image['median_rank'] == 500.5


@pytest.mark.parametrize('num_own', [[5, 0], [2, -1], []])
def test_chance_needs_sentences(num_own):
  with pytest.raises(InputError, match='at least one sentence'):
    metrics.chance(np.array(num_own, int))
