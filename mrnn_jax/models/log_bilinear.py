"""Log-bilinear models: the next word's vector is predicted from a few words'.

LBL (Mnih & Hinton 2007) sees words alone; MLBL-B and MLBL-F (Kiros et al. 2014)
see the image too, added to what is predicted, or gating it.

Letters: B rows, T steps, n context words, E word vector, F factors, V
vocabulary, D image feature.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from mrnn_jax.data.vocabulary import START
from mrnn_jax.models import layers
from mrnn_jax.models.contract import DroppedImageModel, Model, option
from mrnn_jax.models.losses import LastLayer

Array = jax.Array


class LogBilinear(Model):
  """LBL: r = sum_i C_i q(w_{t-i}), logits q(w) r + b(w).

  The words' vectors q are the same on both sides.  Before the first word of a
  caption the context is ``##START##`` again and again.  What language gives is
  r, C = E; the carry is the context itself, so that captions with the same last
  n words go on alike.

  Attributes:
    context_size: n.
    vector_size: E.
    context_dropout: rate on the vectors of the context's words.
    prediction_dropout: rate on r, the image's part of it included.
  """

  sees_images: ClassVar[bool] = False

  context_size: int = option(
    5, 'Words that the log-bilinear models look back at.', low=1, high=100
  )
  vector_size: int = option(
    100, 'Word vectors of the log-bilinear models.', low=1
  )
  context_dropout: float = option(
    0.0,
    'Dropout on the word vectors of the context.',
    low=0,
    high=0.99,
    of_training=True,
  )
  prediction_dropout: float = option(
    0.0,
    "Dropout on the predicted word's vector.",
    low=0,
    high=0.99,
    of_training=True,
  )

  def setup(self):
    """Create the layers."""
    self.product = layers.product_of(self.dtype, self.precision)
    self.dense = layers.dense_of(self.dtype, self.precision)
    self.words = nn.Embed(self.vocab_size, self.word_size())
    # C_1 ... C_n, one under the other: one product.
    self.context = self.dense(self.vector_size, use_bias=False)
    self.bias = self.param('bias', nn.initializers.zeros, (self.vocab_size,))

  def word_size(self) -> int:
    """Return how many numbers the table of words has for each."""
    return self.vector_size

  def vectors(self, tokens: Array) -> Array:
    """Return q [..., E] of words [...]."""
    return self.words(tokens)

  def initial_carry(self, num_rows: int) -> Array:
    """Return contexts [B, n] without a word."""
    return jnp.full((num_rows, self.context_size), START, jnp.int32)

  def language_step(self, carry: Array, tokens: Array) -> tuple[Array, Array]:
    """Read one word a row; the new context [B, n], and r [B, E]."""
    context = jnp.concatenate([carry[:, 1:], tokens[:, None]], axis=1)
    context = jnp.where(tokens[:, None] == START, START, context)
    return context.astype(jnp.int32), self._predict(context, None)

  def language(self, tokens: Array, row_keys: Array | None = None) -> Array:
    """Return r [B, T, E] for tokens [B, T]."""
    T = tokens.shape[1]
    step = jnp.arange(T)
    begin = jax.lax.cummax(jnp.where(tokens == START, step, 0), axis=1)
    # [B, T, n] places of the context's words, the nearest last; before the
    # caption's ##START## there is only that.
    back = jnp.arange(self.context_size - 1, -1, -1)
    places = jnp.maximum(step[:, None] - back, begin[:, :, None])
    context = jnp.take_along_axis(tokens[:, None, :], places, axis=2)
    return self._predict(context, row_keys)

  def readout(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> Array:
    """Return logits [..., V] of what language and image give."""
    last = self.last_layer(language, image, row_keys)
    rows = last.hidden.reshape(-1, last.hidden.shape[-1])
    logits = self.product(rows, last.kernel) + self.bias
    return logits.reshape(*last.hidden.shape[:-1], self.vocab_size)

  def last_layer(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> LastLayer:
    """Return r [..., E] and the table of words."""
    return self._last_layer(language, row_keys)

  def _predict(self, context: Array, row_keys: Array | None) -> Array:
    """Return r [..., E] of contexts [..., n]."""
    vectors = layers.dropout(
      self.vectors(context), self.context_dropout, row_keys, layers.WORD
    )
    return self.context(vectors.reshape(*context.shape[:-1], -1))

  def _last_layer(self, predicted: Array, row_keys: Array | None) -> LastLayer:
    """Return what is predicted, and the table of words that it meets."""
    predicted = layers.dropout(
      predicted, self.prediction_dropout, row_keys, layers.MULTIMODAL
    )
    return LastLayer(predicted, self.words.embedding.T, self.bias)


class BiasedLogBilinear(LogBilinear, DroppedImageModel):
  """MLBL-B: the image is added, r + C_m I; J = E."""

  sees_images: ClassVar[bool] = True

  def setup(self):
    """Create the layers."""
    super().setup()
    self.setup_image_input()
    self.image_context = self.dense(self.vector_size, use_bias=False)

  def image(self, features: Array, row_keys: Array | None = None) -> Array:
    """Return C_m I, [..., E], for raw features [..., D]."""
    return self.image_context(self.image_input(features, row_keys))

  def last_layer(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> LastLayer:
    """Return r + C_m I [..., E] and the table of words."""
    return self._last_layer(language + image, row_keys)


class FactoredLogBilinear(BiasedLogBilinear):
  """MLBL-F: the image gates the factors that words consist of.

  The table of words is W_fv [V, F], a word's vector is q(w) = W_fv(w) W_fk, and

    logits = W_fv ((W_fk (r + C_m I)) * (1 + W_fx I)) + b.

  Kiros et al. have no 1: with it a model starts from MLBL-B, whose image does
  not gate, whatever the scale of the features.  Language gives W_fk r, C = F;
  an image W_fk C_m I and its gates, J = 2F.

  Attributes:
    factor_size: F.
  """

  factor_size: int = option(
    200, 'Factors that words and images of mlbl-f meet in.', low=1
  )

  def setup(self):
    """Create the layers."""
    super().setup()
    self.factors = self.param(
      'factors',
      nn.initializers.lecun_normal(),
      (self.factor_size, self.vector_size),
    )
    self.gates = self.dense(self.factor_size, bias_init=nn.initializers.ones)

  def word_size(self) -> int:
    """Return F."""
    return self.factor_size

  def vectors(self, tokens: Array) -> Array:
    """Return q [..., E] of words [...]."""
    return self.product(self.words(tokens), self.factors)

  def language_step(self, carry: Array, tokens: Array) -> tuple[Array, Array]:
    """Read one word a row; the new context [B, n], and W_fk r [B, F]."""
    context, predicted = super().language_step(carry, tokens)
    return context, self.product(predicted, self.factors.T)

  def language(self, tokens: Array, row_keys: Array | None = None) -> Array:
    """Return W_fk r [B, T, F] for tokens [B, T]."""
    predicted = super().language(tokens, row_keys)
    return self.product(predicted, self.factors.T)

  def image(self, features: Array, row_keys: Array | None = None) -> Array:
    """Return W_fk C_m I and the gates, [..., 2F], for features [..., D]."""
    scaled = self.image_input(features, row_keys)
    added = self.product(self.image_context(scaled), self.factors.T)
    return jnp.concatenate([added, self.gates(scaled)], axis=-1)

  def last_layer(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> LastLayer:
    """Return the gated factors [..., F] and the table of words."""
    added, gates = jnp.split(image, 2, axis=-1)
    return self._last_layer((language + added) * gates, row_keys)
