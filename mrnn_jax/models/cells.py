"""Recurrent cells, by name: what ``lax.scan`` runs from word to word.

A cell holds nothing but what must wait for the word before: a product of the
carry and what follows from it.  All that can be done for all steps at once,
such as the gates' share of the word, is done outside and comes as its input.

Letters: B rows, T steps, R recurrent, g inputs per unit.
"""

from collections.abc import Callable
import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from mrnn_jax.data.vocabulary import START

Array = jax.Array
Product = Callable[[Array, Array], Array]


@dataclasses.dataclass(frozen=True)
class Cell:
  """A recurrent cell.

  Attributes:
    num_inputs: g.  With 1 the input is w(t) itself; a cell of more is given
      W w(t) + b, g vectors of R numbers one after another.
    initial_carry: rows, R -> the carry before the first word, all zeros.
    step: product, kernel [R, gR], carry, inputs [B, gR] -> the new carry and
      r(t) [B, R].
  """

  num_inputs: int
  initial_carry: Callable[[int, int], Any]
  step: Callable[[Product, Array, Any, Array], tuple[Any, Array]]


def simple_step(product: Product, kernel: Array, carry: Array, word: Array):
  """Take one step of r(t) = ReLU(U_r r(t-1) + w(t)) (eq. 2)."""
  state = nn.relu(product(carry, kernel) + word)
  return state, state


def sigmoid_step(product: Product, kernel: Array, carry: Array, word: Array):
  """Take one step of r(t) = sigmoid(U_r r(t-1) + U_w w(t)) (eq. 1)."""
  state = nn.sigmoid(product(carry, kernel) + word)
  return state, state


def gru_step(product: Product, kernel: Array, carry: Array, inputs: Array):
  """Take one step of a gated recurrent unit (Cho et al. 2014).

  s = sigmoid(x_s + U_s r(t-1)) resets, u = sigmoid(x_u + U_u r(t-1)) keeps,
  c = tanh(x_c + s U_c r(t-1)) is new, and r(t) = u r(t-1) + (1 - u) c.  The
  reset comes after the product, so that one product serves all three.
  """
  reset, keep, new = jnp.split(inputs, 3, axis=-1)
  from_reset, from_keep, from_new = jnp.split(
    product(carry, kernel), 3, axis=-1
  )
  reset = nn.sigmoid(reset + from_reset)
  keep = nn.sigmoid(keep + from_keep)
  new = jnp.tanh(new + reset * from_new)
  state = keep * carry + (1 - keep) * new
  return state, state


def lstm_step(product: Product, kernel: Array, carry: Any, inputs: Array):
  """Take one step of a long short-term memory (Hochreiter, Schmidhuber 1997).

  With forget gates (Gers et al. 2000) whose bias starts at 1.  The carry is
  the pair of the memory c and of r, [B, R] each.
  """
  memory, state = carry
  gates = inputs + product(state, kernel)
  write, forget, new, read = jnp.split(gates, 4, axis=-1)
  memory = nn.sigmoid(forget + 1) * memory + nn.sigmoid(write) * jnp.tanh(new)
  state = nn.sigmoid(read) * jnp.tanh(memory)
  return (memory, state), state


def _zeros(num_rows: int, size: int) -> Array:
  return jnp.zeros((num_rows, size))


CELLS = {
  'simple': Cell(1, _zeros, simple_step),
  'gru': Cell(3, _zeros, gru_step),
  'lstm': Cell(4, lambda *shape: (_zeros(*shape), _zeros(*shape)), lstm_step),
}
# Of the paper's section 3.1; a model of its own, not a choice of the m-RNN.
ELMAN = Cell(1, _zeros, sigmoid_step)


def step(
  cell: Cell,
  product: Product,
  kernel: Array,
  carry: Any,
  inputs: Array,
  tokens: Array,
) -> tuple[Any, Array]:
  """Take one step, from zeros where a caption starts.

  Args:
    cell: which.
    product: of matrices.
    kernel: [R, gR] U_r, transposed: it multiplies from the right.
    carry: of B rows.
    inputs: [B, gR].
    tokens: [B] the words that the inputs come from.

  Returns:
    The new carry, and r(t) [B, R].
  """
  keep = (tokens != START)[..., None].astype(inputs.dtype)  # [B, 1]
  return _kept_step(cell, product, kernel, carry, (inputs, keep))


def scan(
  cell: Cell, product: Product, kernel: Array, inputs: Array, tokens: Array
) -> Array:
  """Return r(t) [B, T, R] of whole rows, inputs [B, T, gR], tokens [B, T]."""
  keep = (tokens != START)[..., None].astype(inputs.dtype)  # [B, T, 1]
  _, states = jax.lax.scan(
    lambda carry, x: _kept_step(cell, product, kernel, carry, x),
    cell.initial_carry(len(tokens), kernel.shape[0]),
    (inputs.swapaxes(0, 1), keep.swapaxes(0, 1)),
  )
  return states.swapaxes(0, 1)  # [T, B, R] --> [B, T, R]


def _kept_step(cell, product, kernel, carry, inputs):
  inputs, keep = inputs
  carry = jax.tree.map(lambda x: x * keep, carry)
  return cell.step(product, kernel, carry, inputs)


def kernel_init(cell: Cell, scale: float) -> Callable[..., Array]:
  """Return an initialiser of U_r [R, gR].

  Args:
    cell: one with gates starts from random orthogonal matrices, one a gate.
    scale: one without starts from so many times I; 0: from LeCun normal.
  """
  if cell.num_inputs > 1:

    def orthogonal(key, shape, dtype=jnp.float32):
      keys = jax.random.split(key, cell.num_inputs)
      square = (shape[0], shape[0])
      return jnp.concatenate(
        [nn.initializers.orthogonal()(k, square, dtype) for k in keys], axis=1
      )

    return orthogonal
  if not scale:
    return nn.initializers.lecun_normal()
  return lambda key, shape, dtype=jnp.float32: (
    scale * jnp.eye(shape[0], shape[1], dtype=dtype)
  )
