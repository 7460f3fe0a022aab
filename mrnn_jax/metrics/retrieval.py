"""Ranks of true items and what is told of them, for both directions.

S sentences, N images; owner [S] holds the index of each sentence's image, any
number of sentences per image but at least one.  Scores [S, N]: higher is
better, whatever they are.  Ties count against the true item.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from mrnn_jax.runtime.errors import InputError

# So many scores are compared at a time: they stay in the cache, and the memory
# needed does not grow with S times N.
_BLOCK = 1 << 18

# Percent of the list retrieved; fine where the curve bends.
RECALL_PERCENT = (
  *(i / 50 for i in range(5)),
  *(i / 10 for i in range(1, 10)),
  *range(1, 101),
)


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
  wrong, _ = _wrong_sentences(scores, owner, shortlist, best_only=True)
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
  scores, owner = _check(scores, owner)
  ranks = np.empty(len(owner), np.int64)
  for rows in _blocks(*scores.shape):
    block = scores[rows]
    _check_finite(block, rows.start)
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


def image_to_text_recall_curve(
  scores: np.ndarray,
  owner: np.ndarray,
  shortlist: np.ndarray | None = None,
  percent: Sequence[float] = RECALL_PERCENT,
) -> dict[str, list[float]]:
  """Follow the recall of sentence retrieval down the list (figure 3).

  Args:
    scores: [S, N] finite scores, higher is better.
    owner: [S] index of each sentence's image.
    shortlist: [N, k] as in ``image_to_text_ranks``; the list of an image is
      then that of its shortlist's sentences.
    percent: where to measure, in percent of the list retrieved; parts of an
      item are not retrieved.

  Returns:
    'percent': as given; 'true_items': at each, the mean number of the image's
    own sentences among those retrieved; 'share': the mean share of its own
    sentences.

  Raises:
    InputError: see ``image_to_text_ranks``.
  """
  wrong, lengths = _wrong_sentences(scores, owner, shortlist, best_only=False)
  # Sorted from the best: before the j-th own sentence stand j others.
  positions = wrong + np.arange(1, wrong.shape[1] + 1)
  num_own = np.bincount(np.asarray(owner))
  return _curve(positions, num_own, lengths, percent)


def text_to_image_recall_curve(
  scores: np.ndarray,
  owner: np.ndarray,
  percent: Sequence[float] = RECALL_PERCENT,
) -> dict[str, list[float]]:
  """Follow the recall of image retrieval down the list (figure 3).

  Args:
    scores: [S, N] finite scores, higher is better.
    owner: [S] index of each sentence's image.
    percent: where to measure, in percent of the list retrieved; parts of an
      item are not retrieved.

  Returns:
    'percent': as given; 'true_items' and 'share': at each, the share of the
    sentences whose image is among those retrieved; a sentence has one image,
    so both are the same.

  Raises:
    InputError: see ``text_to_image_ranks``.
  """
  ranks = text_to_image_ranks(scores, owner)
  ones = np.ones_like(ranks)
  return _curve(ranks[:, None], ones, ones * np.shape(scores)[1], percent)


def nearest_images(features: np.ndarray, k: int) -> np.ndarray:
  """Find the nearest images of each by Euclidean distance of raw features.

  Args:
    features: [N, D] finite features.
    k: length of the shortlists, 1 to N.

  Returns:
    [N, k] indices of images, nearest first: the image itself, then the others,
    equally near ones by index.

  Raises:
    InputError: k is not between 1 and N, or a feature is not finite.
  """
  features = np.asarray(features, np.float64)
  if features.ndim != 2:
    raise InputError(
      f'Features are one row for each image, not of shape {features.shape}.'
    )
  num_images = len(features)
  if not 1 <= k <= num_images:
    raise InputError(
      f'A shortlist of {k} images cannot be cut from {num_images}.'
    )
  finite = np.isfinite(features).all(axis=1)
  if not finite.all():
    raise InputError(f'The feature of image {np.argmin(finite)} is not finite.')
  squares = np.square(features).sum(axis=1)
  nearest = np.empty((num_images, k), np.int64)
  for rows in _blocks(num_images, num_images):
    # |a - b|^2 without |a|^2, which is the same for the whole row.
    distances = squares - 2 * features[rows] @ features.T
    images = np.arange(num_images)[rows]
    distances[np.arange(len(images)), images] = -np.inf
    nearest[rows] = np.argsort(distances, axis=1, kind='stable')[:, :k]
  return nearest


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
    shortlist = _check_shortlist(shortlist, num_images)
    lengths = num_own[shortlist].sum(axis=1)
  return {
    'image_to_text': _random_best_of(num_own, lengths),
    'text_to_image': _random_best_of(np.array([1]), np.array([num_images])),
  }


def _wrong_sentences(
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
  scores, owner = _check(scores, owner)
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
    for rows in _blocks(num_sentences, num_images):
      block = scores[rows]
      _check_finite(block, rows.start)
      for count, limit in zip(at_least, limits.T, strict=True):
        count += np.count_nonzero(block >= limit, axis=0)
  else:
    shortlist = _check_shortlist(shortlist, num_images)
    lengths = np.bincount(owner)[shortlist].sum(axis=1)
    for rows in _blocks(num_images, shortlist.shape[1] * table.shape[1]):
      sentences = table[shortlist[rows]].reshape(len(images[rows]), -1)
      listed = sentences >= 0
      block = scores[sentences, images[rows, None]]
      if not np.isfinite(block[listed]).all():
        row, column = np.argwhere(listed & ~np.isfinite(block))[0]
        _refuse(block[row, column], sentences[row, column], images[rows][row])
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


def _curve(
  positions: np.ndarray,
  num_own: np.ndarray,
  lengths: np.ndarray,
  percent: Sequence[float],
) -> dict[str, list[float]]:
  """Return the recall curve of true items at positions [Q, K] from 1.

  A query has num_own [Q] true items, the first so many positions of its row,
  and a list of lengths [Q].
  """
  percent = [float(x) for x in percent]
  is_own = np.arange(positions.shape[1]) < num_own[:, None]
  true_items, share = [], []
  for x in percent:
    # 1.14 % of 5000 is 57, though the product is rounded below it.
    retrieved = np.floor(x * lengths / 100 + 1e-9)
    found = np.count_nonzero(is_own & (positions <= retrieved[:, None]), axis=1)
    true_items.append(float(found.mean()))
    share.append(float((found / num_own).mean()))
  return {'percent': percent, 'true_items': true_items, 'share': share}


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


def _blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
  """Cut rows so that a block holds about ``_BLOCK`` numbers."""
  step = max(1, _BLOCK // max(1, num_columns))
  for start in range(0, num_rows, step):
    yield slice(start, min(start + step, num_rows))


def _check(
  scores: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return scores [S, N] and owner [S] as arrays that fit each other."""
  scores, owner = np.asarray(scores), np.asarray(owner)
  if scores.ndim != 2 or not scores.size or owner.shape != scores.shape[:1]:
    raise InputError(
      f'Scores of shape {scores.shape} need one row for each sentence, whose '
      f'owners have shape {owner.shape}, and one column for each image.'
    )
  num_images = scores.shape[1]
  if (
    not np.issubdtype(owner.dtype, np.integer)
    or not ((owner >= 0) & (owner < num_images)).all()
  ):
    raise InputError(
      f'The owner of a sentence must be the index of one of {num_images} '
      'images.'
    )
  counts = np.bincount(owner, minlength=num_images)
  if not counts.all():
    raise InputError(f'Image {np.argmin(counts)} has no sentence.')
  return scores, owner


def _check_shortlist(shortlist: np.ndarray, num_images: int) -> np.ndarray:
  """Return a shortlist [N, k] that holds every image's own index once."""
  shortlist = np.asarray(shortlist)
  if shortlist.ndim != 2 or len(shortlist) != num_images:
    raise InputError(
      f'A shortlist needs one row for each of {num_images} images, not shape '
      f'{shortlist.shape}.'
    )
  ordered = np.sort(shortlist, axis=1)
  if (
    not np.issubdtype(shortlist.dtype, np.integer)
    or (ordered[:, :1] < 0).any()
    or (ordered[:, -1:] >= num_images).any()
    or (ordered[:, 1:] == ordered[:, :-1]).any()
  ):
    raise InputError(
      f'A shortlist must name different ones of the {num_images} images by '
      'index.'
    )
  has_own = (shortlist == np.arange(num_images)[:, None]).any(axis=1)
  if not has_own.all():
    raise InputError(
      f'The shortlist of image {np.argmin(has_own)} lacks the image itself.'
    )
  return shortlist


def _check_finite(block: np.ndarray, first_sentence: int) -> None:
  """Refuse a block of whole rows of scores if one is not finite."""
  finite = np.isfinite(block)
  if not finite.all():
    row, column = np.argwhere(~finite)[0]
    _refuse(block[row, column], first_sentence + row, column)


def _refuse(score: float, sentence: int, image: int) -> None:
  raise InputError(
    f'The score of sentence {sentence} for image {image} is {score}: only '
    'finite scores can be ranked.'
  )
