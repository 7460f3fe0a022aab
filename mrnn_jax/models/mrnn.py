"""The m-RNN as pure functions of its variables (paper, section 3.2).

A model has three parts, and everything else composes them:

  language  tokens -> a vector in R^M per step; never sees the image
  image     feature -> a vector in R^M
  readout   the sum of the two -> logits over the vocabulary

Letters: B rows, T steps, G captions a row, V vocabulary, E first embedding,
R recurrent (= second embedding), M multimodal, D image feature.

A row may hold several captions one after another, each from ``##START##``:
the carry of the recurrence is 0 wherever a ``##START##`` is read, so that a
row of two captions gives what two rows of one caption give.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.data.vocabulary import START

Array = jax.Array
# {'params': what is learned, 'statistics': of the training images' features}
Variables = Mapping[str, Any]

FEATURE_SCALINGS = ('none', 'l2', 'standardize')
EMBEDDING_ACTIVATIONS = {
  'none': lambda x: x,
  'relu': nn.relu,
  'tanh': jnp.tanh,
}
# Standardised features are clipped to this many standard deviations.
FEATURE_CLIP = 5.0


def scaled_tanh(x: Array) -> Array:
  """Return g2(x) = 1.7159 tanh(2x/3), element by element (eq. 4)."""
  return 1.7159 * jnp.tanh(x * (2.0 / 3.0))


def recurrent_cell(
  product: Callable[[Array, Array], Array],
  kernel: Array,
  carry: Array,
  inputs: tuple[Array, Array],
):
  """Take one step of r(t) = ReLU(U_r r(t-1) + w(t)) (eq. 2).

  Args:
    product: of matrices.
    kernel: [R, R] U_r, transposed: it multiplies from the right.
    carry: [B, R] r(t-1).
    inputs: w(t) as [B, R], and [B, 1] 0 where a caption starts, else 1.

  Returns:
    r(t) [B, R], twice: as the new carry and as the output.
  """
  word, keep = inputs
  carry = nn.relu(product(carry * keep, kernel) + word)
  return carry, carry


def recurrent_init(scale: float | None) -> Callable[..., Array]:
  """Return an initialiser of U_r: scale times I, or LeCun normal if None."""
  if scale is None:
    return nn.initializers.lecun_normal()
  return lambda key, shape, dtype=jnp.float32: (
    scale * jnp.eye(*shape, dtype=dtype)
  )


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


class MRNN(nn.Module):
  """The m-RNN, or with ``use_image=False`` the paper's RNN-Base (7.3).

  Attributes:
    vocab_size: V.
    feature_size: D.
    embedding_size: E, the first word embedding.
    recurrent_size: R, the second embedding and the recurrent layer.
    multimodal_size: M.
    use_image: whether the multimodal layer has the term V_I I.
    embedding_activation: after each embedding layer, 'none', 'relu', 'tanh'.
    embedding_bias: whether embedding 2 has a bias.
    multimodal_bias: whether the multimodal layer has a bias (eq. 3: no).
    recurrent_scale: U_r starts as this times I; None: LeCun normal.
    feature_scaling: one of ``FEATURE_SCALINGS``.
    word_dropout: rate on w(t), one mask for both its uses.
    recurrent_dropout: rate on r(t) as the multimodal layer reads it.
    multimodal_dropout: rate on m(t).
    image_dropout: rate on the scaled feature I.
    dtype: of the operands of the layers' products, 'float32' or 'bfloat16'.
      Parameters, sums and all between the products are float32 whatever it is:
      so is the carry, which is rounded only where U_r multiplies it, since a
      rounded one would take its error along from word to word.  It is no part
      of what the model is: whoever wants another clones the model.
  """

  vocab_size: int
  feature_size: int
  embedding_size: int = 128
  recurrent_size: int = 256
  multimodal_size: int = 512
  use_image: bool = True
  embedding_activation: str = 'none'
  embedding_bias: bool = True
  multimodal_bias: bool = False
  recurrent_scale: float | None = 0.9
  feature_scaling: str = 'standardize'
  word_dropout: float = 0.0
  recurrent_dropout: float = 0.0
  multimodal_dropout: float = 0.0
  image_dropout: float = 0.0
  dtype: str = 'float32'

  def setup(self):
    """Create the layers."""
    R, M = self.recurrent_size, self.multimodal_size
    self.product, dense = jnp.matmul, nn.Dense
    if self.dtype != 'float32':
      self.product = functools.partial(rounded_product, dtype=self.dtype)
      dense = functools.partial(
        nn.Dense,
        dot_general=lambda x, kernel, *_, **__: self.product(x, kernel),
      )
    self.embedding_1 = nn.Embed(self.vocab_size, self.embedding_size)
    self.embedding_2 = dense(R, use_bias=self.embedding_bias)
    self.recurrent = self.param(
      'recurrent', recurrent_init(self.recurrent_scale), (R, R)
    )
    self.multimodal_word = dense(M, use_bias=self.multimodal_bias)
    self.multimodal_recurrent = dense(M, use_bias=False)
    if self.use_image:
      self.multimodal_image = dense(M, use_bias=False)
      D = self.feature_size
      self.mean = self.variable('statistics', 'mean', jnp.zeros, (D,))
      self.std = self.variable('statistics', 'std', jnp.ones, (D,))
    self.softmax = dense(self.vocab_size)

  def __call__(self, tokens: Array, features: Array, row_keys=None) -> Array:
    """Return logits [B, T, V] of the word after each token.

    Args:
      tokens: [B, T] word ids, each caption from ``##START##``.
      features: [B, G, D] raw features of the images of a row's captions.
      row_keys: [B] dropout keys, or None at inference.
    """
    language = self.language(tokens, row_keys)  # [B, T, M]
    if not self.use_image:
      return self.readout(language, row_keys)
    image = self.image(features, row_keys)  # [B, G, M]
    return self.readout(language + spread(image, tokens), row_keys)

  def language(self, tokens: Array, row_keys: Array | None = None) -> Array:
    """Return V_w w(t) + V_r r(t), [B, T, M], for tokens [B, T]."""
    words = dropout(self._words(tokens), self.word_dropout, row_keys, 0)
    keep = (tokens != START)[..., None].astype(words.dtype)  # [B, T, 1]
    carry = jnp.zeros((len(tokens), self.recurrent_size), words.dtype)
    _, states = jax.lax.scan(
      functools.partial(recurrent_cell, self.product, self.recurrent),
      carry,
      (words.swapaxes(0, 1), keep.swapaxes(0, 1)),
    )
    states = states.swapaxes(0, 1)  # [T, B, R] --> [B, T, R]
    states = dropout(states, self.recurrent_dropout, row_keys, 1)
    return self.multimodal_word(words) + self.multimodal_recurrent(states)

  def initial_carry(self, num_rows: int) -> Array:
    """Return r before the first word, [num_rows, R]."""
    return jnp.zeros((num_rows, self.recurrent_size))

  def language_step(self, carry: Array, tokens: Array) -> tuple[Array, Array]:
    """Read one word a row: the ``language`` of a single step.

    Args:
      carry: [B, R] r(t-1).
      tokens: [B] word ids.

    Returns:
      The new carry [B, R], and V_w w(t) + V_r r(t) as [B, M].
    """
    words = self._words(tokens)
    keep = (tokens != START)[..., None].astype(words.dtype)
    carry, states = recurrent_cell(
      self.product, self.recurrent, carry, (words, keep)
    )
    return carry, self.multimodal_word(words) + self.multimodal_recurrent(
      states
    )

  def image(self, features: Array, row_keys: Array | None = None) -> Array:
    """Return V_I I, [..., M], for raw features [..., D].

    Without an image part it is 0, as ``language + image`` wants it.
    """
    if not self.use_image:
      return jnp.zeros((*features.shape[:-1], self.multimodal_size))
    statistics = {'mean': self.mean.value, 'std': self.std.value}
    scaled = scale_features(features, self.feature_scaling, statistics)
    return self.multimodal_image(
      dropout(scaled, self.image_dropout, row_keys, 2)
    )

  def readout(self, hidden: Array, row_keys: Array | None = None) -> Array:
    """Return logits [..., V] for summed vectors [..., M] (eq. 3, softmax)."""
    hidden = dropout(scaled_tanh(hidden), self.multimodal_dropout, row_keys, 3)
    # One large matrix product is faster than a batch of small ones.
    logits = self.softmax(hidden.reshape(-1, hidden.shape[-1]))
    return logits.reshape(*hidden.shape[:-1], self.vocab_size)

  def _words(self, tokens: Array) -> Array:
    """Return w(t) [..., R], the activation of embedding 2."""
    activation = EMBEDDING_ACTIVATIONS[self.embedding_activation]
    return activation(self.embedding_2(activation(self.embedding_1(tokens))))


def spread(image: Array, tokens: Array) -> Array:
  """Give each step of a row the image of the caption that it belongs to.

  Args:
    image: [B, G, M] a vector per caption of a row.
    tokens: [B, T] the captions of the row, each from ``##START##``.

  Returns:
    [B, T, M], or [B, 1, M] where rows hold a single caption.
  """
  G = image.shape[1]
  if G == 1:
    return image
  segment = jnp.cumsum(tokens == START, axis=1) - 1  # [B, T]
  # A product with one-hot rows: its gradient is a product too, no scatter.
  one_hot = jax.nn.one_hot(segment, G, dtype=image.dtype)
  return jnp.einsum('btg,bgm->btm', one_hot, image)


MODELS = {
  'm-rnn': functools.partial(MRNN, use_image=True),
  'rnn-base': functools.partial(MRNN, use_image=False),
}


def create_model(
  name: str, vocab_size: int, feature_size: int, options: Mapping[str, Any]
) -> MRNN:
  """Return a model of ``MODELS``.

  Args:
    name: which.
    vocab_size: V.
    feature_size: D.
    options: its other attributes by name; names that are none are passed over,
      and a ``recurrent_scale`` of 0 means random.
  """
  names = {field.name for field in dataclasses.fields(MRNN)} - {'name'}
  known = {key: value for key, value in options.items() if key in names}
  known['recurrent_scale'] = known.get('recurrent_scale') or None
  return MODELS[name](vocab_size=vocab_size, feature_size=feature_size, **known)


def init_variables(model: MRNN, key: Array) -> Variables:
  """Return a model's randomly initialised variables."""
  tokens = jnp.full((1, 1), START)
  features = jnp.zeros((1, 1, model.feature_size))
  return model.init(key, tokens, features)
