"""AlexNet and VGG16 in Flax, up to fc7 after ReLU, as torchvision has them.

Krizhevsky et al. 2012 (the paper's features, there by decaf; here the later
form without local response normalisation), Simonyan and Zisserman 2015.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp

from mrnn_jax.encoders.network import Network, exactly, nested, take
from mrnn_jax.encoders.weights import Weights

IMAGE_SIZE = 224
FEATURE_SIZE = 4096

_DENSE = ('fc6', 'fc7')
# Mean and deviation of photos between 0 and 1, as the weights expect them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Conv:
  """A convolution and its ReLU.

  Attributes:
    index: its number among torchvision's ``features``.
    channels: how many it gives.
    kernel: pixels of its side.
    stride: pixels between its places.
    padding: zeros on each side.
    pool: the side of the max-pooling behind it, stride 2; 0 for none.
  """

  index: int
  channels: int
  kernel: int = 3
  stride: int = 1
  padding: int = 1
  pool: int = 0


@dataclasses.dataclass(frozen=True)
class Layout:
  """A network's layers.

  Attributes:
    convs: its convolutions.
    side: pixels of the last one's side after pooling.
    dense: the numbers of fc6 and fc7 among torchvision's ``classifier``.
  """

  convs: tuple[Conv, ...]
  side: int
  dense: tuple[int, int]


LAYOUTS = {
  'alexnet': Layout(
    (
      Conv(0, 64, kernel=11, stride=4, padding=2, pool=3),
      Conv(3, 192, kernel=5, padding=2, pool=3),
      Conv(6, 384),
      Conv(8, 256),
      Conv(10, 256, pool=3),
    ),
    side=6,
    dense=(1, 4),
  ),
  'vgg16': Layout(
    (
      Conv(0, 64),
      Conv(2, 64, pool=2),
      Conv(5, 128),
      Conv(7, 128, pool=2),
      Conv(10, 256),
      Conv(12, 256),
      Conv(14, 256, pool=2),
      Conv(17, 512),
      Conv(19, 512),
      Conv(21, 512, pool=2),
      Conv(24, 512),
      Conv(26, 512),
      Conv(28, 512, pool=2),
    ),
    side=7,
    dense=(0, 3),
  ),
}


class Fc7Network(nn.Module):
  """Convolutions and two fully connected layers.

  Attributes:
    layout: the layers.
    features: D.
    dtype: of the operands of products and of what is between the layers; the
      features are float32 whatever it is.
    remat: whether a convolution is computed again for the gradient, and what
      it gives not kept.
  """

  layout: Layout
  features: int = FEATURE_SIZE
  dtype: str = 'float32'
  remat: bool = False

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """Encode images.

    Args:
      images: [B, 224, 224, 3] uint8, RGB.

    Returns:
      [B, 4096] float32, not negative.
    """
    mean = jnp.array(_MEAN).reshape(1, 1, 1, 3)
    std = jnp.array(_STD).reshape(1, 1, 1, 3)
    x = (images.astype(jnp.float32) / 255 - mean) / std
    convolution = nn.remat(nn.Conv) if self.remat else nn.Conv
    for i, conv in enumerate(self.layout.convs):
      size, stride = (conv.kernel,) * 2, (conv.stride,) * 2
      layer = convolution(
        conv.channels,
        size,
        stride,
        conv.padding,
        dtype=self.dtype,
        name=f'conv{i + 1}',
      )
      x = nn.relu(layer(x))
      if conv.pool:
        x = nn.max_pool(x, (conv.pool, conv.pool), (2, 2))
    x = x.reshape(x.shape[0], -1)  # [B, side, side, C] --> [B, side² C]
    for name in _DENSE:
      x = nn.relu(nn.Dense(self.features, dtype=self.dtype, name=name)(x))
    return x.astype(jnp.float32)


def create(name: str, weights: Weights | None) -> Network:
  """Return a network, with torchvision's weights.

  Args:
    name: a name of ``LAYOUTS``.
    weights: arrays with torchvision's names; None: the network without weights.

  Raises:
    InputError: the weights are those of another network.
  """
  module = Fc7Network(LAYOUTS[name])
  return Network(
    name=name,
    weights=weights.checksum if weights else '',
    image_size=IMAGE_SIZE,
    feature_size=FEATURE_SIZE,
    # Each batch has to read fc6, 150 to 400 megabytes.
    cpu_batch_size=8,
    params=_params(name, weights) if weights else None,
    apply=exactly(module),
    module=module,
    blocks=block_names(module),
  )


def block_names(module: Fc7Network) -> tuple[str, ...]:
  """Return what its parameters are called, block by block, first to last."""
  return (*(f'conv{i + 1}' for i in range(len(module.layout.convs))), *_DENSE)


def _params(name: str, weights: Weights) -> dict:
  """Return the parameters for Flax."""
  layout = LAYOUTS[name]
  params = {}
  inputs = 3
  for i, conv in enumerate(layout.convs):
    at = f'features.{conv.index}'
    shape = (conv.channels, inputs, conv.kernel, conv.kernel)
    # [outputs, inputs, k, k] --> [k, k, inputs, outputs]
    kernel = take(weights, f'{at}.weight', shape, name).transpose(2, 3, 1, 0)
    params[f'conv{i + 1}/kernel'] = kernel
    params[f'conv{i + 1}/bias'] = take(
      weights, f'{at}.bias', (conv.channels,), name
    )
    inputs = conv.channels
  flat = inputs * layout.side**2
  for i, index in enumerate(layout.dense):
    at = f'classifier.{index}'
    kernel = take(weights, f'{at}.weight', (FEATURE_SIZE, flat), name)
    if i == 0:
      # torchvision flattens [C, side, side], here it is [side, side, C].
      kernel = kernel.reshape(-1, inputs, layout.side, layout.side)
      kernel = kernel.transpose(0, 2, 3, 1).reshape(FEATURE_SIZE, flat)
    params[f'fc{6 + i}/kernel'] = kernel.T
    params[f'fc{6 + i}/bias'] = take(
      weights, f'{at}.bias', (FEATURE_SIZE,), name
    )
    flat = FEATURE_SIZE
  return nested(params)
