"""The m-RNN, and RNN-Base, which does not see the image (section 3.2, 7.3).

Letters: B rows, T steps, V vocabulary, E first embedding, R recurrent (= second
embedding), M multimodal, D image feature.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax

from mrnn_jax.models import cells, layers
from mrnn_jax.models.contract import DroppedImageModel, option
from mrnn_jax.models.losses import LastLayer
from mrnn_jax.models.recurrent import RecurrentModel

Array = jax.Array


class RNNBase(RecurrentModel):
  """The paper's RNN-Base (7.3): the m-RNN without the term V_I I.

  What language gives is V_w w(t) + V_r r(t), C = M.

  Attributes:
    embedding_size: E, the first word embedding.
    multimodal_size: M.
    cell: of the recurrent layer, one of ``cells.CELLS``.
    embedding_activation: after each embedding layer, 'none', 'relu', 'tanh'.
    embedding_bias: whether embedding 2 has a bias.
    multimodal_bias: whether the multimodal layer has a bias (eq. 3: no).
    recurrent_scale: U_r of the simple cell starts as this times I; 0: LeCun
      normal.
    tie_softmax: whether the weights of the softmax are embedding 1, seen
      through a learned [M, E] matrix.
    multimodal_dropout: rate on m(t).
  """

  sees_images: ClassVar[bool] = False

  embedding_size: int = option(128, 'E, first word embedding.', low=1)
  multimodal_size: int = option(512, 'M, multimodal layer.', low=1)
  cell: str = option(
    'simple',
    "Recurrent cell: the paper's (ReLU), gated recurrent unit, or long "
    'short-term memory.',
    choices=tuple(cells.CELLS),
  )
  embedding_activation: str = option(
    'none',
    'Activation of both embedding layers.',
    choices=tuple(layers.ACTIVATIONS),
  )
  embedding_bias: bool = option(True, 'Bias in embedding 2.')
  multimodal_bias: bool = option(
    False, 'Bias in the multimodal layer (eq. 3 has none).'
  )
  recurrent_scale: float = option(
    0.9,
    'The recurrent matrix U_r of the simple cell starts as this times the '
    'identity; 0: random.',
    low=0,
  )
  tie_softmax: bool = option(
    False,
    'Weights of the softmax are those of embedding 1, through a learned M x E '
    'matrix.',
  )
  multimodal_dropout: float = option(
    0.5, 'Dropout on the multimodal layer.', low=0, high=0.99, of_training=True
  )

  def setup(self):
    """Create the layers."""
    R, M = self.recurrent_size, self.multimodal_size
    self.product = layers.product_of(self.dtype, self.precision)
    dense = layers.dense_of(self.dtype, self.precision)
    cell = self.the_cell()
    self.embedding_1 = nn.Embed(self.vocab_size, self.embedding_size)
    self.embedding_2 = dense(R, use_bias=self.embedding_bias)
    if cell.num_inputs > 1:
      self.recurrent_input = dense(cell.num_inputs * R)
    self.recurrent = self.param(
      'recurrent',
      cells.kernel_init(cell, self.recurrent_scale),
      (R, cell.num_inputs * R),
    )
    self.multimodal_word = dense(M, use_bias=self.multimodal_bias)
    self.multimodal_recurrent = dense(M, use_bias=False)
    if self.tie_softmax:
      self.softmax_projection = dense(self.embedding_size, use_bias=False)
      self.softmax_bias = self.param(
        'softmax_bias', nn.initializers.zeros, (self.vocab_size,)
      )
    else:
      self.softmax = dense(self.vocab_size)

  def the_cell(self) -> cells.Cell:
    """Return the cell that ``cell`` names."""
    return cells.CELLS[self.cell]

  def language_step(self, carry: Any, tokens: Array) -> tuple[Any, Array]:
    """Read one word a row; give V_w w(t) + V_r r(t) [B, M]."""
    words = self._words(tokens)
    carry, states = self.recurrent_step(carry, self._cell_inputs(words), tokens)
    return carry, self.multimodal_word(words) + self.multimodal_recurrent(
      states
    )

  def language(self, tokens: Array, row_keys: Array | None = None) -> Array:
    """Return V_w w(t) + V_r r(t), [B, T, M], for tokens [B, T]."""
    words = self._words(tokens)
    words = layers.dropout(words, self.word_dropout, row_keys, layers.WORD)
    states = self.recurrent_states(self._cell_inputs(words), tokens, row_keys)
    return self.multimodal_word(words) + self.multimodal_recurrent(states)

  def readout(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> Array:
    """Return logits [..., V] (eq. 3 without its last term, softmax)."""
    return self._logits(language, row_keys)

  def last_layer(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> LastLayer:
    """Return what the softmax reads, [..., M] or of tied weights [..., E]."""
    return self._last_layer(language, row_keys)

  def _words(self, tokens: Array) -> Array:
    """Return w(t) [..., R], the activation of embedding 2."""
    activation = layers.ACTIVATIONS[self.embedding_activation]
    return activation(self.embedding_2(activation(self.embedding_1(tokens))))

  def _cell_inputs(self, words: Array) -> Array:
    """Return what the cell reads of w(t) [..., R]: [..., gR]."""
    gated = self.the_cell().num_inputs > 1
    return self.recurrent_input(words) if gated else words

  def _logits(self, multimodal: Array, row_keys: Array | None) -> Array:
    """Return logits [..., V] of the multimodal layer's sums [..., M]."""
    hidden = self._hidden(multimodal, row_keys)
    # One large matrix product is faster than a batch of small ones.
    rows = hidden.reshape(-1, hidden.shape[-1])
    if self.tie_softmax:
      logits = self.product(
        self.softmax_projection(rows), self.embedding_1.embedding.T
      )
      logits += self.softmax_bias
    else:
      logits = self.softmax(rows)
    return logits.reshape(*hidden.shape[:-1], self.vocab_size)

  def _hidden(self, multimodal: Array, row_keys: Array | None) -> Array:
    """Return m(t) [..., M] of the multimodal layer's sums."""
    return layers.dropout(
      layers.scaled_tanh(multimodal),
      self.multimodal_dropout,
      row_keys,
      layers.MULTIMODAL,
    )

  def _last_layer(self, multimodal: Array, row_keys: Array | None) -> LastLayer:
    """Return the softmax's product of the multimodal layer's sums."""
    hidden = self._hidden(multimodal, row_keys)
    if self.tie_softmax:
      projected = self.softmax_projection(hidden)
      return LastLayer(
        projected, self.embedding_1.embedding.T, self.softmax_bias
      )
    softmax = self.softmax.variables['params']
    return LastLayer(hidden, softmax['kernel'], softmax['bias'])


class MRNN(RNNBase, DroppedImageModel):
  """The m-RNN (3.2): what an image gives is V_I I, J = M, and it is added."""

  sees_images: ClassVar[bool] = True

  def setup(self):
    """Create the layers."""
    super().setup()
    self.setup_image_input()
    dense = layers.dense_of(self.dtype, self.precision)
    self.multimodal_image = dense(self.multimodal_size, use_bias=False)

  def image(self, features: Array, row_keys: Array | None = None) -> Array:
    """Return V_I I, [..., M], for raw features [..., D]."""
    return self.multimodal_image(self.image_input(features, row_keys))

  def readout(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> Array:
    """Return logits [..., V] for vectors [..., M] (eq. 3, softmax)."""
    return self._logits(language + image, row_keys)

  def last_layer(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> LastLayer:
    """Return what the softmax reads, [..., M] or of tied weights [..., E]."""
    return self._last_layer(language + image, row_keys)
