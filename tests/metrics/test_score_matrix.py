import numpy as np
import pytest
from ranked_lists import OWNER, SCORES

from mrnn_jax import metrics
from mrnn_jax.metrics import score_matrix
from mrnn_jax.runtime.errors import InputError


@pytest.mark.parametrize(
  ('num_rows', 'num_columns', 'size', 'expected'),
  [
    (7, 3, 6, [(0, 2), (2, 4), (4, 6), (6, 7)]),
    (4, 3, 6, [(0, 2), (2, 4)]),
    (3, 10, 6, [(0, 1), (1, 2), (2, 3)]),  # A row is never cut.
    (7, 1, 6, [(0, 6), (6, 7)]),
    (3, 0, 6, [(0, 3)]),
    (0, 3, 6, []),
  ],
)
def test_blocks_are_whole_rows(
  monkeypatch, num_rows, num_columns, size, expected
):
  monkeypatch.setattr(score_matrix, '_BLOCK', size)
  found = score_matrix.blocks(num_rows, num_columns)
  assert [(x.start, x.stop) for x in found] == expected


@pytest.mark.parametrize(
  ('owner', 'message'),
  [
    ([0, 0, 1], 'owners have shape'),
    ([0, 0, 1, 1], 'Image 2 has no sentence'),
    ([1, 2, 2, 1], 'Image 0 has no sentence'),
    ([0, 1, 2, 3], 'index of one of 3 images'),
    ([0, 1, 2, -1], 'index of one of 3 images'),
    ([0.0, 1.0, 2.0, 2.0], 'index of one of 3 images'),
  ],
)
def test_scores_and_owners_must_fit_each_other(owner, message):
  for measure in (metrics.image_to_text_ranks, metrics.text_to_image_ranks):
    with pytest.raises(InputError, match=message):
      measure(SCORES, np.array(owner))


@pytest.mark.parametrize(
  'scores', [np.zeros(4), np.zeros((4, 3, 1)), np.zeros((0, 3))]
)
def test_scores_are_a_matrix(scores):
  with pytest.raises(InputError, match='need one row for each sentence'):
    score_matrix.check(scores, np.zeros(len(scores), int))


def test_what_fits_is_returned_as_arrays():
  scores, owner = score_matrix.check(SCORES.tolist(), OWNER.tolist())
  np.testing.assert_array_equal(scores, SCORES)
  np.testing.assert_array_equal(owner, OWNER)


def test_the_first_score_that_is_not_finite_is_named():
  block, rows = np.zeros((3, 2)), np.array([10, 12, 11])
  score_matrix.check_finite(block, rows, slice(4, 6))
  block[2, 0], block[1, 1] = np.nan, -np.inf
  with pytest.raises(InputError, match='sentence 12 for image 5 is -inf'):
    score_matrix.check_finite(block, rows, slice(4, 6))
  listed = np.ones((3, 2), bool)
  listed[1, 1] = False
  with pytest.raises(InputError, match='sentence 11 for image 4 is nan'):
    score_matrix.check_finite(block, rows, slice(4, 6), listed)
  listed[2, 0] = False
  score_matrix.check_finite(block, rows, slice(4, 6), listed)


def test_pieces_are_of_few_columns(monkeypatch):
  monkeypatch.setattr(score_matrix, '_BLOCK', 4)
  monkeypatch.setattr(score_matrix, '_COLUMNS', 2)
  found = [
    (rows.start, rows.stop, columns.start, columns.stop)
    for rows, columns in score_matrix.pieces(3, 5)
  ]
  assert found == [
    (0, 2, 0, 2),
    (2, 3, 0, 2),
    (0, 2, 2, 4),
    (2, 3, 2, 4),
    (0, 3, 4, 5),
  ]
