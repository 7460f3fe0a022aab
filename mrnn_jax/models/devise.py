"""DeViSE (Frome et al. 2013): images among word vectors, by a hinge on ranks.

Letters: B pairs of a step, D image feature, E word vector, V vocabulary.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.models import layers, skip_gram
from mrnn_jax.models.bag_of_words import Bags, weighted_bags
from mrnn_jax.models.contract import DroppedImageModel, Examples, option
from mrnn_jax.models.joint_embedding import JointEmbedding, unit

Array = jax.Array

# Pairs a step, whose other sentences are the wrong ones; steps in one call.
_BATCH = 128
_STEPS = 64
_LEARNING_RATE = 0.03


class Devise(JointEmbedding, DroppedImageModel):
  """A linear map of the feature into the space of word vectors.

  A sentence is the mean of its words' vectors, skip-gram of the training
  captions, taken from the mean of all sentences and scaled to length 1.  The
  map is to bring each image nearer to its sentence than to the others of the
  batch, by a margin:

    sum max(0, margin - cos(M I, t) + cos(M I, t')).

  Frome et al. take M I as it is; by cosine it is what ranks, in both
  directions.

  Attributes:
    word_vector_size: E.
    skip_gram_window: words to each side.
    skip_gram_epochs: passes of the skip-gram.
    devise_epochs: passes of the hinge.
    devise_margin: the margin.
  """

  word_vector_size: int = option(300, 'Word vectors of devise.', low=1)
  skip_gram_window: int = option(
    5,
    "Words to each side that a word's vector is learnt from, of devise.",
    low=1,
    high=100,
  )
  skip_gram_epochs: int = option(
    10, "Passes over the captions for devise's word vectors.", low=1
  )
  devise_epochs: int = option(
    15, 'Passes over the captions for the map of devise.', low=1
  )
  devise_margin: float = option(
    0.1, "Margin of devise's hinge, between cosines.", above=0
  )

  def setup(self):
    """Name the arrays."""
    self.setup_image_input()
    D, V, E = self.feature_size, self.vocab_size, self.word_vector_size
    zeros = jax.nn.initializers.zeros
    self.words = self.param('words', zeros, (V, E))
    self.sentence_mean = self.param('sentence_mean', zeros, (E,))
    self.image_map = self.param('image_map', zeros, (D, E))

  def image(self, features: Array, row_keys: Array | None = None) -> Array:
    """Return unit vectors [..., E] of raw features [..., D]."""
    scaled = self.image_input(features, row_keys)
    return unit(jnp.matmul(scaled, self.image_map, precision=self.precision))

  def sentence(self, tokens: Array) -> Array:
    """Return unit vectors [S, E] of sentences [S, T]."""
    bags = weighted_bags(tokens, jnp.ones(self.vocab_size))
    total = jnp.matmul(bags, self.words, precision=self.precision)
    return unit(unit(total) - self.sentence_mean)

  def fit(self, examples: Examples) -> dict[str, np.ndarray]:
    """Learn the word vectors, then the map."""
    epochs = self.skip_gram_epochs + self.devise_epochs
    words = skip_gram.word_vectors(
      examples.tokens,
      examples.offsets,
      self.vocab_size,
      self.word_vector_size,
      self.skip_gram_window,
      self.skip_gram_epochs,
      examples.seed,
      lambda done, of: examples.progress(done, epochs),
    )
    words = _units(words)
    sentences = _sentences(examples, words)
    mean = sentences.mean(0)
    sentences = _units(sentences - mean)
    return {
      'words': words,
      'sentence_mean': mean,
      'image_map': self._map(examples, sentences, epochs),
    }

  def _map(
    self, examples: Examples, sentences: np.ndarray, epochs: int
  ) -> np.ndarray:
    """Learn M [D, E] by AdaGrad."""
    rng = np.random.default_rng((examples.seed, 3))
    D, E = self.feature_size, self.word_vector_size
    start = rng.normal(scale=0.01, size=(D, E)).astype(np.float32)
    state = jnp.asarray(start), jnp.full((D, E), 1e-8)
    C = len(examples.owner)
    batch = min(_BATCH, C)
    take_steps = functools.partial(
      _take_steps,
      statistics=examples.statistics,
      scaling=self.feature_scaling,
      margin=self.devise_margin,
      image_dropout=self.image_dropout,
    )
    keys = jax.random.split(jax.random.key(examples.seed), self.devise_epochs)
    for epoch, key in enumerate(keys):
      steps = -(-C // batch)
      drawn = np.resize(rng.permutation(C), (steps, batch))
      for first in range(0, steps, _STEPS):
        part = drawn[first : first + _STEPS]
        owner = examples.owner[part]
        features = np.asarray(examples.features[owner], np.float32)
        state = take_steps(
          state,
          features,
          sentences[part],
          owner,
          jax.random.split(jax.random.fold_in(key, first), len(part)),
        )
      examples.progress(self.skip_gram_epochs + epoch + 1, epochs)
    return np.asarray(state[0])


def _sentences(examples: Examples, words: np.ndarray) -> np.ndarray:
  """Return the captions' mean word vectors [C, E], scaled to length 1."""
  bags = Bags.count(examples.tokens, examples.offsets, len(words))
  total = np.zeros((bags.num_captions, words.shape[1]), np.float32)
  block = 1 << 16
  for first in range(0, len(bags.word), block):
    part = slice(first, first + block)
    value = bags.value[part, None].astype(np.float32)
    np.add.at(total, bags.caption[part], value * words[bags.word[part]])
  return _units(total)


def _units(vectors: np.ndarray) -> np.ndarray:
  norm = np.linalg.norm(vectors, axis=1, keepdims=True)
  return vectors / np.where(norm > 0, norm, 1)


def hinge(
  image_map: Array,
  images: Array,
  sentences: Array,
  owner: Array,
  margin: float,
) -> Array:
  """Return sum_b sum_b' max(0, margin - cos(M I_b, t_b) + cos(M I_b, t_b')).

  Args:
    image_map: M [D, E].
    images: [B, D] scaled features.
    sentences: [B, E] unit vectors; those of the same image are not wrong.
    owner: [B] the image of each.
    margin: between cosines.
  """
  placed = unit(jnp.matmul(images, image_map, precision='highest'))
  cosines = jnp.matmul(placed, sentences.T, precision='highest')
  right = jnp.diagonal(cosines)[:, None]
  wrong = owner[:, None] != owner[None]
  return jnp.where(wrong, jnp.maximum(0, margin - right + cosines), 0).sum()


@functools.partial(
  jax.jit,
  static_argnames=('scaling', 'margin', 'image_dropout'),
  donate_argnums=0,
)
def _take_steps(
  state: tuple[Array, Array],
  features: Array,
  sentences: Array,
  owner: Array,
  keys: Array,
  *,
  statistics: dict[str, Array],
  scaling: str,
  margin: float,
  image_dropout: float,
) -> tuple[Array, Array]:
  """Take steps of AdaGrad on M: [steps, B, ...] features, sentences, owners."""

  def step(state, batch):
    image_map, squares = state
    features, sentences, owner, key = batch
    images = layers.scale_features(features, scaling, statistics)
    images = layers.dropout(
      images,
      image_dropout,
      jax.random.split(key, len(images)),
      layers.IMAGE,
    )
    cost = functools.partial(
      hinge, images=images, sentences=sentences, owner=owner, margin=margin
    )
    gradient = jax.grad(cost)(image_map) / len(images)
    squares += gradient * gradient
    image_map -= _LEARNING_RATE * gradient / jnp.sqrt(squares)
    return (image_map, squares), None

  return jax.lax.scan(step, state, (features, sentences, owner, keys))[0]
