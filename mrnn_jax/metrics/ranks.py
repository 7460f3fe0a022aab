"""Ranks of true items and what is told of them, for both directions.

S sentences, N images, scores [S, N] and owner [S] as in ``score_matrix``.  Ties
count against the true item.
"""

import numpy as np

from mrnn_jax.metrics.score_matrix import blocks, check, check_finite, refuse
from mrnn_jax.metrics.shortlists import check_shortlist
from mrnn_jax.runtime.errors import InputError


def image_to_text_ranks(
  scores: np.ndarray, owner: np.ndarray, shortlist: np.ndarray | None = None
) -> np.ndarray:
  """Rank sentences for each image (sentence retrieval).

  Args:
    scores: [S, N] finite scores, higher is better.
    owner: [S] index of each sentence's image.
    shortlist: [N, k] indices of the images whose sentences are ranked for each
      image, itself among them (see ``nearest_images``); the scores of other
      sentences are not looked at.  All sentences are ranked without it.

  Returns:
    [N] ranks: 1 + the number of other images' sentences that score at least as
    much as the best of the image's own.

  Raises:
    InputError: a score is not finite, the arrays do not fit each other, an
      image has no sentence, or a shortlist lacks its own image.
  """
  wrong, _ = wrong_sentences(scores, owner, shortlist, best_only=True)
  return 1 + wrong[:, 0]


def text_to_image_ranks(scores: np.ndarray, owner: np.ndarray) -> np.ndarray:
  """Rank images for each sentence (image retrieval).

  Args:
    scores: [S, N] finite scores, higher is better.
    owner: [S] index of each sentence's image.

  Returns:
    [S] ranks: 1 + the number of wrong images that score at least as much.

  Raises:
    InputError: a score is not finite, the arrays do not fit each other, or an
      image has no sentence.
  """
  scores, owner = check(scores, owner)
  ranks = np.empty(len(owner), np.int64)
  for rows in blocks(*scores.shape):
    block = scores[rows]
    check_finite(block, rows.start)
    true = np.take_along_axis(block, owner[rows, None], axis=1)
    # The true image counts itself: the 1 of the rank.
    ranks[rows] = np.count_nonzero(block >= true, axis=1)
  return ranks


def summarize_ranks(ranks: np.ndarray) -> dict[str, float]:
  """Summarise ranks as R@K and the median (section 7.2 of the paper).

  Args:
    ranks: [Q] rank of the true item of each query, from 1.

  Returns:
    'r@1', 'r@5', 'r@10': percent of the queries with a rank of at most 1, 5
    and 10; 'median_rank': the mean of the two middle ones when Q is even;
    'mean_rank'.

  Raises:
    InputError: there is no rank, or one below 1.
  """
  ranks = np.asarray(ranks)
  if ranks.ndim != 1 or not ranks.size or not (ranks >= 1).all():
    raise InputError('Ranks are one number from 1 for each of the queries.')
  summary = {f'r@{k}': 100 * float(np.mean(ranks <= k)) for k in (1, 5, 10)}
  summary['median_rank'] = float(np.median(ranks))
  summary['mean_rank'] = float(np.mean(ranks))
  return summary


def wrong_sentences(
  scores: np.ndarray,
  owner: np.ndarray,
  shortlist: np.ndarray | None,
  best_only: bool,
) -> tuple[np.ndarray, np.ndarray]:
  """Count the wrong sentences not below each of an image's own.

  Returns:
    [N, K] counts for the image's own sentences from the best to the worst
    (columns beyond their number mean nothing), K = 1 for the best alone; [N]
    the lengths of the lists.
  """
  scores, owner = check(scores, owner)
  num_sentences, num_images = scores.shape
  images = np.arange(num_images)
  table = _own_sentences(owner, num_images)
  own = scores[table, images[:, None]]
  own = np.where(table >= 0, own, -np.inf)
  own = np.sort(own, axis=1)[:, ::-1]
  limits = own[:, :1] if best_only else own

  at_least = np.zeros((limits.shape[1], num_images), np.int64)
  if shortlist is None:
    lengths = np.full(num_images, num_sentences)
    for rows in blocks(num_sentences, num_images):
      block = scores[rows]
      check_finite(block, rows.start)
      for count, limit in zip(at_least, limits.T, strict=True):
        count += np.count_nonzero(block >= limit, axis=0)
  else:
    shortlist = check_shortlist(shortlist, num_images)
    lengths = np.bincount(owner)[shortlist].sum(axis=1)
    for rows in blocks(num_images, shortlist.shape[1] * table.shape[1]):
      sentences = table[shortlist[rows]].reshape(len(images[rows]), -1)
      listed = sentences >= 0
      block = scores[sentences, images[rows, None]]
      if not np.isfinite(block[listed]).all():
        row, column = np.argwhere(listed & ~np.isfinite(block))[0]
        refuse(block[row, column], sentences[row, column], images[rows][row])
      for count, limit in zip(at_least, limits.T, strict=True):
        count[rows] = np.count_nonzero(
          listed & (block >= limit[rows, None]), axis=1
        )
  for count, limit in zip(at_least, limits.T, strict=True):
    count -= np.count_nonzero(own >= limit[:, None], axis=1)
  return at_least.T, lengths


def _own_sentences(owner: np.ndarray, num_images: int) -> np.ndarray:
  """Return [N, K] the sentences of each image, filled up with -1."""
  order = np.argsort(owner, kind='stable')
  counts = np.bincount(owner, minlength=num_images)
  first = np.cumsum(counts) - counts
  table = np.full((num_images, counts.max()), -1)
  table[owner[order], np.arange(len(owner)) - first[owner[order]]] = order
  return table
