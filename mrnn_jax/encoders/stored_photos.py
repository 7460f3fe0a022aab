"""The photos of a prepared dataset -> features, by devices and processes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mrnn_jax.data import augmentation
from mrnn_jax.data.datasets import Photos
from mrnn_jax.encoders import encode, photos
from mrnn_jax.encoders.network import Network
from mrnn_jax.runtime import parallel, picture_pool
from mrnn_jax.runtime.progress import Progress


class StoredPhotos:
  """Encodes photos of datasets by one network, with whatever parameters."""

  def __init__(self, network: Network, devices: list[jax.Device]):
    """Take a network, whose parameters are not looked at.

    Args:
      network: the encoder.
      devices: local ones.
    """
    self._network, self._devices = network, devices
    self._apply = parallel.pmap(network.apply, devices)
    self._rows = encode.default_batch_size(network) * len(devices)

  def features(
    self,
    params: Any,
    stored: Photos | Sequence[bytes],
    images: np.ndarray | None = None,
    between: Callable[[], None] = lambda: None,
  ) -> np.ndarray:
    """Return the features [N, D] float32 of photos.

    All processes call it at the same time and share the work; each of them
    returns all of it.

    Args:
      params: of the network, replicated over the devices.
      stored: the photos, JPEG squares of any side.
      images: [N] which of them; all by default.
      between: called before every batch; what it raises ends the work.
    """
    images = np.arange(len(stored)) if images is None else images
    mine = images[parallel.own_rows(len(images))]
    # As many batches everywhere, since all ask together whether to stop.
    share = -(-len(images) // jax.process_count())
    size = self._network.image_size
    pixels = picture_pool.ahead(
      lambda i: augmentation.decode(stored[i], size), mine
    )
    features = np.zeros((len(mine), self._network.feature_size), np.float32)
    n = len(self._devices)
    name = self._network.name
    with Progress(f'encode by {name}', 'photos') as progress:
      for first in range(0, share, self._rows):
        between()
        count = max(0, min(self._rows, len(mine) - first))
        batch = np.zeros((self._rows, size, size, 3), np.uint8)
        for row in range(count):
          batch[row] = self._sound(next(pixels))
        found = self._apply(params, parallel.split_rows(batch, n))
        found = np.asarray(found).reshape(self._rows, -1)
        features[first : first + count] = found[:count]
        progress(first + count, len(mine))
    return parallel.gather_rows(features, len(images))

  @staticmethod
  def _sound(pixels: np.ndarray | photos.PhotoError) -> np.ndarray:
    if isinstance(pixels, Exception):
      raise pixels  # They were read when the dataset was built.
    return pixels
