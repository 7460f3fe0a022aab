"""The features of a split's images: cached if they fit, else read when needed.

An image may have several vectors, its views: the first is the whole image.
Letters: N images, K views, D numbers of a vector.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# What the feature of an image with several views is: the first of them, or
# their mean.
FIRST, AVERAGE = VIEWS = ('first', 'average')


class Features:
  """The image features [N, D] of a split.

  Attributes:
    dtype: of the features.
    size: D.
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
      cache_mb: MiB up to which they are kept in memory.
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
    shape = (len(source), self.num_views, self.size)
    fits = np.prod(shape) * first.itemsize <= cache_mb * 2**20
    self._cache = np.empty(shape, first.dtype) if fits else None

  @classmethod
  def of_array(cls, features: np.ndarray) -> 'Features':
    """Take features [N, D] that lie in memory."""
    made = cls([{'feature': x} for x in features], cache_mb=0)
    made._cache = features[:, None]
    return made

  def __len__(self) -> int:
    return len(self._source)

  @property
  def num_views(self) -> int:
    """K."""
    return len(self.view_flips)

  def keep(self, index: int, record: Mapping[str, Any]) -> None:
    """Put what was read anyhow into the cache, if there is one."""
    if self._cache is not None:
      self._cache[index] = self._views(record)

  def __getitem__(self, indices: np.ndarray) -> np.ndarray:
    """Return the features of some images: [...] --> [..., D]."""
    if self._average:
      return self.views(indices).mean(-2, dtype=np.float32)
    if self._cache is not None:
      return self._cache[indices, 0]
    flat = [self._source[int(i)]['feature'] for i in np.ravel(indices)]
    return self._shaped(flat, indices, self.size)

  def views(self, indices: np.ndarray) -> np.ndarray:
    """Return all views of some images: [...] --> [..., K, D]."""
    if self._cache is not None:
      return self._cache[indices]
    flat = [self._views(self._source[int(i)]) for i in np.ravel(indices)]
    return self._shaped(flat, indices, self.num_views, self.size)

  def drawn(self, indices: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Return one view each of some images: [...], [...] --> [..., D]."""
    if self._cache is not None:
      return self._cache[indices, views]
    flat = [
      self._views(self._source[int(i)])[view]
      for i, view in zip(np.ravel(indices), np.ravel(views), strict=True)
    ]
    return self._shaped(flat, indices, self.size)

  def all(self) -> np.ndarray:
    """Return all features [N, D]; for splits that fit in memory."""
    return self[np.arange(len(self))]

  @staticmethod
  def _shaped(
    rows: list[np.ndarray], indices: np.ndarray, *shape: int
  ) -> np.ndarray:
    return np.stack(rows).reshape(*np.shape(indices), *shape)

  def _views(self, record: Mapping[str, Any]) -> np.ndarray:
    """Return the views [K, D] of a record."""
    feature = np.asarray(record['feature'])[None]
    if self.num_views == 1:
      return feature
    return np.concatenate([feature, record['views']])
