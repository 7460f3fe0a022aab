"""Paired bootstrap over images: is a difference of two systems more than luck?

A measure is a function of sums over images, so that a resample costs one
product: R resamples as counts [R, N] times statistics [N, K] of the images.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from mrnn_jax.metrics.bleu import MAX_ORDER
from mrnn_jax.metrics.captions import check_captions
from mrnn_jax.runtime.errors import InputError

# Sums [..., K] -> the measure [...].
Measure = Callable[[np.ndarray], np.ndarray]


def resample(
  num_images: int, num_resamples: int = 1000, seed: int = 0
) -> np.ndarray:
  """Draw how often each image is in each resample, [R, N] counts."""
  rng = np.random.default_rng(seed)
  drawn = rng.integers(0, num_images, (num_resamples, num_images))
  counts = np.zeros((num_resamples, num_images))
  np.add.at(counts, (np.arange(num_resamples)[:, None], drawn), 1)
  return counts


def ratio(sums: np.ndarray) -> np.ndarray:
  """Return the first sum [..., 2] over the second: a mean, or a share."""
  return sums[..., 0] / sums[..., 1]


def percentage(sums: np.ndarray) -> np.ndarray:
  """Return the first sum [..., 2] in percent of the second."""
  return 100 * ratio(sums)


def bleu_statistics(
  hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> np.ndarray:
  """Count what BLEU is made of, for each image.

  Args:
    hypotheses: [N] tokenised captions, words separated by spaces.
    references: [N] tokenised references of each.

  Returns:
    [N, 10]: words of the hypothesis, of the closest reference (the shorter of
    two), and for n = 1 to 4 the n-grams that match and those there are.
  """
  check_captions(hypotheses, references)
  rows = []
  for hypothesis, texts in zip(hypotheses, references, strict=True):
    words = hypothesis.split()
    others = [text.split() for text in texts]
    closest = min(abs(len(x) - len(words)) * 1e6 + len(x) for x in others) % 1e6
    row = [len(words), closest]
    for n in range(1, MAX_ORDER + 1):
      most: Counter = Counter()
      for other in others:
        most |= _ngrams(other, n)
      row += [(_ngrams(words, n) & most).total(), max(0, len(words) - n + 1)]
    rows.append(row)
  return np.asarray(rows, np.float64)


def _ngrams(words: Sequence[str], n: int) -> Counter:
  return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def bleu_of(sums: np.ndarray) -> np.ndarray:
  """Return cumulative BLEU-4 [...] of sums [..., 10]; see ``metrics.bleu``."""
  words, closest = sums[..., 0], sums[..., 1]
  matches, totals = sums[..., 2::2], sums[..., 3::2]
  with np.errstate(divide='ignore', invalid='ignore'):
    precisions = np.where(totals > 0, matches / totals, 0)
    brevity = np.exp(np.minimum(0, 1 - closest / words))
    # Where one precision is 0, its logarithm makes all of it 0.
    return brevity * np.exp(np.log(precisions).mean(-1))


def difference(
  ours: np.ndarray, others: np.ndarray, measure: Measure, counts: np.ndarray
) -> dict[str, float | bool]:
  """Return how much one system is above another, and whether that is luck.

  Args:
    ours: [N, K] statistics of the images.
    others: [N, K] those of the other system, of the same images.
    measure: of sums [..., K].
    counts: [R, N] of ``resample``.

  Returns:
    'difference', the 95% interval 'low' to 'high' of resamples, and
    'significant': whether 0 is outside.

  Raises:
    InputError: the statistics are not of the same images.
  """
  if ours.shape != others.shape or ours.shape[:1] != counts.shape[1:]:
    raise InputError(
      f'Statistics of shapes {ours.shape} and {others.shape} cannot be paired '
      f'over {counts.shape[1]} images.'
    )
  resampled = measure(counts @ ours) - measure(counts @ others)
  low, high = np.percentile(resampled, [2.5, 97.5])
  return {
    'difference': float(measure(ours.sum(0)) - measure(others.sum(0))),
    'low': float(low),
    'high': float(high),
    'significant': bool(low > 0 or high < 0),
  }
