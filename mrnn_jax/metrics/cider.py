"""CIDEr-D (Vedantam et al. 2015) as the COCO caption evaluation computes it."""

from collections import Counter
from collections.abc import Sequence
import functools
import math
from typing import NamedTuple

import numpy as np

from mrnn_jax.metrics.captions import check_captions

MAX_ORDER = 4
SIGMA = 6.0
SCALE = 10.0
# References whose vectors are kept, some kilobytes each.
_REMEMBERED = 1 << 15


class _Vector(NamedTuple):
  """A sentence's tf-idf vectors, one for each n-gram order, in one mapping."""

  weights: dict[tuple[str, ...], float]
  norms: list[float]
  length: int


def cider_d(
  hypotheses: Sequence[str],
  references: Sequence[Sequence[str]],
  documents: Sequence[Sequence[str]] | None = None,
) -> np.ndarray:
  """Compute the CIDEr-D of each hypothesis; the mean is the corpus's.

  The tf-idf vectors of n-grams, n = 1 to 4, of hypothesis and reference are
  compared by a cosine in which a weight of the hypothesis counts at most as
  much as the reference's, times exp(-(difference of lengths)^2 / (2 sigma^2)),
  sigma = 6; the mean over n and references, times 10.  The document frequency
  of an n-gram is the number of documents with it in at least one reference.
  With a single document, or where all share their words, every score is 0.

  Args:
    hypotheses: [N] tokenised captions, words separated by spaces.
    references: [N] tokenised references of each hypothesis, any number each.
    documents: the references of each image of the evaluated split, for the
      document frequencies; ``references`` if not given.  To be given where
      several hypotheses are of one image, which must count once.

  Returns:
    [N] float64, 0 to 10.

  Raises:
    InputError: see ``check_captions``.
  """
  check_captions(hypotheses, references)
  cider = CiderD(references if documents is None else documents)
  return np.asarray(
    [
      SCALE * cider.mean_similarity(hypothesis, texts)
      for hypothesis, texts in zip(hypotheses, references, strict=True)
    ]
  )


class CiderD:
  """Similarity of sentences by n-grams that few documents have."""

  def __init__(self, documents: Sequence[Sequence[str]]):
    """Count in how many documents each n-gram is.

    Args:
      documents: tokenised captions of each image.
    """
    frequencies: Counter[tuple[str, ...]] = Counter()
    for texts in documents:
      frequencies.update({gram for text in texts for gram in _ngrams(text)})
    log_documents = math.log(len(documents))

    def vector(text: str) -> _Vector:
      weights = {}
      squares = [0.0] * MAX_ORDER
      for gram, count in _ngrams(text).items():
        # An n-gram of no document weighs as one of a single document.
        idf = log_documents - math.log(max(1, frequencies[gram]))
        weights[gram] = count * idf
        squares[len(gram) - 1] += weights[gram] ** 2
      norms = [math.sqrt(square) for square in squares]
      return _Vector(weights, norms, len(text.split()))

    self._new_vector = vector
    self._vector = functools.lru_cache(_REMEMBERED)(vector)

  def similarity(self, hypothesis: str, reference: str) -> float:
    """Return the clipped and length-damped cosine, 0 to 1, the mean over n."""
    return _similarity(self._vector(hypothesis), self._vector(reference))

  def mean_similarity(
    self, hypothesis: str, references: Sequence[str]
  ) -> float:
    """Return the mean similarity to references; these alone are remembered."""
    own = self._new_vector(hypothesis)
    return float(
      np.mean([_similarity(own, self._vector(text)) for text in references])
    )


def _ngrams(text: str) -> Counter[tuple[str, ...]]:
  """Count the n-grams of a sentence, n = 1 to 4."""
  words = text.split()
  return Counter(
    tuple(words[i : i + n])
    for n in range(1, MAX_ORDER + 1)
    for i in range(len(words) - n + 1)
  )


def _similarity(hypothesis: _Vector, reference: _Vector) -> float:
  """Return the clipped and length-damped cosine, the mean over n."""
  products = [0.0] * MAX_ORDER
  for gram, weight in hypothesis.weights.items():
    other = reference.weights.get(gram)
    if other is not None:
      products[len(gram) - 1] += min(weight, other) * other
  # A product is 0 wherever a norm is.
  cosines = sum(
    product / (norm * other)
    for product, norm, other in zip(
      products, hypothesis.norms, reference.norms, strict=True
    )
    if product
  )
  difference = hypothesis.length - reference.length
  return cosines / MAX_ORDER * math.exp(-(difference**2) / (2 * SIGMA**2))
