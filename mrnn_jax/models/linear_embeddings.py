"""Joint embeddings in closed form: linear in the feature and in tf-idf.

A sentence is the tf-idf vector of its words, of length 1; images and sentences
are taken from the mean of the training pairs, each caption with its image.

Letters: C captions, V vocabulary, D image feature, J the common space.
"""

from collections.abc import Callable
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.models import layers
from mrnn_jax.models.bag_of_words import Bags, weighted_bags
from mrnn_jax.models.contract import Examples, option
from mrnn_jax.models.joint_embedding import JointEmbedding, unit

Array = jax.Array

# Images whose features are scaled together.
_BLOCK = 1024


@dataclasses.dataclass(frozen=True)
class Moments:
  """Means and covariances of C pairs of an image x and a sentence y.

  Attributes:
    weights: [V] inverse document frequencies.
    image_mean: [D].
    sentence_mean: [V].
    images: [D, D] covariance of x.
    pairs: [D, V] of x and y.
    bags: the sentences y, not centred.
  """

  weights: np.ndarray
  image_mean: np.ndarray
  sentence_mean: np.ndarray
  images: np.ndarray
  pairs: np.ndarray
  bags: Bags

  @classmethod
  def of(
    cls,
    examples: Examples,
    scaled: Callable[[np.ndarray], np.ndarray],
    vocab_size: int,
  ) -> 'Moments':
    """Compute them in blocks of images.

    Args:
      examples: the pairs.
      scaled: numbers of images -> their scaled features [..., D].
      vocab_size: V.
    """
    bags = Bags.count(examples.tokens, examples.offsets, vocab_size)
    weights = bags.inverse_document_frequencies()
    bags = bags.weighted(weights).units()
    share = np.bincount(examples.owner) / len(examples.owner)
    mean, squares = np.zeros(()), np.zeros(())
    for first in range(0, len(share), _BLOCK):
      images = np.arange(first, min(first + _BLOCK, len(share)))
      x, w = scaled(images), share[images, None]
      mean = mean + (w * x).sum(0)
      squares = squares + x.T @ (w * x)
    y = bags.mean()
    product = bags.product(scaled, examples.owner) / len(examples.owner)
    return cls(
      weights=weights,
      image_mean=mean,
      sentence_mean=y,
      images=squares - np.outer(mean, mean),
      pairs=product - np.outer(mean, y),
      bags=bags,
    )


def ridged(covariance: np.ndarray, ridge: float) -> np.ndarray:
  """Return a covariance with ``ridge`` times its mean variance added."""
  size = len(covariance)
  # Where nothing varies, anything positive will do.
  variance = np.trace(covariance) / size or 1.0
  return covariance + ridge * variance * np.eye(size)


class LinearEmbedding(JointEmbedding):
  """What is linear in the feature and in tf-idf.

  Attributes:
    image_ridge: regularisation, as a share of the features' mean variance.
  """

  image_ridge: float = option(
    0.3,
    'Regularisation of bow and cca: added to the covariance of the features, '
    'as a share of their mean variance.',
    above=0,
  )

  def setup(self):
    """Name the arrays."""
    self.setup_image_input()
    D, V = self.feature_size, self.vocab_size
    zeros = jax.nn.initializers.zeros
    self.weights = self.param('weights', zeros, (V,))
    self.image_mean = self.param('image_mean', zeros, (D,))
    self.sentence_mean = self.param('sentence_mean', zeros, (V,))
    self.image_map = self.param('image_map', zeros, (D, self.space_size()))

  def space_size(self) -> int:
    """Return J."""
    raise NotImplementedError

  def image(self, features: Array, row_keys: Array | None = None) -> Array:
    """Return unit vectors [..., J] of raw features [..., D]."""
    scaled = self.image_input(features) - self.image_mean
    return unit(jnp.matmul(scaled, self.image_map, precision=self.precision))

  def sentence(self, tokens: Array) -> Array:
    """Return unit vectors [S, J] of sentences [S, T]."""
    bags = unit(weighted_bags(tokens, self.weights)) - self.sentence_mean
    return unit(self.placed(bags))

  def placed(self, bags: Array) -> Array:
    """Return centred tf-idf vectors [S, V] in the common space, [S, J]."""
    return bags

  def moments(self, examples: Examples) -> Moments:
    """Return the moments of the features as this model scales them."""

    def scaled(images: np.ndarray) -> np.ndarray:
      features = jnp.asarray(examples.features[images])
      return np.asarray(
        layers.scale_features(
          features, self.feature_scaling, examples.statistics
        ),
        np.float64,
      )

    return Moments.of(examples, scaled, self.vocab_size)


class BagRegression(LinearEmbedding):
  """Bag of words: the words of an image's captions, predicted by its feature.

  Ridge regression of tf-idf on the feature; J = V.  The paper's bow-decaf is of
  this kind: an image is its predicted bag.
  """

  def space_size(self) -> int:
    """Return V."""
    return self.vocab_size

  def fit(self, examples: Examples) -> dict[str, np.ndarray]:
    """Solve the regression."""
    moments = self.moments(examples)
    solved = np.linalg.solve(
      ridged(moments.images, self.image_ridge), moments.pairs
    )
    return _single(
      weights=moments.weights,
      image_mean=moments.image_mean,
      sentence_mean=moments.sentence_mean,
      image_map=solved,
    )


class CanonicalCorrelation(LinearEmbedding):
  """Regularised canonical correlation analysis of feature and tf-idf.

  The first J pairs of directions whose projections correlate most (Hotelling
  1936), each weighted by a power of its correlation, so that weak ones count
  little (Gong et al. 2014, who take the fourth).

  Attributes:
    cca_size: J, at most D and V.
    cca_power: the power, of either side; 0: all directions count alike.
    sentence_ridge: as ``image_ridge``, of the sentences.
  """

  cca_size: int = option(
    100, 'Pairs of directions that cca takes, at most.', low=1
  )
  cca_power: float = option(
    1.0,
    'Power of its correlation that weighs a direction of cca; 0: all alike.',
    low=0,
    high=100,
  )
  sentence_ridge: float = option(
    1.0,
    'Regularisation of cca: added to the covariance of tf-idf, as a share of '
    'its mean variance.',
    above=0,
  )

  def setup(self):
    """Name the arrays."""
    super().setup()
    self.sentence_map = self.param(
      'sentence_map',
      jax.nn.initializers.zeros,
      (self.vocab_size, self.space_size()),
    )

  def space_size(self) -> int:
    """Return J."""
    return min(self.cca_size, self.feature_size, self.vocab_size)

  def placed(self, bags: Array) -> Array:
    """Return centred tf-idf vectors [S, V] in the common space, [S, J]."""
    return jnp.matmul(bags, self.sentence_map, precision=self.precision)

  def fit(self, examples: Examples) -> dict[str, np.ndarray]:
    """Solve the eigenvalue problem.

    With Cholesky factors Cxx = Lx Lx^T, Cyy = Ly Ly^T and
    T = Lx^-1 Cxy Ly^-T = U R W^T, the directions are Lx^-T U and Ly^-T W, their
    correlations R.
    """
    moments = self.moments(examples)
    covariance = moments.bags.second_moments() - np.outer(
      moments.sentence_mean, moments.sentence_mean
    )
    left = np.linalg.cholesky(ridged(moments.images, self.image_ridge))
    right = np.linalg.cholesky(ridged(covariance, self.sentence_ridge))
    half = np.linalg.solve(left, moments.pairs)
    T = np.linalg.solve(right, half.T).T
    squares, U = np.linalg.eigh(T @ T.T)
    order = np.argsort(-squares)[: self.space_size()]
    R, U = np.sqrt(np.maximum(squares[order], 0)), U[:, order]
    # T^T U is W R; what correlates with nothing has no W.
    W = T.T @ U / np.where(R > 0, R, 1)
    weight = np.where(R > 0, R, 0) ** self.cca_power
    image_map = np.linalg.solve(left.T, U * weight)
    sentence_map = np.linalg.solve(right.T, W * weight)
    return _single(
      weights=moments.weights,
      image_mean=moments.image_mean,
      sentence_mean=moments.sentence_mean,
      image_map=image_map,
      sentence_map=sentence_map,
    )


def _single(**arrays: np.ndarray) -> dict[str, np.ndarray]:
  return {name: value.astype(np.float32) for name, value in arrays.items()}
