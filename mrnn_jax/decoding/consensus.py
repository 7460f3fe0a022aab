"""Consensus reranking: the caption most like those of similar images.

Among the hypotheses of a beam, the one is chosen that is most like what people
wrote for the training images nearest to the image (Mao et al. 2015, "mRNN-CR";
after Devlin et al. 2015): the mean of its m highest similarities, by CIDEr-D,
to the captions of its k nearest images.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mrnn_jax.data.vocabulary import tokenize
from mrnn_jax.metrics.cider_pool import CiderPool
from mrnn_jax.ranking.best_items import BestItems

if TYPE_CHECKING:
  from mrnn_jax.data import datasets


class Consensus:
  """What people wrote for training images, to choose captions by."""

  def __init__(
    self,
    features: 'datasets.Features | np.ndarray',
    captions: Sequence[Sequence[str]],
    num_neighbors: int,
    num_captions: int,
    size: int | None = None,
  ):
    """Take the training images.

    Args:
      features: [N, D] raw features of training images; read in blocks.
      captions: [N] their raw captions.
      num_neighbors: k, training images that are asked.
      num_captions: m, captions of theirs that count, the most similar ones.
      size: how many numbers of a feature, the first ones, tell how near images
        are; None: all.  Where features of several encoders are put together
        the largest ones would decide.
    """
    self._features, self._size = features, size
    self._pool = CiderPool(
      [' '.join(words) for text in texts if (words := tokenize(text))]
      for texts in captions
    )
    self._num_neighbors = min(num_neighbors, len(self._features))
    self._num_captions = num_captions

  def neighbors(self, features: np.ndarray, block: int = 1024) -> np.ndarray:
    """Return [Q, k] the training images nearest to each of some others.

    By Euclidean distance of the raw features, nearest first; equally near ones
    by number.

    Args:
      features: [Q, D] raw features.
      block: training images, and others, that are compared at a time.
    """
    best = BestItems(len(features), self._num_neighbors)
    for start in range(0, len(self._features), block):
      items = np.arange(start, min(start + block, len(self._features)))
      there = self._features[items][:, : self._size].astype(np.float64)
      for first in range(0, len(features), block):
        queries = np.arange(first, min(first + block, len(features)))
        asked = features[queries][:, : self._size].astype(np.float64)
        best.add(queries, items, -_squared_distances(asked, there))
    return best.items

  def scores(
    self, neighbors: np.ndarray, hypotheses: Sequence[str]
  ) -> list[float]:
    """Return how much each hypothesis is like the neighbours' captions.

    Args:
      neighbors: [k] training images, a row of ``neighbors``.
      hypotheses: captions of one image, tokenised.
    """
    similarities = self._pool.similarities(hypotheses, neighbors)
    if not similarities.shape[1]:  # Nobody has written a word of them.
      return [0.0] * len(hypotheses)
    best = np.sort(similarities, axis=1)[:, ::-1][:, : self._num_captions]
    return best.mean(axis=1).tolist()


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """Return [Q, B] squared distances of rows [Q, D] from rows [B, D], float32.

  Computed in float64: what is the same stays equally far in whatever block.
  """
  squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)
  return (squares - 2 * (a @ b.T)).astype(np.float32)
