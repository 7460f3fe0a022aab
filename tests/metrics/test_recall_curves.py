from fractions import Fraction
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from ranked_lists import OWNER, SCORES, image_lists, problems, sentence_lists

from mrnn_jax import metrics
from mrnn_jax.metrics import score_matrix

PERCENT = (0, 0.1, 5, 12.5, 20, 33, 50, 60, 75, 99, 100)


def _brute_curve(lists, percent):
  lists = list(lists)
  found = [
    [sum(x[: int(Fraction(str(p)) * len(x) / 100)]) for x in lists]
    for p in percent
  ]
  totals = [sum(x) for x in lists]
  return np.mean(found, axis=1), np.mean(np.divide(found, totals), axis=1)


def test_curves_by_hand():
  # Best first, true ones marked *, ties against us.  Image 0: s3, s2, s0*, s1*;
  # image 1: s3, s1, s2*, s0; image 2: s1, s3*, s0, s2.
  curve = metrics.image_to_text_recall_curve(
    SCORES, OWNER, percent=(25, 50, 75, 100)
  )
  assert curve['true_items'] == pytest.approx([0, 1 / 3, 3 / 3, 4 / 3])
  assert curve['share'] == pytest.approx([0, 1 / 3, (0.5 + 1 + 1) / 3, 1])
  # Ranks 2, 3, 1, 3 of three images.
  curve = metrics.text_to_image_recall_curve(
    SCORES, OWNER, percent=(33, 34, 67, 100)
  )
  assert curve['true_items'] == curve['share'] == [0, 0.25, 0.5, 1]


@settings(deadline=None, max_examples=50)
@given(problems(), st.sampled_from([1, 7, 1000]), st.sampled_from([1, 2, 99]))
def test_recall_curves_are_those_of_sorted_lists(problem, block, columns):
  scores, owner, shortlist = problem
  num_images = scores.shape[1]
  with mock.patch.multiple(score_matrix, _BLOCK=block, _COLUMNS=columns):
    curves = [
      metrics.image_to_text_recall_curve(scores, owner, percent=PERCENT),
      metrics.image_to_text_recall_curve(scores, owner, shortlist, PERCENT),
      metrics.text_to_image_recall_curve(scores, owner, percent=PERCENT),
    ]
  lists = [
    sentence_lists(scores, owner),
    sentence_lists(scores, owner, shortlist),
    image_lists(scores, owner),
  ]
  for curve, ordered in zip(curves, lists, strict=True):
    assert curve['percent'] == list(PERCENT)
    true_items, share = _brute_curve(ordered, PERCENT)
    assert curve['true_items'] == pytest.approx(true_items)
    assert curve['share'] == pytest.approx(share)
  assert curves[0]['true_items'][-1] == pytest.approx(len(owner) / num_images)
  assert all(curve['share'][-1] == 1 for curve in curves)
  assert all(curve['share'][0] == 0 for curve in curves)


def test_recall_curve_counts_whole_items():
  # 1000 sentences in their order; the image's own ones stand third and last.
  scores = np.zeros((1000, 2))
  scores[:, 0] = -np.arange(1000)
  owner = np.ones(1000, int)
  owner[[2, 999]] = 0
  scores[:, 1] = owner
  curve = metrics.image_to_text_recall_curve(
    scores, owner, percent=(0.2, 0.29, 0.3, 99.9, 100)
  )
  other = np.array([2, 2, 3, 998, 998])
  expected = (np.array([0, 0, 1, 1, 2]) + other) / 2
  assert curve['true_items'] == pytest.approx(expected)


def test_recall_curve_is_not_short_by_rounding():
  scores = np.broadcast_to(-np.arange(5000)[:, None], (5000, 1000))
  curve = metrics.image_to_text_recall_curve(
    scores, np.repeat(np.arange(1000), 5), percent=(1.12, 1.14)
  )
  assert curve['true_items'] == pytest.approx([56 / 1000, 57 / 1000])


def test_percent_grid_rises_to_the_whole_list():
  grid = np.array(metrics.RECALL_PERCENT)
  # Steps of .02 up to .08, of .1 up to .9, of 1 up to 100.
  expected = [0, 2, 4, 6, 8, *range(10, 100, 10), *range(100, 10100, 100)]
  np.testing.assert_allclose(grid, np.array(expected) / 100, rtol=1e-12)
  curve = metrics.text_to_image_recall_curve(SCORES, OWNER)
  assert curve['percent'] == grid.tolist()
