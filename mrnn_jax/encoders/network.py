"""What an encoder is: a function of its parameters and of images."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from mrnn_jax.encoders.weights import Weights
from mrnn_jax.runtime.errors import InputError

if TYPE_CHECKING:
  import flax.linen as nn
  import jax


@dataclasses.dataclass(frozen=True)
class Network:
  """A CNN ready for use.

  Attributes:
    name: the encoder, for example 'efficientnet_lite0'.
    weights: the sha256 of its weights file.
    image_size: S, the side of the square images in pixels.
    feature_size: D.
    cpu_batch_size: photos at a time that suit a CPU.
    params: the weights; None of a network without.
    apply: (params, uint8 RGB images [B, S, S, 3]) -> features [B, D] float32.
    module: the same as a Flax module, whose fields 'dtype' and 'remat' shape
      how it is trained; None of what can only be applied.
    blocks: names of the parts of ``params``, from the image to the feature.
    tuned: whether its weights were trained further; 'weights' is then the
      checksum of what was.
  """

  name: str
  weights: str
  image_size: int
  feature_size: int
  cpu_batch_size: int
  params: Any
  apply: Callable[[Any, 'jax.Array'], 'jax.Array']
  module: 'nn.Module | None' = None
  blocks: tuple[str, ...] = ()
  tuned: bool = False


def exactly(
  model: 'nn.Module',
) -> Callable[[Any, 'jax.Array'], 'jax.Array']:
  """Return ``Network.apply`` of a Flax module.

  Its products are of float32 also on devices that have faster ones, so that a
  photo has the same feature everywhere.
  """
  import jax

  def apply(params, images):
    with jax.default_matmul_precision('highest'):
      return model.apply({'params': params}, images)

  return apply


def take(
  weights: Weights, name: str, shape: tuple[int, ...], what: str
) -> np.ndarray:
  """Return one float32 array of a weights file.

  Args:
    weights: the file.
    name: the array.
    shape: what it has to be.
    what: the encoder, for the message.

  Raises:
    InputError: it is not there, or has another shape.
  """
  tensor = weights.tensors.get(name)
  if tensor is None or tensor.shape != shape:
    found = 'is not there' if tensor is None else f'is {tensor.shape}'
    raise InputError(
      f'{weights.source} holds no weights of {what}: its array {name!r} has to'
      f' be {shape} and {found}; give the right file with --weights.'
    )
  return np.asarray(tensor, np.float32)


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
  """Return {'a/b': x} as {'a': {'b': x}}, the form of Flax."""
  tree: dict[str, Any] = {}
  for path, value in params.items():
    *parents, name = path.split('/')
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[name] = value
  return tree
