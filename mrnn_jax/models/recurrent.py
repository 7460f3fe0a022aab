"""What models with a recurrent cell share: its options, its step, its scan.

Letters: B rows, T steps, R recurrent, g inputs per unit.
"""

from typing import Any

import jax

from mrnn_jax.models import cells, layers
from mrnn_jax.models.contract import Model, option

Array = jax.Array


class RecurrentModel(Model):
  """A model whose words go through a cell.

  Its ``setup`` sets ``product`` (see ``layers.product_of``) and ``recurrent``,
  the cell's kernel [R, gR].

  Attributes:
    recurrent_size: R.
    word_dropout: rate on the words' vectors.
    recurrent_dropout: rate on r(t) as the layer above reads it, never inside
      the recurrence.
  """

  recurrent_size: int = option(
    256, 'R, second word embedding and recurrent layer.', low=1
  )
  word_dropout: float = option(
    0.5,
    'Dropout on the words as the recurrent layer reads them (embedding 2).',
    low=0,
    high=0.99,
    of_training=True,
  )
  recurrent_dropout: float = option(
    0.5,
    'Dropout on the recurrent layer as the layer above reads it.',
    low=0,
    high=0.99,
    of_training=True,
  )

  def the_cell(self) -> cells.Cell:
    """Return the cell."""
    raise NotImplementedError

  def initial_carry(self, num_rows: int) -> Any:
    """Return the cell's carry before the first word."""
    return self.the_cell().initial_carry(num_rows, self.recurrent_size)

  def recurrent_step(
    self, carry: Any, inputs: Array, tokens: Array
  ) -> tuple[Any, Array]:
    """Take one step: the new carry and r(t) [B, R] for inputs [B, gR]."""
    return cells.step(
      self.the_cell(), self.product, self.recurrent, carry, inputs, tokens
    )

  def recurrent_states(
    self, inputs: Array, tokens: Array, row_keys: Array | None
  ) -> Array:
    """Return r(t) [B, T, R] as the layer above reads it, for [B, T, gR]."""
    states = cells.scan(
      self.the_cell(), self.product, self.recurrent, inputs, tokens
    )
    return layers.dropout(
      states, self.recurrent_dropout, row_keys, layers.RECURRENT
    )
