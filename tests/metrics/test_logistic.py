"""Logistic regression by hand-made numbers and plain search."""

import itertools

import numpy as np
import pytest

from mrnn_jax import metrics
from mrnn_jax.runtime.errors import InputError


def test_the_shares_of_two_groups_without_a_ridge():
  """One bit of evidence: the chances are the shares that were true."""
  evidence = np.asarray([[0.0]] * 4 + [[3.0]] * 5)
  true = [1, 0, 0, 0, 1, 1, 1, 1, 0]
  fitted = metrics.fit_logistic(evidence, true, ridge=0)
  np.testing.assert_allclose(fitted.chance([[0.0], [3.0]]), [1 / 4, 4 / 5])


def test_the_mean_of_the_chances_is_the_share_that_was_true():
  rng = np.random.default_rng(0)
  evidence = rng.normal(size=(200, 3))
  true = evidence[:, 0] + rng.normal(size=200) > 0.7
  fitted = metrics.fit_logistic(evidence, true, ridge=5.0)
  assert fitted.chance(evidence).mean() == pytest.approx(true.mean())


def test_nothing_near_costs_less():
  rng = np.random.default_rng(1)
  evidence = rng.normal(size=(50, 2)) * [3, 0.1] + [5, -2]
  true = rng.random(50) < 0.4
  fitted = metrics.fit_logistic(evidence, true, ridge=2.0)
  z = (evidence - evidence.mean(0)) / evidence.std(0)

  def cost(weights, bias):
    logits = z @ weights + bias
    bits = np.logaddexp(0, np.where(true, -logits, logits))
    return bits.sum() + np.square(weights).sum()  # ridge / 2 = 1.

  best = cost(fitted.weights, fitted.bias)
  for step in itertools.product((-1e-3, 0, 1e-3), repeat=3):
    assert cost(fitted.weights + step[:2], fitted.bias + step[2]) >= best


def test_evidence_that_never_changes_says_nothing():
  evidence = np.asarray([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0], [0.0, 7.0]])
  fitted = metrics.fit_logistic(evidence, [0, 1, 1, 0])
  assert fitted.weights[1] == pytest.approx(0)
  assert np.isfinite(fitted.chance(evidence)).all()


@pytest.mark.parametrize(
  ('evidence', 'true', 'message'),
  [
    (np.ones((3, 1)), [1, 1, 1], 'all outcomes are the same'),
    (np.ones((3, 1)), [0, 1], 'does not fit'),
    (np.full((2, 1), np.nan), [0, 1], 'not a finite'),
  ],
)
def test_what_cannot_be_fitted(evidence, true, message):
  with pytest.raises(InputError, match=message):
    metrics.fit_logistic(evidence, true)


def test_area_under_curve_counts_pairs():
  scores = [0.1, 0.4, 0.4, 0.9]
  true = [False, True, False, True]
  # .4 > .1, .4 = .4, .9 > .1, .9 > .4: 3.5 of 4 pairs.
  assert metrics.area_under_curve(scores, true) == 3.5 / 4
  rng = np.random.default_rng(0)
  scores, true = rng.integers(0, 9, 60), rng.random(60) < 0.3
  pairs = [(a > b) + (a == b) / 2 for a in scores[true] for b in scores[~true]]
  assert metrics.area_under_curve(scores, true) == pytest.approx(np.mean(pairs))
  with pytest.raises(InputError, match='all outcomes'):
    metrics.area_under_curve([1.0, 2.0], [True, True])


def test_brier_score():
  assert metrics.brier_score([0.5, 1.0], [True, False]) == (0.25 + 1) / 2
