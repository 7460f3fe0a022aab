"""The simple recurrent network of section 3.1, which sees words alone.

Letters: B rows, T steps, V vocabulary, R recurrent.
"""

from typing import ClassVar

import flax.linen as nn
import jax

from mrnn_jax.models import cells, layers
from mrnn_jax.models.losses import LastLayer
from mrnn_jax.models.recurrent import RecurrentModel

Array = jax.Array


class Elman(RecurrentModel):
  """Eq. 1: x(t) = [w(t) r(t-1)], r = sigmoid(U x), y = softmax(V r).

  w(t) is one-hot, so that its part of U is a table of vectors.  What language
  gives is r(t), C = R.
  """

  sees_images: ClassVar[bool] = False

  def setup(self):
    """Create the layers."""
    R = self.recurrent_size
    self.product = layers.product_of(self.dtype, self.precision)
    self.word = nn.Embed(self.vocab_size, R)
    self.recurrent = self.param(
      'recurrent', cells.kernel_init(self.the_cell(), 0), (R, R)
    )
    dense = layers.dense_of(self.dtype, self.precision)
    self.softmax = dense(self.vocab_size, use_bias=False)

  def the_cell(self) -> cells.Cell:
    """Return eq. 1's."""
    return cells.ELMAN

  def language_step(self, carry: Array, tokens: Array) -> tuple[Array, Array]:
    """Read one word a row; give r(t) [B, R]."""
    return self.recurrent_step(carry, self.word(tokens), tokens)

  def language(self, tokens: Array, row_keys: Array | None = None) -> Array:
    """Return r(t), [B, T, R], for tokens [B, T]."""
    words = layers.dropout(
      self.word(tokens), self.word_dropout, row_keys, layers.WORD
    )
    return self.recurrent_states(words, tokens, row_keys)

  def readout(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> Array:
    """Return logits V r(t), [..., V]."""
    rows = language.reshape(-1, language.shape[-1])
    return self.softmax(rows).reshape(*language.shape[:-1], self.vocab_size)

  def last_layer(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> LastLayer:
    """Return r(t) [..., R] and V."""
    return LastLayer(language, self.softmax.variables['params']['kernel'], None)
