"""What rankings by chance would give."""

import numpy as np

from mrnn_jax.metrics.shortlists import check_shortlist
from mrnn_jax.runtime.errors import InputError


def chance(
  num_own: np.ndarray, shortlist: np.ndarray | None = None
) -> dict[str, dict[str, float]]:
  """Compute what random rankings would give, exactly.

  Args:
    num_own: [N] number of sentences of each image.
    shortlist: [N, k] as in ``image_to_text_ranks``.

  Returns:
    'image_to_text' and 'text_to_image', each as ``summarize_ranks`` gives:
    the expected R@K in percent and mean rank, and the median of the
    distribution of the rank (of a query drawn at random).

  Raises:
    InputError: an image has no sentence, or a shortlist lacks its own image.
  """
  num_own = np.asarray(num_own)
  num_images = len(num_own)
  if not num_images or not (num_own >= 1).all():
    raise InputError('Every image needs at least one sentence.')
  if shortlist is None:
    lengths = np.full(num_images, num_own.sum())
  else:
    shortlist = check_shortlist(shortlist, num_images)
    lengths = num_own[shortlist].sum(axis=1)
  return {
    'image_to_text': _random_best_of(num_own, lengths),
    'text_to_image': _random_best_of(np.array([1]), np.array([num_images])),
  }


def _random_best_of(
  num_own: np.ndarray, lengths: np.ndarray
) -> dict[str, float]:
  """Summarise the best rank of num_own [Q] items in shuffled lists [Q]."""
  # cumulative[r] = P(rank <= r), all queries being equally likely.
  cumulative = np.zeros(lengths.max() + 1)
  cases, weights = np.unique(
    np.stack([num_own, lengths]), axis=1, return_counts=True
  )
  weights = weights / weights.sum()
  mean = 0.0
  for own, length, weight in zip(*cases, weights, strict=True):
    # All of the first r items are wrong ones.
    r = np.arange(length - own)
    missed = np.cumprod((length - own - r) / (length - r))
    cumulative += weight
    cumulative[0] -= weight
    cumulative[1 : len(missed) + 1] -= weight * missed
    mean += weight * (length + 1) / (own + 1)
  summary = {
    f'r@{k}': 100 * float(cumulative[min(k, len(cumulative) - 1)])
    for k in (1, 5, 10)
  }
  # Where exactly one half lies below, the median is between two ranks.
  middle = np.searchsorted(cumulative, [0.5 - 1e-9, 0.5 + 1e-9])
  summary['median_rank'] = float(middle.mean())
  summary['mean_rank'] = float(mean)
  return summary
