"""Shortlists of images: what is ranked for each image, if not everything."""

import numpy as np

from mrnn_jax.metrics.score_matrix import blocks
from mrnn_jax.runtime.errors import InputError


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
  for rows in blocks(num_images, num_images):
    # |a - b|^2 without |a|^2, which is the same for the whole row.
    distances = squares - 2 * features[rows] @ features.T
    images = np.arange(num_images)[rows]
    distances[np.arange(len(images)), images] = -np.inf
    nearest[rows] = np.argsort(distances, axis=1, kind='stable')[:, :k]
  return nearest


def check_shortlist(shortlist: np.ndarray, num_images: int) -> np.ndarray:
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


class Listed:
  """Which sentences compete for an image: those of its shortlist, or all."""

  def __init__(self, shortlist: np.ndarray | None, owner: np.ndarray):
    """Take a shortlist.

    Args:
      shortlist: [N, k] images whose sentences compete for each; None: all.
      owner: [S] index of each sentence's image.
    """
    self._owner, self._num_own = owner, np.bincount(owner)
    if shortlist is not None:
      shortlist = check_shortlist(shortlist, len(self._num_own))
    self._shortlist = shortlist
    self._images: slice | None = None
    self._members = np.zeros((0, 0), bool)

  def __call__(self, sentences: np.ndarray, images: slice) -> np.ndarray | None:
    """Return [s, n] whether sentences [s] compete for n images; None: all."""
    if self._shortlist is None:
      return None
    if images != self._images:  # Mostly they are those of the block before.
      self._images = images
      near = self._shortlist[images]
      self._members = np.zeros((len(self._num_own), len(near)), bool)
      self._members[near, np.arange(len(near))[:, None]] = True
    return self._members[self._owner[sentences]]

  def lengths(self) -> np.ndarray:
    """Return [N] how many sentences compete for each image."""
    if self._shortlist is None:
      return np.full(len(self._num_own), len(self._owner))
    return self._num_own[self._shortlist].sum(axis=1)
