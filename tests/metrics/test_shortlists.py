from unittest import mock

import numpy as np
import pytest
from ranked_lists import SCORES

from mrnn_jax import metrics
from mrnn_jax.metrics import score_matrix
from mrnn_jax.metrics.shortlists import check_shortlist
from mrnn_jax.runtime.errors import InputError


def test_nearest_images_by_hand():
  # On a line: 0, 1, 3, 7.
  features = np.array([[0.0], [1.0], [3.0], [7.0]])
  expected = [[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, 2, 1]]
  assert metrics.nearest_images(features, 3).tolist() == expected
  # By distance, not by angle or product: the long feature is far from all.
  features = np.array([[1.0, 0.0], [9.0, 0.0], [0.0, 1.0]])
  assert metrics.nearest_images(features, 2).tolist() == [
    [0, 2],
    [1, 0],
    [2, 0],
  ]


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


def test_shortlists_may_be_of_one_and_of_all():
  features = np.array([[0.0], [1.0], [3.0]])
  assert metrics.nearest_images(features, 1).tolist() == [[0], [1], [2]]
  assert metrics.nearest_images(features, 3).shape == (3, 3)


@pytest.mark.parametrize(
  ('features', 'k', 'message'),
  [
    (np.ones((3, 2)), 0, 'shortlist of 0 images'),
    (np.ones((3, 2)), 4, 'cut from 3'),
    (np.array([[0.0], [np.nan]]), 1, 'image 1 is not finite'),
    (np.array([[0.0, 1.0], [1.0, -np.inf]]), 1, 'image 1 is not finite'),
    (np.ones(3), 1, 'one row for each image'),
  ],
)
def test_nearest_images_refuse(features, k, message):
  with pytest.raises(InputError, match=message):
    metrics.nearest_images(features, k)


@pytest.mark.parametrize(
  ('shortlist', 'message'),
  [
    ([[0, 1], [1, 2], [0, 1]], 'image 2 lacks the image'),
    ([[0, 0], [1, 2], [2, 1]], 'different ones'),
    ([[0, 3], [1, 2], [2, 1]], 'different ones'),
    ([[0, -1], [1, 2], [2, 1]], 'different ones'),
    ([[3], [1], [2]], 'different ones'),
    ([[0, 1, 1], [1, 2, 0], [2, 1, 0]], 'different ones'),
    ([[0.0, 1.0], [1.0, 2.0], [2.0, 1.0]], 'different ones'),
    ([[0, 1], [1, 2]], 'one row for each of 3'),
    ([0, 1, 2], 'one row for each of 3'),
  ],
)
def test_a_shortlist_names_images_once_and_its_own(shortlist, message):
  with pytest.raises(InputError, match=message):
    metrics.image_to_text_ranks(
      SCORES, np.array([0, 1, 2, 2]), np.array(shortlist)
    )


def test_a_good_shortlist_is_returned_as_it_is():
  shortlist = [[2, 0], [1, 0], [0, 2]]
  assert check_shortlist(shortlist, 3).tolist() == shortlist
