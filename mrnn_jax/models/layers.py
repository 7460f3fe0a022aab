"""Pieces that models are made of: activations, products, dropout, features."""

from collections.abc import Callable, Mapping
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

Array = jax.Array

FEATURE_SCALINGS = ('none', 'l2', 'standardize')
# Standardised features are clipped to this many standard deviations.
FEATURE_CLIP = 5.0
ACTIVATIONS = {'none': lambda x: x, 'relu': nn.relu, 'tanh': jnp.tanh}
# Of products of float32, by JAX's names: as fast as the device can (TF32 on
# late GPUs, bfloat16 on TPUs), closer, exactly.  On CPUs all are exact.
PRECISIONS = ('default', 'high', 'highest')
# Which of a model's dropouts one is: w(t), r(t), I, m(t).
WORD, RECURRENT, IMAGE, MULTIMODAL = 0, 1, 2, 3
# What draws beside the models takes numbers from here on.
NUM_SITES = 4


def scaled_tanh(x: Array) -> Array:
  """Return g2(x) = 1.7159 tanh(2x/3), element by element (eq. 4)."""
  return 1.7159 * jnp.tanh(x * (2.0 / 3.0))


def scale_features(
  features: Array, scaling: str, statistics: Mapping[str, Array]
) -> Array:
  """Scale raw image features [..., D] as the model was trained to see them.

  Args:
    features: [..., D] as the encoder made them.
    scaling: 'none', 'l2' (unit Euclidean norm; an all-zero feature stays 0) or
      'standardize' (by mean and standard deviation of the training images,
      clipped to +-5).
    statistics: 'mean' and 'std', [D] each.
  """
  features = features.astype(jnp.float32)
  if scaling == 'l2':
    norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.where(norm > 0, norm, 1.0)
  if scaling == 'standardize':
    std = statistics['std']
    # A unit that never fires in training says nothing: it is 0 for all.
    scaled = (features - statistics['mean']) * jnp.where(
      std > 0, 1 / jnp.where(std > 0, std, 1), 0
    )
    return jnp.clip(scaled, -FEATURE_CLIP, FEATURE_CLIP)
  return features


def dropout(x: Array, rate: float, row_keys: Array | None, site: int) -> Array:
  """Drop units of x with probability ``rate``, and scale up the others.

  The mask of a row is a function of its own key alone, so that it is the same
  however the rows of a batch are spread over devices and processes.

  Args:
    x: [B, ...].
    rate: probability of dropping, in steps of 1/256; 0 does nothing.
    row_keys: [B] a key per row, or None at inference.
    site: which of the model's dropouts this is.
  """
  if row_keys is None or not rate:
    return x
  kept = 256 - round(rate * 256)
  # Random bits are dear on CPUs: four masks are cut from each 32-bit word.
  size = int(np.prod(x.shape[1:]))
  bits = jax.vmap(
    lambda key: jax.random.bits(
      jax.random.fold_in(key, site), (-(-size // 4),), jnp.uint32
    )
  )(row_keys)
  octets = jax.lax.bitcast_convert_type(bits, jnp.uint8)  # --> [B, size/4, 4]
  octets = octets.reshape(len(x), -1)[:, :size].reshape(x.shape)
  # 256 kept of 256 must keep all, which an 8-bit comparison cannot say.
  mask = octets <= kept - 1
  return jnp.where(mask, x * (256 / kept), 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def rounded_product(x: Array, kernel: Array, dtype: str) -> Array:
  """Multiply matrices whose numbers are rounded, summed in float32.

  The gradient is made of such products too: by JAX's own rule its operands
  would stay float32, and what it gives would be rounded, for U_r in each step
  of the recurrence.

  Args:
    x: [..., K] float32.
    kernel: [K, N] float32.
    dtype: what both are rounded to, 'bfloat16'.

  Returns:
    [..., N] float32.
  """
  return _rounded_product(x, kernel, dtype)[0]


def _rounded_product(x: Array, kernel: Array, dtype: str):
  x, kernel = x.astype(dtype), kernel.astype(dtype)
  y = jnp.matmul(x, kernel, preferred_element_type=jnp.float32)
  return y, (x, kernel)


def _rounded_product_gradient(dtype: str, operands: tuple, gradient: Array):
  x, kernel = operands
  gradient = gradient.astype(dtype)
  rows = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
  product = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
  return product(gradient, kernel.T), product(rows[0].T, rows[1])


rounded_product.defvjp(_rounded_product, _rounded_product_gradient)


def product_of(dtype: str, precision: str) -> Callable[[Array, Array], Array]:
  """Return the product of matrices with operands of a type, float32 or not.

  Args:
    dtype: 'float32' or 'bfloat16'.
    precision: of products of float32, one of ``PRECISIONS``.
  """
  if dtype == 'float32':
    return functools.partial(jnp.matmul, precision=precision)
  return functools.partial(rounded_product, dtype=dtype)


def dense_of(dtype: str, precision: str) -> Callable[..., nn.Dense]:
  """Return ``nn.Dense`` that multiplies as ``product_of`` does."""
  if dtype == 'float32':
    return functools.partial(nn.Dense, precision=precision)
  product = product_of(dtype, precision)
  return functools.partial(
    nn.Dense, dot_general=lambda x, kernel, *_, **__: product(x, kernel)
  )
