"""The parts of a model as the service runs them: few shapes, compiled once.

Letters: Q edges (a prefix and the word after it), n images, b images of a
tile, K training images of P(w), W words of a subset, V vocabulary, D feature, J
image vector, C what language gives.
"""

from collections.abc import Sequence
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from mrnn_jax import models
from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.runtime import parallel

# Images of a tile: the smallest that holds what is left is taken.
_TILES = (8, 128, 512)
# A narrow readout has small logits: larger tiles.
_NARROW_TILES = (128, 1024)
# Edges of one call; fewer cost no more than they are.
_EDGES = 32
# Words of the subsets by which log P is bounded.
SUBSET = 128
_IMAGES = (1, 32, 256)
_SENTENCES, _LENGTH = 8, 16


def vocabulary_axes(model: models.Model) -> Any:
  """Return for each variable which of its axes is the vocabulary; -1: none."""

  def shapes(vocab_size: int) -> Any:
    other = model.clone(vocab_size=vocab_size)
    return jax.eval_shape(
      lambda: models.init_variables(other, jax.random.key(0))
    )

  def axis(one: Any, more: Any) -> int:
    different = [
      i
      for i, (a, b) in enumerate(zip(one.shape, more.shape, strict=True))
      if a != b
    ]
    return different[0] if different else -1

  V = model.vocab_size
  return jax.tree.map(axis, shapes(V), shapes(V + 1))


def narrowed(variables: Any, axes: Any, words: jax.Array) -> Any:
  """Return the variables of a model that knows some words alone.

  Its readout gives the logits of these words, as the whole model does.

  Args:
    variables: of a model.
    axes: of ``vocabulary_axes``.
    words: [W] ids.
  """
  return jax.tree.map(
    lambda x, axis: x if axis < 0 else jnp.take(x, words, axis=axis),
    variables,
    axes,
  )


class Readouts:
  """A model's language, image and readout parts on one device.

  Attributes:
    norm_vectors: [K, J] what the training images give that P(w) is from.
    num_words: W, the words of a subset.
  """

  def __init__(
    self,
    model: models.Model,
    variables: models.Variables,
    norm_features: np.ndarray,
    device: jax.Device,
  ):
    """Place a model, and compute what the training images give."""
    self.model = model
    self.variables = jax.device_put(variables, device)
    self.num_words = min(SUBSET, model.vocab_size)
    axes = vocabulary_axes(model)
    narrow = model.clone(vocab_size=self.num_words)

    @jax.jit
    def images(variables, features):
      return model.apply(variables, features, method='image')

    @jax.jit
    def language(variables, tokens):
      return model.apply(variables, tokens, method='language')

    @jax.jit
    def exact(variables, vectors, contexts, words, count):
      def edge(q, values):
        logits: Any = model.apply(
          variables, contexts[q][None], vectors, method='readout'
        )
        log_z = jax.nn.logsumexp(logits, axis=-1)
        return values.at[q].set(logits[:, words[q]] - log_z)

      values = jnp.zeros((len(words), len(vectors)))
      return lax.fori_loop(0, count, edge, values)

    @jax.jit
    def bounds(variables, vectors, contexts, subsets, places, count):
      def edge(q, values):
        logits: Any = narrow.apply(
          narrowed(variables, axes, subsets[q]),
          contexts[q][None],
          vectors,
          method='readout',
        )
        log_z = jax.nn.logsumexp(logits, axis=-1)
        return values.at[q].set(logits[:, places[q]] - log_z)

      values = jnp.zeros((len(places), len(vectors)))
      return lax.fori_loop(0, count, edge, values)

    @jax.jit
    def likeliest(variables, vectors, contexts, count):
      def context(q, words):
        logits: Any = model.apply(
          variables, contexts[q][None], vectors, method='readout'
        )
        mean = jax.nn.softmax(logits).mean(axis=0)
        return words.at[q].set(lax.top_k(mean, self.num_words)[1])

      words = jnp.zeros((len(contexts), self.num_words), jnp.int32)
      return lax.fori_loop(0, count, context, words)

    self._images = functools.partial(images, self.variables)
    self._language = functools.partial(language, self.variables)
    self._exact = functools.partial(exact, self.variables)
    self._bounds = functools.partial(bounds, self.variables)
    self._likeliest = functools.partial(likeliest, self.variables)
    self.norm_vectors = self.image_vectors(norm_features)

  def image_vectors(self, features: np.ndarray) -> np.ndarray:
    """Return what images give [n, J] float32, for raw features [n, D]."""
    features = np.asarray(features, np.float32)
    size = _fitting(_IMAGES, len(features))
    parts = [
      np.asarray(self._images(parallel.pad_rows(part, size)))[: len(part)]
      for part in _cut(features, size)
    ]
    if parts:
      return np.concatenate(parts)
    shape = jax.eval_shape(self._images, np.zeros((1, features.shape[1])))
    return np.zeros((0, *shape.shape[1:]), np.float32)

  def contexts(self, sentences: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Return what language gives after each word but the last, [L, C] each.

    Args:
      sentences: word ids, ``##START##`` to ``##END##``.
    """
    found = []
    for first in range(0, len(sentences), _SENTENCES):
      part = sentences[first : first + _SENTENCES]
      length = -(-max(map(len, part)) // _LENGTH) * _LENGTH
      tokens = np.full((_SENTENCES, length), PAD, np.int32)
      for row, sentence in zip(tokens, part, strict=False):
        row[: len(sentence)] = sentence
      language = np.asarray(self._language(tokens))
      found += [language[i, : len(s) - 1] for i, s in enumerate(part)]
    return found

  def exact(
    self, contexts: np.ndarray, words: np.ndarray, vectors: np.ndarray
  ) -> np.ndarray:
    """Return log P(word | prefix, image) [Q, n], natural logarithms.

    Args:
      contexts: [Q, C] what language gives for each edge's prefix.
      words: [Q] the word after it.
      vectors: [n, J] what images give.
    """
    values = np.empty((len(words), len(vectors)), np.float32)
    for edges, count, (context, word) in _edges(contexts, words):
      for rows, tile in _tiles(_TILES, vectors):
        result = np.asarray(self._exact(tile, context, word, count))
        values[edges, rows] = result[:count, : rows.stop - rows.start]
    return values

  def bounds(
    self,
    contexts: np.ndarray,
    words: np.ndarray,
    subsets: np.ndarray,
    vectors: np.ndarray,
  ) -> np.ndarray:
    """Return what log P(word | prefix, image) is at most, [Q, n].

    The sum over the vocabulary is at least that over a subset, so that with
    this in its place the probability is at least what it is.

    Args:
      contexts: [Q, C].
      words: [Q].
      subsets: [Q, W] different words; the last one gives way to the edge's own
        where that is not among them.
      vectors: [n, J].
    """
    there = subsets == words[:, None]
    places = np.where(there.any(1), there.argmax(1), subsets.shape[1] - 1)
    subsets = subsets.copy()
    subsets[np.arange(len(words)), places] = words
    values = np.empty((len(words), len(vectors)), np.float32)
    edge_arrays = contexts, subsets, places.astype(np.int32)
    for edges, count, arrays in _edges(*edge_arrays):
      for rows, tile in _tiles(_NARROW_TILES, vectors):
        result = np.asarray(self._bounds(tile, *arrays, count))
        values[edges, rows] = result[:count, : rows.stop - rows.start]
    return values

  def likeliest(self, contexts: np.ndarray) -> np.ndarray:
    """Return the words likeliest over the training images, [Q, W] int32.

    Without training images all words are alike: the first of the vocabulary,
    which has the frequent ones first.
    """
    words = np.empty((len(contexts), self.num_words), np.int32)
    if not len(self.norm_vectors):
      words[:] = np.arange(self.num_words)
      return words
    for edges, count, (context,) in _edges(contexts):
      found = self._likeliest(self.norm_vectors, context, count)
      words[edges] = np.asarray(found)[:count]
    return words


def _fitting(sizes: Sequence[int], count: int) -> int:
  """Return the smallest of the sizes that holds so many; else the last."""
  return next((size for size in sizes if size >= count), sizes[-1])


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
  return [rows[i : i + size] for i in range(0, len(rows), size)]


def _tiles(sizes: Sequence[int], vectors: np.ndarray):
  """Yield slices of the images, and their vectors filled up to a tile."""
  first = 0
  while first < len(vectors):
    size = _fitting(sizes, len(vectors) - first)
    rows = slice(first, min(first + size, len(vectors)))
    yield rows, parallel.pad_rows(np.asarray(vectors[rows]), size)
    first = rows.stop


def _edges(*arrays: np.ndarray):
  """Yield slices of edges, their number, and their arrays filled up."""
  for first in range(0, len(arrays[0]), _EDGES):
    edges = slice(first, min(first + _EDGES, len(arrays[0])))
    filled = [parallel.pad_rows(np.asarray(x[edges]), _EDGES) for x in arrays]
    yield edges, edges.stop - edges.start, filled
