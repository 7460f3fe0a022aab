"""Encoders: CNNs in Flax that turn a photo into a feature.

To add one, write a module with a function ``seed, images -> Network`` (images:
some of those to be encoded) and name it in ``ENCODERS``.
"""

from collections.abc import Callable, Iterable

import jax
import numpy as np

from data_prep import progress
from data_prep.encoders import alexnet
from data_prep.encoders.network import Network

ENCODERS: dict[str, Callable[[int, np.ndarray], Network]] = {
  'alexnet': alexnet.create
}


def encode(
  network: Network,
  images: Iterable[np.ndarray],
  total: int,
  batch_size: int = 64,
) -> np.ndarray:
  """Encode images in batches of one compiled shape, with progress.

  Args:
    network: the CNN.
    images: uint8 arrays [S, S, 3], S = ``network.image_size``.
    total: how many images there are.
    batch_size: images at a time.

  Returns:
    [total, network.feature_size] float32 features, in the images' order.
  """
  batch_size = min(batch_size, total)
  size = network.image_size
  apply = jax.jit(network.apply)
  features = np.empty((total, network.feature_size), np.float32)
  batch = np.zeros((batch_size, size, size, 3), np.uint8)
  params = jax.device_put(network.params)
  done = fill = 0
  for image in progress.track(images, total, f'encode by {network.name}'):
    batch[fill] = image
    fill += 1
    if fill == batch_size or done + fill == total:
      # The last batch keeps old images in its unused rows: one shape for all.
      encoded = np.asarray(apply(params, jax.device_put(batch.copy())))
      features[done : done + fill] = encoded[:fill]
      done, fill = done + fill, 0
  if done != total:
    raise ValueError(f'{total} images were announced, {done} came.')
  return features
