"""The best items of each query, from scores that come in blocks."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Ranking:
  """The best items of each query, best first; scores natural logarithms.

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

  @classmethod
  def of(cls, scores: np.ndarray, k: int) -> 'BestItems':
    """Return the k best columns of each row of scores [Q, C]."""
    best = cls(len(scores), min(k, scores.shape[1]))
    best.add(np.arange(len(scores)), np.arange(scores.shape[1]), scores)
    return best

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
    items = np.concatenate(
      [self.items[queries], np.broadcast_to(items, scores.shape)], axis=1
    )
    scores = np.concatenate([self.scores[queries], scores], axis=1)
    best = np.lexsort((items, -scores), axis=1)[:, :k]
    self.items[queries] = np.take_along_axis(items, best, 1)
    self.scores[queries] = np.take_along_axis(scores, best, 1)
