"""Joint embeddings: images and whole sentences in one space, matched by cosine.

Such a model gives no word a probability: it ranks, and cannot write.  It is
fitted at one go; see ``bag_of_words`` for what it knows of a sentence.

Letters: S sentences, T steps, D image feature, J the common space.
"""

import functools
from typing import ClassVar

import jax
import jax.numpy as jnp

from mrnn_jax.models.contract import ImageModel

Array = jax.Array


class JointEmbedding(ImageModel):
  """What ranks by the cosine of an image's vector and a sentence's."""

  writes: ClassVar[bool] = False
  fitted: ClassVar[bool] = True

  def image(self, features: Array, row_keys: Array | None = None) -> Array:
    """Return unit vectors [..., J] of raw features [..., D].

    Args:
      features: [..., D].
      row_keys: None, as nothing is dropped once a model is fitted.
    """
    raise NotImplementedError

  def sentence(self, tokens: Array) -> Array:
    """Return unit vectors [S, J] of sentences.

    Args:
      tokens: [S, T] word ids, filled up with ``##PAD##``.
    """
    raise NotImplementedError

  def __call__(
    self, tokens: Array, features: Array, row_keys: Array | None = None
  ) -> Array:
    """Return the cosines [S, ...] of sentences [S, T], images [..., D]."""
    sentences, images = self.sentence(tokens), self.image(features)
    product = functools.partial(jnp.einsum, precision=self.precision)
    return product('sj,...j->s...', sentences, images)


def unit(vectors: Array) -> Array:
  """Return vectors [..., J] of length 1; 0 stays 0, its gradient too."""
  squares = jnp.square(vectors).sum(-1, keepdims=True)
  # Before the root, which has no derivative at 0.
  return vectors / jnp.sqrt(jnp.where(squares > 0, squares, 1))
