"""What an encoder is: a function of its parameters and of images."""

from collections.abc import Callable
import dataclasses
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Network:
  """A CNN ready for use.

  Attributes:
    name: what the dataset says about the features' origin, weights included.
    image_size: S, the side of the square images in pixels.
    feature_size: D.
    params: the weights.
    apply: (params, uint8 images [B, S, S, 3]) -> features [B, D] float32.
  """

  name: str
  image_size: int
  feature_size: int
  params: Any
  apply: Callable[[Any, jax.Array], jax.Array]
