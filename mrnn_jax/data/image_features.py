"""The features of a split's images: in memory if they fit, else in a file.

An image may have several vectors, its views: the first is the whole image.
Letters: N images, K views, D numbers of a vector.
"""

from collections.abc import Mapping, Sequence
import sys
from typing import Any

import numpy as np

from mrnn_jax.data.feature_spool import FeatureSpool
from mrnn_jax.runtime import files

# What the feature of an image with several views is: the first of them, or
# their mean.
FIRST, AVERAGE = VIEWS = ('first', 'average')


class Features:
  """The image features [N, D] of a split.

  Attributes:
    dtype: of the features.
    size: D.
    cached_mb: MiB of memory that they take.
    view_flips: [K] which views are mirrored.
  """

  def __init__(
    self,
    source: Sequence[Mapping[str, Any]],
    cache_mb: float,
    view_flips: Sequence[bool] = (False,),
    views: str = FIRST,
  ):
    """Take a source of records.

    Args:
      source: records with 'feature' [D] and, where images have several views,
        'views' [K - 1, D].
      cache_mb: MiB up to which they are kept in memory; beyond that they are
        in a file (``FeatureSpool``), and where there is no place for it they
        are read from the records as they are needed.
      view_flips: [K] which views are mirrored.
      views: what an image's feature is, one of ``VIEWS``.
    """
    self._source = source
    self.view_flips = np.asarray(view_flips, bool)
    self._average = views == AVERAGE and self.num_views > 1
    first = np.asarray(source[0]['feature'])
    self.size = first.size
    # A mean is rounded once, to what models compute in.
    self.dtype = np.dtype(np.float32) if self._average else first.dtype
    shape = len(source), self.num_views * self.size
    size_mb = np.prod(shape, dtype=float) * first.itemsize / 2**20
    self._cache: np.ndarray | FeatureSpool | None = None
    self.cached_mb = size_mb if size_mb <= cache_mb else 0.0
    if size_mb <= cache_mb:
      self._cache = np.empty(shape, first.dtype)
      return
    try:
      self._cache = FeatureSpool(*shape, first.dtype)
    except OSError as error:
      print(
        f'note: no place for {size_mb:,.0f} MB of features in '
        f'{files.user_cache()} ({error.strerror}): they are read from the '
        'dataset again and again, which is slow.',
        file=sys.stderr,
      )

  @classmethod
  def of_array(cls, features: np.ndarray) -> 'Features':
    """Take features [N, D] that lie in memory."""
    made = cls([{'feature': x} for x in features], cache_mb=np.inf)
    made._cache = features
    return made

  def __len__(self) -> int:
    return len(self._source)

  @property
  def num_views(self) -> int:
    """K."""
    return len(self.view_flips)

  def keep(self, index: int, record: Mapping[str, Any]) -> None:
    """Keep what was read anyhow; all is, before any is asked for."""
    if self._cache is not None:
      self._cache[index] = self._of_record(record).reshape(-1)

  def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
    """Return the features of some images: [...] --> [..., D]."""
    if isinstance(indices, slice):
      indices = np.arange(len(self))[indices]
    if self._average:
      return self.views(indices).mean(-2, dtype=np.float32)
    if isinstance(self._cache, np.ndarray):
      return self._cache[:, : self.size][indices]
    if self._cache is not None:
      return self._cache[indices][..., : self.size]
    flat = [self._source[int(i)]['feature'] for i in np.ravel(indices)]
    return self._shaped(flat, indices, self.size)

  def views(self, indices: np.ndarray) -> np.ndarray:
    """Return all views of some images: [...] --> [..., K, D]."""
    if self._cache is not None:
      rows = self._cache[indices]
      return rows.reshape(*rows.shape[:-1], self.num_views, self.size)
    flat = [self._of_record(self._source[int(i)]) for i in np.ravel(indices)]
    return self._shaped(flat, indices, self.num_views, self.size)

  def drawn(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Return one view each of some images: [...], [...] --> [..., D]."""
    if isinstance(self._cache, np.ndarray):
      whole = self._cache.reshape(len(self), self.num_views, self.size)
      return whole[indices, views]
    rows = self.views(indices)
    return np.take_along_axis(rows, views[..., None, None], -2)[..., 0, :]

  def all(self) -> np.ndarray:
    """Return all features [N, D]; for splits that fit in memory."""
    return self[np.arange(len(self))]

  @staticmethod
  def _shaped(
    rows: list[np.ndarray], indices: np.ndarray, *shape: int
  ) -> np.ndarray:
    return np.stack(rows).reshape(*np.shape(indices), *shape)

  def _of_record(self, record: Mapping[str, Any]) -> np.ndarray:
    """Return the views [K, D] of a record."""
    feature = np.asarray(record['feature'])[None]
    if self.num_views == 1:
      return feature
    return np.concatenate([feature, record['views']])


class SelectedFeatures(Features):
  """The features [M, D] of some images, those of others being left."""

  def __init__(self, whole: Features, images: np.ndarray):
    """Take the features of N images, and the numbers [M] of those meant."""
    self._whole, self._images = whole, np.asarray(images)
    self.size, self.dtype = whole.size, whole.dtype
    self.view_flips, self.cached_mb = whole.view_flips, whole.cached_mb

  def __len__(self) -> int:
    return len(self._images)

  def keep(self, index: int, record: Mapping[str, Any]) -> None:
    """Refuse: they are kept where they come from."""
    raise TypeError('these are of features that are kept already.')

  def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
    """Return the features of some images: [...] --> [..., D]."""
    return self._whole[self._images[indices]]

  def views(self, indices: np.ndarray) -> np.ndarray:
    """Return all views of some images: [...] --> [..., K, D]."""
    return self._whole.views(self._images[indices])

  def drawn(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Return one view each of some images: [...], [...] --> [..., D]."""
    return self._whole.drawn(self._images[indices], views)


def feature_statistics(
  features: Features, num_views: int = 1, block: int = 1024
) -> dict[str, np.ndarray]:
  """Return mean and standard deviation [D] of features, float32.

  Reads blocks of images, once: nothing needs them all at once.

  Args:
    features: of N images.
    num_views: how many views of each, the first ones, count; 1: what their
      features are.
    block: images at a time.
  """
  block = max(1, block // num_views)

  def rows_of(index: np.ndarray) -> np.ndarray:
    if num_views == 1:
      return features[index]
    return features.views(index)[:, :num_views].reshape(-1, features.size)

  count, mean = 0, np.zeros(features.size)
  squares = np.zeros(features.size)  # Of differences from the mean.
  for start in range(0, len(features), block):
    index = np.arange(start, min(start + block, len(features)))
    rows = rows_of(index).astype(np.float64)
    own_mean = rows.mean(0)
    # Two means become one (Chan et al. 1979).
    apart, share = own_mean - mean, len(rows) / (count + len(rows))
    squares += np.square(rows - own_mean).sum(0)
    squares += np.square(apart) * (count * share)
    mean, count = mean + apart * share, count + len(rows)
  return {
    'mean': mean.astype(np.float32),
    'std': np.sqrt(squares / count).astype(np.float32),
  }
