"""What retrieval is measured from: scores that come in blocks.

S sentences, N images; blocks of scores [s, n] as rankers yield them.  Higher is
better.
"""

from collections.abc import Callable, Iterable, Mapping
import dataclasses
import functools

import numpy as np

from mrnn_jax.metrics.score_matrix import blocks, pieces
from mrnn_jax.ranking.best_items import Block
from mrnn_jax.ranking.ranker import log_mean_exp

# Numbers of training images for which the effect of K is told.
NORM_STEPS = (0, 10, 30, 100, 300, 1000)
# Sentence numbers [s] and scores [s, n] that images are ranked by -> scores
# that sentences are ranked by.
Way = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Scores:
  """The scores of joint embeddings: one cosine serves both directions.

  Attributes:
    owner: [S] the image that each sentence was written for.
    true: [S] the score of each sentence for its own image, as it stands in the
      blocks, to the bit.
  """

  owner: np.ndarray
  true: np.ndarray

  @property
  def ways(self) -> Mapping[int, Way]:
    """What sentences are ranked by, by K (here 0)."""
    return {0: lambda sentences, block: block}

  @property
  def num_norm_images(self) -> int:
    """K of the way that retrieval is told by."""
    return 0


@dataclasses.dataclass(frozen=True)
class LogProbabilities(Scores):
  """Scores by log P(sentence | image), natural logarithms (section 6).

  Images are ranked by P(w|I), sentences by P(w|I) / P(w), or by perplexity
  where P(w) is estimated from no image.

  Attributes:
    lengths: [S] target words of each sentence, ``##END##`` among them.
    norm_log_probs: [S, K] log P(w|I) for training images drawn by seed; any
      first ones of them are a draw too.
  """

  lengths: np.ndarray
  norm_log_probs: np.ndarray

  @property
  def num_norm_images(self) -> int:
    """K of the way that retrieval is told by."""
    return self.norm_log_probs.shape[1]

  @functools.cached_property
  def ways(self) -> Mapping[int, Way]:
    """What sentences are ranked by for K images, and for smaller numbers.

    For 0 it is 1 / PPL(w|I), as logarithm.
    """
    K = self.num_norm_images
    steps = sorted({k for k in NORM_STEPS if k <= K} | {K})
    return {k: self._ratio(k) if k else self._by_perplexity for k in steps}

  def _ratio(self, k: int) -> Way:
    log_means = np.empty(len(self.owner), np.float32)
    # In parts: they are computed in float64.
    for rows in blocks(len(log_means), k):
      log_means[rows] = log_mean_exp(self.norm_log_probs[rows, :k])
    return lambda sentences, block: block - log_means[sentences, None]

  def _by_perplexity(
    self, sentences: np.ndarray, block: np.ndarray
  ) -> np.ndarray:
    return block / self.lengths[sentences, None].astype(np.float32)


def of_matrix(matrix: np.ndarray) -> Iterable[Block]:
  """Yield the blocks of a matrix [S, N], which may be on disk."""
  sentences = np.arange(len(matrix))
  for rows, columns in pieces(*matrix.shape):
    yield sentences[rows], columns, np.asarray(matrix[rows, columns])


def true_of_matrix(matrix: np.ndarray, owner: np.ndarray) -> np.ndarray:
  """Return [S] the scores of sentences for their own images."""
  return np.asarray(matrix[np.arange(len(owner)), owner])
