from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from ranked_lists import OWNER, SCORES, image_lists, problems, sentence_lists

from mrnn_jax import metrics
from mrnn_jax.metrics import score_matrix
from mrnn_jax.runtime.errors import InputError


def test_ranks_with_ties_by_hand():
  # Image 0: its best, .5, is met by .5 and beaten by .6.
  assert metrics.image_to_text_ranks(SCORES, OWNER).tolist() == [3, 3, 2]
  assert metrics.text_to_image_ranks(SCORES, OWNER).tolist() == [2, 3, 1, 3]


def test_constant_scores_are_the_worst_ranks():
  scores = np.zeros((4, 3))
  assert metrics.image_to_text_ranks(scores, OWNER).tolist() == [3, 4, 4]
  assert metrics.text_to_image_ranks(scores, OWNER).tolist() == [3, 3, 3, 3]


@settings(deadline=None, max_examples=50)
@given(problems(), st.sampled_from([1, 7, 1000]), st.sampled_from([1, 2, 99]))
def test_ranks_are_those_of_sorted_lists(problem, block, columns):
  scores, owner, shortlist = problem
  with mock.patch.multiple(score_matrix, _BLOCK=block, _COLUMNS=columns):
    ranks = metrics.image_to_text_ranks(scores, owner)
    listed = metrics.image_to_text_ranks(scores, owner, shortlist)
    text_ranks = metrics.text_to_image_ranks(scores, owner)
  assert ranks.tolist() == [
    1 + x.index(True) for x in sentence_lists(scores, owner)
  ]
  assert listed.tolist() == [
    1 + x.index(True) for x in sentence_lists(scores, owner, shortlist)
  ]
  assert text_ranks.tolist() == [
    1 + x.index(True) for x in image_lists(scores, owner)
  ]


def test_scores_outside_the_shortlist_are_not_looked_at():
  scores = SCORES.copy()
  scores[3, 1] = scores[3, 0] = np.nan
  shortlist = np.array([[0, 1], [1, 0], [2, 1]])
  ranks = metrics.image_to_text_ranks(scores, OWNER, shortlist)
  assert ranks.tolist() == [2, 2, 1]


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('place', [(0, 0), (3, 1), (1, 2)])
@pytest.mark.parametrize('block', [4, 1000])
def test_a_score_that_is_not_finite_is_an_error(bad, place, block):
  scores = SCORES.copy()
  scores[place] = bad
  message = rf'sentence {place[0]} for image {place[1]} is -?(nan|inf)'
  everything = np.tile(np.arange(3), (3, 1))
  with mock.patch.object(score_matrix, '_BLOCK', block):
    for measure in (
      lambda: metrics.image_to_text_ranks(scores, OWNER),
      lambda: metrics.image_to_text_ranks(scores, OWNER, everything),
      lambda: metrics.text_to_image_ranks(scores, OWNER),
    ):
      with pytest.raises(InputError, match=message):
        measure()


def test_summary():
  summary = metrics.summarize_ranks(np.array([1, 4, 6, 30]))
  assert summary == {
    'r@1': 25.0,
    'r@5': 50.0,
    'r@10': 75.0,
    'median_rank': 5.0,
    'mean_rank': 10.25,
  }
  assert metrics.summarize_ranks(np.array([7, 2, 1]))['median_rank'] == 2.0


def test_a_rank_of_exactly_k_is_within_k():
  # One rank at each limit, and one just behind it.
  summary = metrics.summarize_ranks(np.array([1, 2, 5, 6, 10, 11, 11, 11]))
  assert [summary[f'r@{k}'] for k in (1, 5, 10)] == [12.5, 37.5, 62.5]


@pytest.mark.parametrize('ranks', [[], [1, 0], [[1]], [np.nan]])
def test_summary_refuses_what_is_no_rank(ranks):
  with pytest.raises(InputError, match='Ranks are'):
    metrics.summarize_ranks(np.array(ranks))
