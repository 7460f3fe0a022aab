import numpy as np
import pytest

from mrnn_jax.ranking.best_items import BestItems


def best_of(scores, k):
  scores = np.asarray(scores)
  best = BestItems(len(scores), min(k, scores.shape[1]))
  best.add(np.arange(len(scores)), np.arange(scores.shape[1]), scores)
  return best


def test_best_by_hand():
  best = best_of([[1.0, 3.0, 2.0], [5.0, 5.0, 5.0]], 2)
  assert best.items.tolist() == [[1, 2], [0, 1]]
  assert best.scores.tolist() == [[3, 2], [5, 5]]
  assert best.scores.dtype == np.float32


def test_fewer_items_than_asked_for_are_all_of_them():
  assert best_of([[1.0, 2.0]], 10).items.tolist() == [[1, 0]]


@pytest.mark.parametrize('k', [1, 3, 20])
def test_any_order_of_blocks_is_a_stable_sort_of_all(k):
  rng = np.random.default_rng(0)
  scores = rng.integers(-2, 3, (6, 20)).astype(np.float32)
  cuts = [slice(0, 7), slice(7, 8), slice(8, 20)]
  parts = [slice(0, 4), slice(4, 6)]
  blocks = [(rows, columns) for rows in parts for columns in cuts]
  best = BestItems(6, k)
  for i in rng.permutation(len(blocks)):
    rows, columns = blocks[i]
    queries, items = np.arange(6)[rows], np.arange(20)[columns]
    # Queries and items of a block in any order too.
    queries, items = rng.permutation(queries), rng.permutation(items)
    best.add(queries, items, scores[np.ix_(queries, items)])
  for row, items, found in zip(scores, best.items, best.scores, strict=True):
    expected = sorted(range(20), key=lambda i: (-row[i], i))[:k]  # noqa: B023
    assert items.tolist() == expected
    assert found.tolist() == row[expected].tolist()


def test_what_was_never_added_comes_last():
  best = BestItems(2, 3)
  best.add(np.array([1]), np.array([4, 2]), np.array([[-1e30, -1e30]]))
  assert best.items[1, :2].tolist() == [2, 4]
  assert best.scores[1, 2] == -np.inf
  assert (best.scores[0] == -np.inf).all()
