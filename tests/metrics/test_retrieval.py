from fractions import Fraction
import itertools
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from mrnn_jax import metrics
from mrnn_jax.metrics import score_matrix
from mrnn_jax.runtime.errors import InputError

PERCENT = (0, 0.1, 5, 12.5, 20, 33, 50, 60, 75, 99, 100)
OWNER = np.array([0, 0, 1, 2])
SCORES = np.array(
  [
    [0.5, 0.5, 0.1],
    [0.4, 0.9, 0.9],
    [0.5, 0.9, 0.1],
    [0.6, 0.9, 0.2],
  ]
)


@st.composite
def _problems(draw):
  """Scores with many ties, owners, and a shortlist."""
  num_images = draw(st.integers(1, 6))
  extra = draw(st.lists(st.integers(0, num_images - 1), max_size=10))
  owner = draw(st.permutations([*range(num_images), *extra]))
  row = st.lists(st.integers(-2, 2), min_size=num_images, max_size=num_images)
  scores = draw(st.lists(row, min_size=len(owner), max_size=len(owner)))
  k = draw(st.integers(1, num_images))
  shortlist = []
  for i in range(num_images):
    others = draw(st.permutations([j for j in range(num_images) if j != i]))
    shortlist.append(draw(st.permutations([i, *others[: k - 1]])))
  return np.array(scores, np.float32), np.array(owner), np.array(shortlist)


def _lists(scores, owner, shortlist):
  """Whether each item is a true one, best first, for each image."""
  for i, column in enumerate(scores.T):
    listed = [s for s in range(len(owner)) if owner[s] in shortlist[i]]
    # Of equal scores the true ones come last.
    listed.sort(key=lambda s: (-column[s], owner[s] == i))
    yield [owner[s] == i for s in listed]


def _text_lists(scores, owner):
  for row, i in zip(scores, owner, strict=True):
    images = sorted(range(len(row)), key=lambda j: (-row[j], j == i))
    yield [j == i for j in images]


def _brute_curve(lists, percent):
  lists = list(lists)
  found = [
    [sum(x[: int(Fraction(str(p)) * len(x) / 100)]) for x in lists]
    for p in percent
  ]
  totals = [sum(x) for x in lists]
  return np.mean(found, axis=1), np.mean(np.divide(found, totals), axis=1)


def test_ranks_with_ties_by_hand():
  # Image 0: its best, .5, is met by .5 and beaten by .6.
  assert metrics.image_to_text_ranks(SCORES, OWNER).tolist() == [3, 3, 2]
  assert metrics.text_to_image_ranks(SCORES, OWNER).tolist() == [2, 3, 1, 3]


def test_constant_scores_are_the_worst_ranks():
  scores = np.zeros((4, 3))
  assert metrics.image_to_text_ranks(scores, OWNER).tolist() == [3, 4, 4]
  assert metrics.text_to_image_ranks(scores, OWNER).tolist() == [3, 3, 3, 3]


@settings(deadline=None, max_examples=50)
@given(_problems(), st.sampled_from([1, 7, 1000]))
def test_ranks_are_those_of_sorted_lists(problem, block):
  scores, owner, shortlist = problem
  everything = np.tile(np.arange(scores.shape[1]), (scores.shape[1], 1))
  with mock.patch.object(score_matrix, '_BLOCK', block):
    ranks = metrics.image_to_text_ranks(scores, owner)
    listed = metrics.image_to_text_ranks(scores, owner, shortlist)
    text_ranks = metrics.text_to_image_ranks(scores, owner)
  assert ranks.tolist() == [
    1 + x.index(True) for x in _lists(scores, owner, everything)
  ]
  assert listed.tolist() == [
    1 + x.index(True) for x in _lists(scores, owner, shortlist)
  ]
  assert text_ranks.tolist() == [
    1 + x.index(True) for x in _text_lists(scores, owner)
  ]


@settings(deadline=None, max_examples=50)
@given(_problems(), st.sampled_from([1, 7, 1000]))
def test_recall_curves_are_those_of_sorted_lists(problem, block):
  scores, owner, shortlist = problem
  num_images = scores.shape[1]
  everything = np.tile(np.arange(num_images), (num_images, 1))
  with mock.patch.object(score_matrix, '_BLOCK', block):
    curves = [
      metrics.image_to_text_recall_curve(scores, owner, percent=PERCENT),
      metrics.image_to_text_recall_curve(scores, owner, shortlist, PERCENT),
      metrics.text_to_image_recall_curve(scores, owner, percent=PERCENT),
    ]
  lists = [
    _lists(scores, owner, everything),
    _lists(scores, owner, shortlist),
    _text_lists(scores, owner),
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
  assert grid[0] == 0
  assert grid[-1] == 100
  assert (np.diff(grid) > 0).all()
  curve = metrics.text_to_image_recall_curve(SCORES, OWNER)
  assert curve['percent'] == grid.tolist()


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


@pytest.mark.parametrize('ranks', [[], [1, 0], [[1]], [np.nan]])
def test_summary_refuses_what_is_no_rank(ranks):
  with pytest.raises(InputError, match='Ranks are'):
    metrics.summarize_ranks(np.array(ranks))


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


def test_scores_outside_the_shortlist_are_not_looked_at():
  scores = SCORES.copy()
  scores[3, 1] = scores[3, 0] = np.nan
  shortlist = np.array([[0, 1], [1, 0], [2, 1]])
  ranks = metrics.image_to_text_ranks(scores, OWNER, shortlist)
  assert ranks.tolist() == [2, 2, 1]


@pytest.mark.parametrize(
  ('owner', 'shortlist', 'message'),
  [
    ([0, 0, 1], None, 'owners have shape'),
    ([0, 0, 1, 1], None, 'Image 2 has no sentence'),
    ([0, 1, 2, 3], None, 'index of one of 3 images'),
    ([0, 1, 2, -1], None, 'index of one of 3 images'),
    ([0.0, 1.0, 2.0, 2.0], None, 'index of one of 3 images'),
    ([0, 1, 2, 2], [[0, 1], [1, 2], [0, 1]], 'image 2 lacks the image'),
    ([0, 1, 2, 2], [[0, 0], [1, 2], [2, 1]], 'different ones'),
    ([0, 1, 2, 2], [[0, 3], [1, 2], [2, 1]], 'different ones'),
    ([0, 1, 2, 2], [[0, -1], [1, 2], [2, 1]], 'different ones'),
    ([0, 1, 2, 2], [[0, 1], [1, 2]], 'one row for each of 3'),
  ],
)
def test_arrays_must_fit_each_other(owner, shortlist, message):
  if shortlist is not None:
    shortlist = np.array(shortlist)
  with pytest.raises(InputError, match=message):
    metrics.image_to_text_ranks(SCORES, np.array(owner), shortlist)


def test_nearest_images_by_brute_force():
  rng = np.random.default_rng(0)
  features = rng.normal(size=(30, 4)).astype(np.float16)
  with mock.patch.object(score_matrix, '_BLOCK', 100):
    nearest = metrics.nearest_images(features, 7)
  wide = features.astype(float)
  distances = np.linalg.norm(wide[:, None] - wide, axis=-1)
  assert (nearest == np.argsort(distances, axis=1)[:, :7]).all()
  assert (nearest[:, 0] == np.arange(30)).all()


def test_nearest_images_hold_the_query_among_its_copies():
  nearest = metrics.nearest_images(np.ones((5, 3)), 2)
  assert nearest.tolist() == [[0, 1], [1, 0], [2, 0], [3, 0], [4, 0]]


@pytest.mark.parametrize(
  ('features', 'k', 'message'),
  [
    (np.ones((3, 2)), 0, 'shortlist of 0 images'),
    (np.ones((3, 2)), 4, 'cut from 3'),
    (np.array([[0.0], [np.nan]]), 1, 'image 1 is not finite'),
    (np.ones(3), 1, 'one row for each image'),
  ],
)
def test_nearest_images_refuse(features, k, message):
  with pytest.raises(InputError, match=message):
    metrics.nearest_images(features, k)


def _enumerated_chance(num_own, lengths):
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


@pytest.mark.parametrize(
  'num_own', [[1], [4], [1, 1], [2, 1, 3], [1, 1, 1, 1], [5, 1, 2, 3]]
)
def test_chance_by_enumeration(num_own):
  num_images = len(num_own)
  result = metrics.chance(np.array(num_own))
  assert result['image_to_text'] == pytest.approx(
    _enumerated_chance(num_own, [sum(num_own)] * num_images)
  )
  assert result['text_to_image'] == pytest.approx(
    _enumerated_chance([1], [num_images])
  )


def test_chance_within_shortlists():
  num_own = np.array([5, 1, 2, 3])
  shortlist = np.array([[0, 1], [1, 3], [2, 3], [0, 3]])
  result = metrics.chance(num_own, shortlist)
  assert result['image_to_text'] == pytest.approx(
    _enumerated_chance(num_own, [6, 4, 5, 8])
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


def test_chance_needs_sentences():
  with pytest.raises(InputError, match='at least one sentence'):
    metrics.chance(np.array([5, 0]))
