"""The kernels: what a program does with its rows, its words.

Letters: n rows, H hidden, V vocabulary.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

from mrnn_jax.models.fused_readout.grid import Form, Grid
from mrnn_jax.models.fused_readout.tiles import (
  Axis,
  load,
  own_block,
  store,
  through,
)

Array = jax.Array
# Instead of a maximum of nothing; -inf less -inf would be no number.
_LOWEST = -1e30


def normalize(
  hidden: Array, kernel: Array, bias: Array, words: Array, form: Form
) -> tuple[Array, Array]:
  """Return the normalisers [n], and the logits [n] of a word of each row.

  Args:
    hidden: [n, H], H a multiple of ``form.multiple``.
    kernel: [H, V].
    bias: [V].
    words: [n] a word of each row.
    form: how to compute.
  """
  n, V, blocks = len(hidden), kernel.shape[1], form.forward
  largest, total, logit = _call(
    functools.partial(_normalizer, blocks, form.product_precision),
    triton.CompilerParams(blocks.warps, form.stages),
    Grid.cut(n, blocks.rows, V, blocks.words),
    (hidden, kernel, bias, words),
    [(n,)] * 3,
  )
  # Of the parts of the vocabulary: [parts, n] --> [n]
  normalizer = jax.nn.logsumexp(largest, axis=0, b=total)
  return normalizer, logit.sum(0)


def gradients(
  hidden: Array,
  kernel: Array,
  bias: Array,
  words: Array,
  normalizer: Array,
  weights: Array,
  form: Form,
) -> tuple[Array, Array, Array]:
  """Return the gradients of sum_n weight log P by hidden, W and b, float32.

  Args:
    hidden: [n, H], H a multiple of ``form.multiple``.
    kernel: [H, V].
    bias: [V].
    words: [n] a word of each row.
    normalizer: [n] of the rows.
    weights: [n].
    form: how to compute.
  """
  (n, H), V = hidden.shape, kernel.shape[1]
  operands = hidden, kernel, bias, words, normalizer, weights
  blocks = form.of_hidden.fitting('rows', H)
  (by_hidden,) = _call(
    functools.partial(_hidden_gradient, blocks, form.product_precision),
    triton.CompilerParams(blocks.warps, form.stages),
    # Sums of a part of the vocabulary are in memory, so not too many.
    Grid.cut(n, blocks.rows, V, blocks.words, most=V // (4 * H)),
    operands,
    [(n, H)],
  )
  blocks = form.of_kernel.fitting('words', H)
  by_kernel, by_bias = _call(
    functools.partial(_kernel_gradient, blocks, form.product_precision),
    triton.CompilerParams(blocks.warps, form.stages),
    Grid.cut(V, blocks.words, n, blocks.rows, most=n // (4 * H)),
    operands,
    [(H, V), (V,)],
  )
  return by_hidden.sum(0), by_kernel.sum(0), by_bias.sum(0)


def _call(
  body: functools.partial,
  how: triton.CompilerParams,
  grid: Grid,
  operands: Sequence[Array],
  shapes: Sequence[tuple[int, ...]],
) -> Sequence[Array]:
  """Run a kernel.

  Args:
    body: called with the grid, and references to all arrays.
    how: it is compiled.
    grid: the programs.
    operands: arrays.
    shapes: of what a part of the grid gives, float32.

  Returns:
    Arrays [parts, ...].
  """

  def run(*operands, interpret):
    return pl.pallas_call(
      functools.partial(body, grid),
      grid=(grid.blocks, grid.parts),
      out_shape=[
        jax.ShapeDtypeStruct((grid.parts, *shape), jnp.float32)
        for shape in shapes
      ],
      compiler_params=how,
      interpret=interpret,
      name=body.func.__name__.strip('_'),
    )(*operands)

  compiled = functools.partial(run, interpret=False)
  return lax.platform_dependent(
    *operands,
    cuda=compiled,
    rocm=compiled,
    default=functools.partial(run, interpret=True),
  )


def _logits(
  hidden: Any,
  kernel: Any,
  bias: Any,
  rows: Axis,
  words: Axis,
  inner: int,
  multiply: Callable[[Array, Array], Array],
) -> Array:
  """Return a tile of logits; beyond the vocabulary they are -inf."""

  def add(k, total):
    part = Axis(k * inner, inner)
    return total + multiply(load(hidden, rows, part), load(kernel, part, words))

  zero = jnp.zeros((rows.block, words.block), jnp.float32)
  total = lax.fori_loop(0, hidden.shape[1] // inner, add, zero)
  return total + load(bias, words, other=-jnp.inf)[None, :]


def _multiply(precision: Any) -> Callable[[Array, Array], Array]:
  return functools.partial(
    jnp.dot, precision=precision, preferred_element_type=jnp.float32
  )


def _normalizer(
  blocks, precision, grid, hidden, kernel, bias, word, largest, total, logit
) -> None:
  """Write of some rows and a part of the vocabulary what a normaliser needs.

  The largest logit, the sum of exponentials beside it, and the logit of the
  row's word, 0 where it is in another part.
  """
  rows = own_block(grid, blocks.rows, hidden.shape[0])
  mine = load(word, rows)

  def add(words, so_far):
    largest, total, logit = so_far
    logits = _logits(
      hidden, kernel, bias, rows, words, blocks.inner, _multiply(precision)
    )
    larger = jnp.maximum(largest, logits.max(axis=1))
    total = total * jnp.exp(largest - larger)
    total += jnp.exp(logits - larger[:, None]).sum(axis=1)
    is_it = words.places[None, :] == mine[:, None]
    logit += jnp.where(is_it, logits, 0.0).sum(axis=1)
    return larger, total, logit

  zero = jnp.zeros(blocks.rows, jnp.float32)
  sums = through(
    grid, blocks.words, kernel.shape[1], add, (zero + _LOWEST, zero, zero)
  )
  for result, value in zip((largest, total, logit), sums, strict=True):
    store(result, value, rows)


def _logit_gradient(
  refs: Sequence[Any], rows: Axis, words: Axis, inner: int, multiply: Any
) -> Array:
  """Return the gradient by a tile of logits: weight (is the word - P)."""
  hidden, kernel, bias, word, normalizer, weight = refs
  logits = _logits(hidden, kernel, bias, rows, words, inner, multiply)
  # Rows that are none have P = 0, whatever their logits.
  probs = jnp.exp(logits - load(normalizer, rows, other=jnp.inf)[:, None])
  is_it = words.places[None, :] == load(word, rows)[:, None]
  one_hot = jnp.where(is_it, 1.0, 0.0)
  return load(weight, rows)[:, None] * (one_hot - probs)


def _hidden_gradient(blocks, precision, grid, *arrays) -> None:
  """Write the gradient by some rows of hidden: that by logits, times W^T."""
  *refs, result = arrays
  hidden, kernel = refs[:2]
  (n, H), multiply = hidden.shape, _multiply(precision)
  rows = own_block(grid, blocks.rows, n)
  parts = [Axis(c, blocks.outer) for c in range(0, H, blocks.outer)]

  def add(words, sums):
    tile = _logit_gradient(refs, rows, words, blocks.inner, multiply)
    tile = tile.astype(kernel.dtype)
    return tuple(
      total + multiply(tile, load(kernel, part, words).T)
      for total, part in zip(sums, parts, strict=True)
    )

  zero = jnp.zeros((blocks.rows, blocks.outer), jnp.float32)
  zeros = tuple(zero for _ in parts)
  sums = through(grid, blocks.words, kernel.shape[1], add, zeros)
  for total, part in zip(sums, parts, strict=True):
    store(result, total, rows, part)


def _kernel_gradient(blocks, precision, grid, *arrays) -> None:
  """Write the gradients by some words of W and b: hidden^T times the tiles'."""
  *refs, result, bias_result = arrays
  hidden, kernel = refs[:2]
  (n, H), multiply = hidden.shape, _multiply(precision)
  words = own_block(grid, blocks.words, kernel.shape[1])
  parts = [Axis(c, blocks.outer) for c in range(0, H, blocks.outer)]

  def add(rows, sums):
    tile = _logit_gradient(refs, rows, words, blocks.inner, multiply)
    of_bias = sums[-1] + tile.sum(axis=0)
    tile = tile.astype(hidden.dtype)
    return *(
      total + multiply(load(hidden, rows, part).T, tile)
      for total, part in zip(sums, parts, strict=False)
    ), of_bias

  zero = jnp.zeros((blocks.outer, blocks.words), jnp.float32)
  zeros = *(zero for _ in parts), jnp.zeros(blocks.words, jnp.float32)
  *sums, of_bias = through(grid, blocks.rows, n, add, zeros)
  for total, part in zip(sums, parts, strict=True):
    store(result, total, part, words)
  store(bias_result, of_bias, words)
