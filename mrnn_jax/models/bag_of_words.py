"""Sentences as bags of words: how often each word is there, and its weight.

``##START##``, ``##END##`` and ``##PAD##`` are no words of a bag; ``##UNK##``
is one.

Letters: C captions, S sentences, T steps, V vocabulary, N images.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.data.vocabulary import UNK

Array = jax.Array

# Images whose dense bags are made together: bounds the memory.
_BLOCK = 1024


def weighted_bags(tokens: Array, weights: Array) -> Array:
  """Return the sum of the words' weights [S, V] of sentences.

  Args:
    tokens: [S, T] word ids, filled up with ``##PAD##``.
    weights: [V] of one occurrence of each word.
  """
  added = jnp.where(tokens >= UNK, weights[tokens], 0)
  rows = jnp.arange(len(tokens))[:, None]
  return jnp.zeros((len(tokens), len(weights))).at[rows, tokens].add(added)


@dataclasses.dataclass(frozen=True)
class Bags:
  """Captions as sparse vectors: of each caption, its distinct words.

  Attributes:
    caption: [M] whose word it is, ascending.
    word: [M] which.
    value: [M] its weight in this caption.
    num_captions: C.
    vocab_size: V.
  """

  caption: np.ndarray
  word: np.ndarray
  value: np.ndarray
  num_captions: int
  vocab_size: int

  @classmethod
  def count(
    cls, tokens: np.ndarray, offsets: np.ndarray, vocab_size: int
  ) -> 'Bags':
    """Count the words of captions.

    Args:
      tokens: all captions, one after another.
      offsets: [C + 1] where each caption begins in ``tokens``.
      vocab_size: V.
    """
    C = len(offsets) - 1
    caption = np.repeat(np.arange(C, dtype=np.int64), np.diff(offsets))
    words = tokens >= UNK
    pairs, counts = np.unique(
      caption[words] * vocab_size + tokens[words], return_counts=True
    )
    caption, word = np.divmod(pairs, vocab_size)
    return cls(caption, word, counts.astype(np.float64), C, vocab_size)

  def inverse_document_frequencies(self) -> np.ndarray:
    """Return [V] log((1 + C) / (1 + captions with the word)) + 1."""
    frequency = np.bincount(self.word, minlength=self.vocab_size)
    return np.log((1 + self.num_captions) / (1 + frequency)) + 1

  def weighted(self, weights: np.ndarray) -> 'Bags':
    """Return the bags with every word's value times its weight [V]."""
    return dataclasses.replace(self, value=self.value * weights[self.word])

  def units(self) -> 'Bags':
    """Return the bags scaled to length 1; empty ones stay empty."""
    squares = np.bincount(
      self.caption, self.value**2, minlength=self.num_captions
    )
    return dataclasses.replace(
      self, value=self.value / np.sqrt(squares)[self.caption]
    )

  def mean(self) -> np.ndarray:
    """Return the mean [V] over captions."""
    total = np.bincount(self.word, self.value, minlength=self.vocab_size)
    return total / self.num_captions

  def second_moments(self) -> np.ndarray:
    """Return (1/C) sum_c y_c y_c^T [V, V], float64."""
    V = self.vocab_size
    total = np.zeros(V * V)
    starts = np.searchsorted(self.caption, np.arange(self.num_captions + 1))
    lengths = np.diff(starts)
    # Captions with equally many words together: all pairs of theirs at once.
    for length in np.unique(lengths[lengths > 0]):
      first = starts[:-1][lengths == length]
      for begin in range(0, len(first), 1 << 14):
        at = first[begin : begin + (1 << 14), None] + np.arange(length)
        word, value = self.word[at], self.value[at]
        np.add.at(
          total,
          (word[:, :, None] * V + word[:, None, :]).ravel(),
          (value[:, :, None] * value[:, None, :]).ravel(),
        )
    return total.reshape(V, V) / self.num_captions

  def product(
    self, rows: Callable[[np.ndarray], np.ndarray], owner: np.ndarray
  ) -> np.ndarray:
    """Return sum_c x_owner(c) y_c^T [D, V], float64.

    Args:
      rows: numbers of images -> their vectors [..., D].
      owner: [C] each caption's image, ascending.
    """
    total = np.zeros(())
    N = int(owner[-1]) + 1
    image = owner[self.caption]
    for first in range(0, N, _BLOCK):
      images = np.arange(first, min(first + _BLOCK, N))
      part = slice(*np.searchsorted(image, [images[0], images[-1] + 1]))
      sums = np.zeros((len(images), self.vocab_size))
      np.add.at(sums, (image[part] - first, self.word[part]), self.value[part])
      total = total + rows(images).T @ sums
    return total
