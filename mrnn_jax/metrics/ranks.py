"""Ranks of true items and what is told of them, for both directions.

S sentences, N images, scores [S, N] and owner [S] as in ``score_matrix``.  Ties
count against the true item.
"""

import numpy as np

from mrnn_jax.metrics.score_matrix import blocks, check, check_finite, pieces
from mrnn_jax.metrics.shortlists import Listed
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
  return wrong.best_ranks()


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
  sentences = np.arange(len(owner))
  images = ImageRanks(scores[sentences, owner])
  for rows in blocks(*scores.shape):
    block = scores[rows]
    check_finite(block, sentences[rows], slice(0, scores.shape[1]))
    images.add(sentences[rows], block)
  return images.ranks


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


class ImageRanks:
  """Ranks of true images (text to image), from scores that come in blocks.

  Attributes:
    ranks: [S] as ``text_to_image_ranks``, once every score has come.
  """

  def __init__(self, true: np.ndarray):
    """Begin.

    Args:
      true: [S] the score of each sentence for its own image, as it comes.
    """
    self._true = true
    self.ranks = np.zeros(len(true), np.int64)

  def add(self, sentences: np.ndarray, block: np.ndarray) -> None:
    """Take in scores [s, n] of some sentences [s]."""
    # The true image counts itself: the 1 of the rank.
    at_least = block >= self._true[sentences, None]
    self.ranks[sentences] += np.count_nonzero(at_least, axis=1)


class WrongSentences:
  """Counts the wrong sentences not below an image's own, as scores come.

  What is counted needs the memory of the counts, whatever S times N is.

  Attributes:
    num_own: [N] sentences of each image.
    counted: [K, N] sentences so far that score at least as much as each of the
      image's own, from the best to the worst; own ones are counted too.
  """

  def __init__(self, true: np.ndarray, owner: np.ndarray, best_only: bool):
    """Begin.

    Args:
      true: [S] the score of each sentence for its own image, as it comes.
      owner: [S] index of each sentence's image.
      best_only: whether the best of an image's own alone is compared, K = 1.
    """
    self.num_own = np.bincount(owner)
    table = _own_sentences(owner, len(self.num_own))
    own = np.where(table >= 0, true[table], -np.inf)
    self._own = np.sort(own, axis=1)[:, ::-1]
    limits = self._own[:, :1] if best_only else self._own
    self._limits = np.ascontiguousarray(limits.T)
    self.counted = np.zeros(self._limits.shape, np.int64)

  def add(
    self, images: slice, block: np.ndarray, listed: np.ndarray | None = None
  ) -> None:
    """Take in a block.

    Args:
      images: n of them.
      block: [s, n] scores of some sentences.
      listed: [s, n] which of the sentences compete for an image; None: all.
    """
    for count, limit in zip(self.counted, self._limits, strict=True):
      at_least = block >= limit[images]
      if listed is not None:
        at_least &= listed
      count[images] += np.count_nonzero(at_least, axis=0)

  def wrong(self) -> np.ndarray:
    """Return [N, K] wrong sentences not below each of an image's own.

    From the best of its own to the worst; columns beyond their number mean
    nothing.
    """
    own = [
      np.count_nonzero(self._own >= limit[:, None], axis=1)
      for limit in self._limits
    ]
    return (self.counted - own).T

  def best_ranks(self) -> np.ndarray:
    """Return [N] ranks as ``image_to_text_ranks``."""
    return 1 + self.wrong()[:, 0]

  def positions(self) -> np.ndarray:
    """Return [N, K] where an image's own sentences stand in its list, from 1.

    Ties go against them; columns beyond their number mean nothing.
    """
    wrong = self.wrong()
    # Sorted from the best: before the j-th own sentence stand j others.
    return wrong + np.arange(1, wrong.shape[1] + 1)


def wrong_sentences(
  scores: np.ndarray,
  owner: np.ndarray,
  shortlist: np.ndarray | None,
  best_only: bool,
) -> tuple[WrongSentences, np.ndarray]:
  """Count the wrong sentences of a whole matrix.

  Returns:
    The counts, and [N] the lengths of the lists.
  """
  scores, owner = check(scores, owner)
  sentences = np.arange(len(owner))
  wrong = WrongSentences(scores[sentences, owner], owner, best_only)
  listed = Listed(shortlist, owner)
  for rows, columns in pieces(*scores.shape):
    block = scores[rows, columns]
    mask = listed(sentences[rows], columns)
    check_finite(block, sentences[rows], columns, mask)
    wrong.add(columns, block, mask)
  return wrong, listed.lengths()


def _own_sentences(owner: np.ndarray, num_images: int) -> np.ndarray:
  """Return [N, K] the sentences of each image, filled up with -1."""
  order = np.argsort(owner, kind='stable')
  counts = np.bincount(owner, minlength=num_images)
  first = np.cumsum(counts) - counts
  table = np.full((num_images, counts.max()), -1)
  table[owner[order], np.arange(len(owner)) - first[owner[order]]] = order
  return table
