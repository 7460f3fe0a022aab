"""Recall down the list of what is retrieved, for both directions (figure 3)."""

from collections.abc import Sequence

import numpy as np

from mrnn_jax.metrics.ranks import text_to_image_ranks, wrong_sentences

# Percent of the list retrieved; fine where the curve bends.
RECALL_PERCENT = (
  *(i / 50 for i in range(5)),
  *(i / 10 for i in range(1, 10)),
  *range(1, 101),
)


def image_to_text_recall_curve(
  scores: np.ndarray,
  owner: np.ndarray,
  shortlist: np.ndarray | None = None,
  percent: Sequence[float] = RECALL_PERCENT,
) -> dict[str, list[float]]:
  """Follow the recall of sentence retrieval down the list (figure 3).

  Args:
    scores: [S, N] finite scores, higher is better.
    owner: [S] index of each sentence's image.
    shortlist: [N, k] as in ``image_to_text_ranks``; the list of an image is
      then that of its shortlist's sentences.
    percent: where to measure, in percent of the list retrieved; parts of an
      item are not retrieved.

  Returns:
    'percent': as given; 'true_items': at each, the mean number of the image's
    own sentences among those retrieved; 'share': the mean share of its own
    sentences.

  Raises:
    InputError: see ``image_to_text_ranks``.
  """
  wrong, lengths = wrong_sentences(scores, owner, shortlist, best_only=False)
  return recall_curve(wrong.positions(), wrong.num_own, lengths, percent)


def text_to_image_recall_curve(
  scores: np.ndarray,
  owner: np.ndarray,
  percent: Sequence[float] = RECALL_PERCENT,
) -> dict[str, list[float]]:
  """Follow the recall of image retrieval down the list (figure 3).

  Args:
    scores: [S, N] finite scores, higher is better.
    owner: [S] index of each sentence's image.
    percent: where to measure, in percent of the list retrieved; parts of an
      item are not retrieved.

  Returns:
    'percent': as given; 'true_items' and 'share': at each, the share of the
    sentences whose image is among those retrieved; a sentence has one image,
    so both are the same.

  Raises:
    InputError: see ``text_to_image_ranks``.
  """
  ranks = text_to_image_ranks(scores, owner)
  ones = np.ones_like(ranks)
  lengths = ones * np.shape(scores)[1]
  return recall_curve(ranks[:, None], ones, lengths, percent)


def recall_curve(
  positions: np.ndarray,
  num_own: np.ndarray,
  lengths: np.ndarray,
  percent: Sequence[float] = RECALL_PERCENT,
) -> dict[str, list[float]]:
  """Follow the recall down lists whose true items' positions are known.

  Args:
    positions: [Q, K] of each query's true items in its list, from 1; only the
      first ``num_own`` of a row count.
    num_own: [Q] true items of each query.
    lengths: [Q] of the lists.
    percent: where to measure, in percent of the list retrieved.

  Returns:
    As ``image_to_text_recall_curve``.
  """
  percent = [float(x) for x in percent]
  is_own = np.arange(positions.shape[1]) < num_own[:, None]
  true_items, share = [], []
  for x in percent:
    # 1.14 % of 5000 is 57, though the product is rounded below it.
    retrieved = np.floor(x * lengths / 100 + 1e-9)
    found = np.count_nonzero(is_own & (positions <= retrieved[:, None]), axis=1)
    true_items.append(float(found.mean()))
    share.append(float((found / num_own).mean()))
  return {'percent': percent, 'true_items': true_items, 'share': share}
