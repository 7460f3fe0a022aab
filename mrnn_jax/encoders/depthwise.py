"""Convolutions of each channel by itself, quick on CPUs too."""

from collections.abc import Iterator
import functools
import operator

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp


class Depthwise(nn.Module):
  """A convolution of each channel by itself, padded as TensorFlow's SAME."""

  kernel: int
  stride: int
  dtype: str = 'float32'

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Convolve [B, H, W, C] --> [B, ceil(H/stride), ceil(W/stride), C]."""
    channels = x.shape[-1]
    shape = (self.kernel, self.kernel, 1, channels)
    kernel = self.param('kernel', nn.initializers.zeros, shape)
    bias = self.param('bias', nn.initializers.zeros, (channels,))
    x, kernel, bias = (y.astype(self.dtype) for y in (x, kernel, bias))
    y = depthwise(x, kernel, self.stride)
    return y + bias.reshape(1, 1, 1, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """Convolve each channel by itself: [B, H, W, C], [k, k, 1, C] --> [B, ...].

  XLA's own takes 5 to 70 times as long on CPUs, layer by layer; and of the
  shifts its own gradient would keep all k² shifted images.
  """
  return lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(shifted, stride=stride),
    default=functools.partial(native, stride=stride),
  )


def _depthwise(x: jax.Array, kernel: jax.Array, stride: int):
  return depthwise(x, kernel, stride), (x, kernel)


def _depthwise_gradient(stride: int, operands: tuple, gradient: jax.Array):
  return lax.platform_dependent(
    *operands,
    gradient,
    cpu=functools.partial(shifted_gradient, stride=stride),
    default=functools.partial(native_gradient, stride=stride),
  )


depthwise.defvjp(_depthwise, _depthwise_gradient)


def native(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """Convolve by XLA's grouped convolution."""
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    'SAME',
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    feature_group_count=x.shape[-1],
  )


def native_gradient(
  x: jax.Array, kernel: jax.Array, gradient: jax.Array, stride: int
) -> tuple[jax.Array, jax.Array]:
  """Return the gradients by x and kernel as XLA has them."""
  _, pull_back = jax.vjp(functools.partial(native, stride=stride), x, kernel)
  return pull_back(gradient)


def shifted(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
  """Convolve by a multiply-add of the whole image for each place."""
  parts = (
    part * kernel[i, j].reshape(1, 1, 1, -1)
    for i, j, part in _shifts(x, kernel.shape[0], stride)
  )
  return functools.reduce(operator.add, parts)


def shifted_gradient(
  x: jax.Array, kernel: jax.Array, gradient: jax.Array, stride: int
) -> tuple[jax.Array, jax.Array]:
  """Return the gradients by x and kernel, a place after another."""
  k = kernel.shape[0]
  by_kernel = _kernel_gradient(x, gradient, k, stride)
  # x is seen from where it was spread to: the same with the kernel turned.
  pads = lax.padtype_to_pads(x.shape[1:3], (k, k), (stride, stride), 'SAME')
  config = [(0, 0, 0)]
  for side, outputs, (low, _) in zip(
    x.shape[1:3], gradient.shape[1:3], pads, strict=True
  ):
    before = k - 1 - low
    length = (outputs - 1) * stride + 1
    config.append((before, side + k - 1 - before - length, stride - 1))
  zero = jnp.zeros((), gradient.dtype)
  spread = lax.pad(gradient, zero, [*config, (0, 0, 0)])
  turned = kernel[::-1, ::-1]
  parts = (
    lax.slice(
      spread,
      (0, i, j, 0),
      (len(x), i + x.shape[1], j + x.shape[2], x.shape[3]),
    )
    * turned[i, j].reshape(1, 1, 1, -1)
    for i in range(k)
    for j in range(k)
  )
  return functools.reduce(operator.add, parts), by_kernel.astype(kernel.dtype)


def _kernel_gradient(
  x: jax.Array, gradient: jax.Array, k: int, stride: int
) -> jax.Array:
  """Return the gradient by a kernel [k, k, 1, C], float32.

  Place after place of the image, all channels at once: a sum over the images,
  rows and columns of each channel leaps through memory, and takes XLA 5 to 20
  times as long on CPUs.
  """
  batch, height, width, channels = gradient.shape
  pads = lax.padtype_to_pads(x.shape[1:3], (k, k), (stride, stride), 'SAME')
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  zero = jnp.zeros((k, k, channels), jnp.float32)

  def add_row(n, total):
    image, row = n // height, n % height
    seen = lax.dynamic_slice(
      x, (image, row * stride, 0, 0), (1, k, x.shape[2], channels)
    )[0]
    by_row = lax.dynamic_slice(
      gradient, (image, row, 0, 0), (1, 1, width, channels)
    )[0, 0]

    def add_place(column, total):
      under = lax.dynamic_slice(
        seen, (0, column * stride, 0), (k, k, channels)
      ).astype(jnp.float32)
      by_place = lax.dynamic_slice(by_row, (column, 0), (1, channels))
      return total + under * by_place.astype(jnp.float32)

    # Row by row, so that few numbers are added to one that is much larger.
    return total + lax.fori_loop(0, width, add_place, zero)

  return lax.fori_loop(0, batch * height, add_row, zero)[:, :, None]


def _shifts(
  x: jax.Array, k: int, stride: int
) -> Iterator[tuple[int, int, jax.Array]]:
  """Yield what each place of a kernel sees, [B, H/stride, W/stride, C]."""
  batch, height, width, channels = x.shape
  pads = lax.padtype_to_pads((height, width), (k, k), (stride, stride), 'SAME')
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  # The last row and column that the place (0, 0) of the kernel sees.
  bottom, right = (-(-n // stride) * stride - stride for n in (height, width))
  for i in range(k):
    for j in range(k):
      last = (batch, i + bottom + 1, j + right + 1, channels)
      yield i, j, lax.slice(x, (0, i, j, 0), last, (1, stride, stride, 1))
