"""The best items of each query, from scores that come in blocks."""

from collections.abc import Callable, Iterable
import dataclasses
from typing import Protocol

import numpy as np

# Sentence numbers [s], images, and the scores [s, n] of a block of a matrix.
Block = tuple[np.ndarray, slice, np.ndarray]


class Vectors(Protocol):
  """Raw features [N, D]: an array, or what slices like one."""

  def __len__(self) -> int: ...

  def __getitem__(self, key: slice, /) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class Ranking:
  """The best items of each query, best first.

  Scores are natural logarithms, or cosines of a joint embedding.

  Attributes:
    sentences: [N, k] numbers of the best sentences of each image.
    sentence_scores: [N, k] log P(w|I) / P(w), or -log PPL(w|I).
    images: [S, k] numbers of the best images of each sentence.
    image_scores: [S, k] log P(w|I).
  """

  sentences: np.ndarray
  sentence_scores: np.ndarray
  images: np.ndarray
  image_scores: np.ndarray


class BestItems:
  """The k best items of each query, from scores that come in blocks.

  Equal scores keep the order of the items' numbers, so the result is that of a
  stable sort of the whole matrix, in whatever order blocks come.

  Attributes:
    items: [queries, k] numbers of items, best first.
    scores: [queries, k] their scores.
  """

  def __init__(self, num_queries: int, k: int):
    """Begin with nothing."""
    self.items = np.full((num_queries, k), np.iinfo(np.int64).max)
    self.scores = np.full((num_queries, k), -np.inf, np.float32)

  def add(
    self, queries: np.ndarray, items: np.ndarray, scores: np.ndarray
  ) -> None:
    """Take a block in.

    Args:
      queries: [q] numbers of queries.
      items: [n] numbers of items, none of which these queries have had.
      scores: [q, n].
    """
    k = self.items.shape[1]
    if scores.shape[1] > 4 * k:
      items, scores = _best_of_block(items, scores, k)
    items = np.concatenate(
      [self.items[queries], np.broadcast_to(items, scores.shape)], axis=1
    )
    scores = np.concatenate([self.scores[queries], scores], axis=1)
    best = np.lexsort((items, -scores), axis=1)[:, :k]
    self.items[queries] = np.take_along_axis(items, best, 1)
    self.scores[queries] = np.take_along_axis(scores, best, 1)


def _best_of_block(
  items: np.ndarray, scores: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
  """Return what of a block may be among the best k of a query.

  Args:
    items: [n] numbers.
    scores: [q, n].
    k: less than n.

  Returns:
    Numbers and scores [q, m], m >= k: the best of each, with all that are as
    good as its k-th.
  """
  limit = np.partition(scores, -k, axis=1)[:, -k, None]
  # As many as the query with the most: few, but where many scores are equal.
  count = int(np.count_nonzero(scores >= limit, axis=1).max())
  kept = np.argpartition(scores, -count, axis=1)[:, -count:]
  return items[kept], np.take_along_axis(scores, kept, 1)


def best_of_both(
  blocks: Iterable[Block],
  num_sentences: int,
  num_images: int,
  top: int,
  of_sentences: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> Ranking:
  """Return the best of each image and of each sentence, as blocks come.

  Only the best are kept: memory does not grow with S x N.

  Args:
    blocks: of the scores that images are ranked by.
    num_sentences: S.
    num_images: N.
    top: how many to return for each query, at most.
    of_sentences: sentence numbers [s] and a block [s, n] -> the scores [s, n]
      that sentences are ranked by.
  """
  best_sentences = BestItems(num_images, min(top, num_sentences))
  best_images = BestItems(num_sentences, min(top, num_images))
  for rows, columns, block in blocks:
    images = np.arange(columns.start, columns.stop)
    best_images.add(rows, images, block)
    best_sentences.add(images, rows, of_sentences(rows, block).T)
  return Ranking(
    sentences=best_sentences.items,
    sentence_scores=best_sentences.scores,
    images=best_images.items,
    image_scores=best_images.scores,
  )
