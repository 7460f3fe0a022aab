"""What every model gives; the rest of the program uses nothing else.

A model has three parts, pure functions of its variables:

  language  tokens -> a vector in R^C per step; never sees the image
  image     feature -> a vector in R^J
  readout   both -> logits over the vocabulary; adds them, multiplies them, ...

Training composes the three once for a batch.  Decoding takes ``language_step``
word by word.  Ranking runs the language path once per distinct prefix, the
image path once per image, and only the readout per pair: what a readout can do
for a prefix or an image alone belongs into ``language`` or ``image``.

Letters: B rows, T steps, G captions a row, V vocabulary, D image feature, C
what language gives, J what an image gives.

What is fitted gives its parameters by ``fit``, and is not trained step by step.
What gives no word a probability (``writes`` is false) has only ``image``, and
``sentence`` beside it: see ``joint_embedding``.

A row may hold several captions one after another, each from ``##START##``:
wherever a model reads ``##START##`` it begins anew, so that a row of two
captions gives what two rows of one caption give.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.data.vocabulary import START
from mrnn_jax.models import fused_readout, layers, losses
from mrnn_jax.models.losses import LastLayer

Array = jax.Array
# {'params': what is learned, 'statistics': of the training images' features}
Variables = Mapping[str, Any]


def option(default: Any, text: str, **limits: Any) -> Any:
  """Declare an option of a model: a field of its class, and a flag.

  Models that have an option of one name declare it alike.

  Args:
    default: its value where none is given.  Of an option that is added to a
      model that people have trained, it must mean what the model did before.
    text: its help.
    **limits: which values it may have: ``choices``, ``low``, ``high``, or
      ``above``; and ``of_training=True`` where it matters in training alone, so
      that a run that begins from a model may have another.
  """
  return dataclasses.field(default=default, metadata={'help': text, **limits})


@dataclasses.dataclass(frozen=True)
class Examples:
  """What a model is fitted to: C captions of N images.

  Attributes:
    tokens: all captions, ``##START##`` to ``##END##``, one after another.
    offsets: [C + 1] where each caption begins in ``tokens``.
    owner: [C] each caption's image.
    features: [N, D] raw features, an array or what is indexed like one.
    statistics: 'mean' and 'std' [D] of the features, where images are seen.
    seed: of everything random.
    progress: called with the parts done and in all.
  """

  tokens: np.ndarray
  offsets: np.ndarray
  owner: np.ndarray
  features: Any
  statistics: Mapping[str, Any]
  seed: int = 0
  progress: Callable[[int, int], None] = lambda done, of: None


class Model(nn.Module):
  """A model: implement the methods, and name the class in ``MODELS``.

  Attributes:
    vocab_size: V.
    feature_size: D.
    dtype: of the operands of the layers' products, 'float32' or 'bfloat16'.
      Parameters, carries, sums and all between the products are float32
      whatever it is.  It is no part of what the model is: whoever wants another
      clones the model.
    precision: of products of float32, one of ``layers.PRECISIONS``; also for
      whoever clones the model.
    sees_images: whether the image matters; what does not see it cannot rank.
    writes: whether words have probabilities; what has none can only rank.
    fitted: whether ``fit`` gives its parameters, and no training.
    free_sizes: whether their sizes are as the captions are; those of ``init``
      are then of no caption.
  """

  vocab_size: int
  feature_size: int
  dtype: str = 'float32'
  precision: str = 'highest'
  sees_images: ClassVar[bool] = True
  writes: ClassVar[bool] = True
  fitted: ClassVar[bool] = False
  free_sizes: ClassVar[bool] = False

  def fit(self, examples: Examples) -> dict[str, Any]:
    """Return the parameters of a fitted model, by name."""
    raise NotImplementedError

  def misfit(self, params: Mapping[str, Any]) -> str:
    """Return what is wrong with parameters of free sizes, or ''.

    Args:
      params: of the names and kinds that ``fit`` gives, of whatever content.
    """
    return ''

  def initial_carry(self, num_rows: int) -> Any:
    """Return what is carried before the first word.

    Returns:
      A tree of arrays [num_rows, ...], of any structure and types.
    """
    raise NotImplementedError

  def language_step(self, carry: Any, tokens: Array) -> tuple[Any, Array]:
    """Read one word a row.

    Args:
      carry: as of ``initial_carry``, B rows.
      tokens: [B] word ids.

    Returns:
      The new carry, and what language gives [B, C].
    """
    raise NotImplementedError

  def language(self, tokens: Array, row_keys: Array | None = None) -> Array:
    """Read whole rows: what ``language_step`` gives word by word.

    Args:
      tokens: [B, T] word ids, each caption from ``##START##``.
      row_keys: [B] dropout keys, or None at inference.

    Returns:
      [B, T, C].
    """
    raise NotImplementedError

  def image(self, features: Array, row_keys: Array | None = None) -> Array:
    """Return what raw features [..., D] give, [..., J].

    A model that does not see images leaves this as it is: a single 0 (J = 1,
    since empty arrays cannot be shared out over devices).

    Args:
      features: [..., D] raw features.
      row_keys: [B] dropout keys of features [B, ...], or None at inference.
    """
    if self.sees_images:
      raise NotImplementedError
    return jnp.zeros((*features.shape[:-1], 1))

  def readout(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> Array:
    """Return logits [..., V] of the next word.

    Args:
      language: [..., C].
      image: [..., J], of the same leading axes or of ones that broadcast.
      row_keys: [B] dropout keys of [B, ...], or None at inference.
    """
    raise NotImplementedError

  @classmethod
  def has_last_layer(cls) -> bool:
    """Say whether models of this class have a ``last_layer``."""
    return cls.last_layer is not Model.last_layer

  @property
  def ends_in_product(self) -> bool:
    """Whether ``target_log_probs`` and ``fused_word_log_probs`` are there."""
    return self.has_last_layer()

  def last_layer(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> LastLayer:
    """Return what ``readout`` multiplies last, hidden [..., H] W + b.

    Args:
      language: as of ``readout``, and so the others.
      image: of it.
      row_keys: of it.
    """
    raise NotImplementedError

  def word_log_probs(
    self, language: Array, image: Array, rows: Array, words: Array
  ) -> Array:
    """Return log P [n] of words, natural logarithms; for ranking and scoring.

    Args:
      language: [B, C].
      image: [B, J], or [J] of one image.
      rows: [n] after which row of ``language`` each word comes.
      words: [n] word ids.
    """
    return losses.chosen_log_probs(self.readout(language, image), rows, words)

  def fused_word_log_probs(
    self, language: Array, images: Array, rows: Array, words: Array
  ) -> Array:
    """Return ``word_log_probs`` [N, n] of several images, by the kernel.

    Args:
      language: [B, C].
      images: [N, J].
      rows: [n] as of ``word_log_probs``.
      words: [n] word ids.
    """
    last = self.last_layer(language, images[:, None])  # hidden [N, B, H]
    form = fused_readout.Form(self.dtype, self.precision)
    normalizer = fused_readout.log_normalizer(last, form)
    chosen = fused_readout.chosen_logits(last, rows, words, self.dtype)
    return chosen - normalizer[:, rows]

  def target_log_probs(
    self,
    tokens: Array,
    features: Array,
    targets: Array,
    row_keys: Array | None = None,
    fused: bool = False,
  ) -> Array:
    """Return log P [B, T] of the word after each token, of its last layer.

    Args:
      tokens: [B, T] as of ``__call__``, and so the others.
      features: of it.
      targets: [B, T] word ids.
      row_keys: of it.
      fused: whether by the kernel.
    """
    last = self.last_layer(*self._vectors(tokens, features, row_keys), row_keys)
    if not fused:
      return losses.log_probs(last, targets, self.dtype, self.precision)
    form = fused_readout.Form(self.dtype, self.precision)
    return fused_readout.log_probs(last, targets, form)

  def __call__(
    self, tokens: Array, features: Array, row_keys: Array | None = None
  ) -> Array:
    """Return logits [B, T, V] of the word after each token.

    Args:
      tokens: [B, T] word ids, each caption from ``##START##``.
      features: [B, G, D] raw features of the images of a row's captions.
      row_keys: [B] dropout keys, or None at inference.
    """
    return self.readout(*self._vectors(tokens, features, row_keys), row_keys)

  def _vectors(
    self, tokens: Array, features: Array, row_keys: Array | None
  ) -> tuple[Array, Array]:
    """Return what language gives, [B, T, C], and images, [B, T or 1, J]."""
    language = self.language(tokens, row_keys)
    image = self.image(features, row_keys)  # [B, G, J]
    if self.sees_images:
      image = spread(image, tokens, self.precision)
    return language, image


def spread(image: Array, tokens: Array, precision: str) -> Array:
  """Give each step of a row the image of the caption that it belongs to.

  Args:
    image: [B, G, J] a vector per caption of a row.
    tokens: [B, T] the captions of the row, each from ``##START##``.
    precision: of the product.

  Returns:
    [B, T, J], or [B, 1, J] where rows hold a single caption.
  """
  G = image.shape[1]
  if G == 1:
    return image
  segment = jnp.cumsum(tokens == START, axis=1) - 1  # [B, T]
  # A product with one-hot rows: its gradient is a product too, no scatter.
  one_hot = jax.nn.one_hot(segment, G, dtype=image.dtype)
  return jnp.einsum('btg,bgj->btj', one_hot, image, precision=precision)


class ImageModel(Model):
  """A model that sees images: scales their features.

  Attributes:
    feature_scaling: one of ``layers.FEATURE_SCALINGS``.
  """

  feature_scaling: str = option(
    'standardize',
    'Scaling of image features; standardize: by mean and deviation of the '
    'training images.',
    choices=layers.FEATURE_SCALINGS,
  )

  def setup_image_input(self) -> None:
    """Create the features' statistics; call it in ``setup``."""
    D = self.feature_size
    self.mean = self.variable('statistics', 'mean', jnp.zeros, (D,))
    self.std = self.variable('statistics', 'std', jnp.ones, (D,))

  def image_input(
    self, features: Array, row_keys: Array | None = None
  ) -> Array:
    """Return the features [..., D] as the model is to see them."""
    statistics = {'mean': self.mean.value, 'std': self.std.value}
    return layers.scale_features(features, self.feature_scaling, statistics)


class DroppedImageModel(ImageModel):
  """A model that drops units of the features while it learns.

  Attributes:
    image_dropout: rate on the scaled feature I.
  """

  image_dropout: float = option(
    0.0, 'Dropout on the image feature.', low=0, high=0.99, of_training=True
  )

  def image_input(
    self, features: Array, row_keys: Array | None = None
  ) -> Array:
    """Return the features [..., D] as the model is to see them."""
    scaled = super().image_input(features)
    return layers.dropout(scaled, self.image_dropout, row_keys, layers.IMAGE)
