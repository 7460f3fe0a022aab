"""Log-probabilities of words, as the cost and every measure take them."""

from collections.abc import Callable
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.models import layers

Array = jax.Array


class LastLayer(NamedTuple):
  """What logits are made of: hidden W + b.

  Attributes:
    hidden: [..., H].
    kernel: W, [H, V].
    bias: b, [V], or None.
  """

  hidden: Array
  kernel: Array
  bias: Array | None


def log2_probabilities(logits: Array, targets: Array) -> Array:
  """Return log2 P(target) as float32, 0 at padding.

  Args:
    logits: [..., V].
    targets: [...] word ids.
  """
  # As a matrix: XLA runs the same passes over [B, T, V] several times slower
  # on CPUs.
  shape, V = targets.shape, logits.shape[-1]
  logits, targets = logits.reshape(-1, V), targets.reshape(-1)
  normalizer = jax.nn.logsumexp(logits, axis=-1)
  # The chosen logit by comparison, not by index: its gradient then joins that
  # of the softmax in one pass, where an index would scatter.
  words = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1)
  chosen = jnp.where(words == targets[..., None], logits, 0).sum(1)
  log2_prob = (chosen - normalizer) / math.log(2)
  return jnp.where(targets == PAD, 0.0, log2_prob).reshape(shape)


def chosen_log_probs(logits: Array, rows: Array, words: Array) -> Array:
  """Return log P(word) of some words of some rows, natural logarithms.

  Args:
    logits: [B, V].
    rows: [n] which row.
    words: [n] which word of it.
  """
  normalizer = jax.nn.logsumexp(logits, axis=-1)
  return logits[rows, words] - normalizer[rows]


def log_probs(
  last: LastLayer, words: Array, dtype: str, precision: str
) -> Array:
  """Return log P of a word of each row, natural logarithms, [...] float32.

  Its gradient is written out, so that a single array [n, V] is in memory and
  few passes are made over it: the product, overwritten by its exponentials, of
  which the gradient's products are made as they are.  Of a row with weight g,
  exponentials e and their sum s

    g d log P / d logits = -g/s (e - s at the word),

  so that what differs by row is multiplied with hidden, not with [n, V].

  Args:
    last: of the rows [..., H].
    words: [...] word ids.
    dtype: of the operands of products, 'float32' or 'bfloat16'.
    precision: of products of float32, one of ``layers.PRECISIONS``.
  """
  hidden = last.hidden.reshape(-1, last.hidden.shape[-1])
  flat = words.reshape(-1)
  result = _log_probs(hidden, last.kernel, last.bias, flat, dtype, precision)
  return result.reshape(words.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _log_probs(
  hidden: Array,
  kernel: Array,
  bias: Array | None,
  words: Array,
  dtype: str,
  precision: str,
) -> Array:
  return _log_probs_and_kept(hidden, kernel, bias, words, dtype, precision)[0]


def _log_probs_and_kept(hidden, kernel, bias, words, dtype, precision):
  logits = _logits(hidden, kernel, bias, dtype, precision)
  rows = jnp.arange(len(words))
  chosen = logits[rows, words]
  largest = logits.max(axis=1)
  powers = jnp.exp(logits - largest[:, None])
  total = powers.sum(axis=1)
  kept = powers.at[rows, words].add(-total)
  result = chosen - largest - jnp.log(total)
  return result, (hidden, kernel, bias, kept, total)


def _gradient(dtype: str, precision: str, kept: Any, weights: Array):
  hidden, kernel, bias, powers, total = kept
  product = layers.product_of(dtype, precision)
  scale = -weights / total
  by_hidden = product(powers, kernel.T) * scale[:, None]
  scaled = hidden * scale[:, None]
  if bias is None:
    return by_hidden, product(scaled.T, powers), None, None

  def apart(scaled, scale, powers):
    return product(scaled.T, powers), (scale[:, None] * powers).sum(0)

  def together(scaled, scale, powers):
    both = product(jnp.column_stack([scaled, scale]).T, powers)
    return both[:-1], both[-1]

  by_kernel, by_bias = _on_cpus(dtype, together, apart)(scaled, scale, powers)
  return by_hidden, by_kernel, by_bias, None


def _logits(
  hidden: Array, kernel: Array, bias: Array | None, dtype: str, precision: str
) -> Array:
  """Return hidden W + b, [n, V]."""
  product = layers.product_of(dtype, precision)
  if bias is None:
    return product(hidden, kernel)

  def apart(hidden, kernel, bias):
    return product(hidden, kernel) + bias

  def together(hidden, kernel, bias):
    hidden = jnp.column_stack([hidden, jnp.ones(len(hidden), hidden.dtype)])
    return product(hidden, jnp.concatenate([kernel, bias[None]]))

  return _on_cpus(dtype, together, apart)(hidden, kernel, bias)


def _on_cpus(
  dtype: str, together: Callable[..., Any], apart: Callable[..., Any]
) -> Callable[..., Any]:
  """Return the form with b as one more row of W on CPUs, else the other one.

  There the product adds it, and no pass over [n, V]; elsewhere XLA adds it on
  the way, and products may round their operands, as they do for bfloat16.
  """
  if dtype != 'float32':
    return apart
  return lambda *x: jax.lax.platform_dependent(*x, cpu=together, default=apart)


_log_probs.defvjp(_log_probs_and_kept, _gradient)
