"""Consensus reranking: the caption most like those of similar images.

Among the hypotheses of a beam, the one is chosen that is most like what people
wrote for the training images nearest to the image (Mao et al. 2015, "mRNN-CR";
after Devlin et al. 2015): the mean of its m highest similarities, by CIDEr-D,
to the captions of its k nearest images.
"""

from collections.abc import Sequence

import numpy as np

from mrnn_jax.metrics.cider import CiderD
from mrnn_jax.vocabulary import tokenize


class Consensus:
  """What people wrote for training images, to choose captions by."""

  def __init__(
    self,
    features: np.ndarray,
    captions: Sequence[Sequence[str]],
    num_neighbors: int,
    num_captions: int,
  ):
    """Take the training images.

    Args:
      features: [N, D] raw features of training images.
      captions: [N] their raw captions.
      num_neighbors: k, training images that are asked.
      num_captions: m, captions of theirs that count, the most similar ones.
    """
    self._features = np.asarray(features, np.float32)
    self._squares = np.square(self._features).sum(1)
    self._captions = [
      [' '.join(words) for text in texts if (words := tokenize(text))]
      for texts in captions
    ]
    self._cider = CiderD(self._captions)
    self._num_neighbors = min(num_neighbors, len(self._features))
    self._num_captions = num_captions

  def neighbors(self, feature: np.ndarray) -> np.ndarray:
    """Return [k] the training images nearest to a feature [D], nearest first.

    By Euclidean distance of the raw features; equally near ones by number.
    """
    # |a - b|^2 without |a|^2, which is the same for all.
    distances = self._squares - 2 * (self._features @ feature.astype('f4'))
    return np.argsort(distances, kind='stable')[: self._num_neighbors]

  def scores(
    self, feature: np.ndarray, hypotheses: Sequence[str]
  ) -> list[float]:
    """Return how much each hypothesis is like the neighbours' captions.

    Args:
      feature: [D] raw feature of the image.
      hypotheses: its captions, tokenised.
    """
    texts = [t for i in self.neighbors(feature) for t in self._captions[i]]
    scores = []
    for hypothesis in hypotheses:
      similarities = [self._cider.similarity(hypothesis, t) for t in texts]
      best = sorted(similarities, reverse=True)[: self._num_captions]
      scores.append(sum(best) / len(best))
    return scores
