"""Parameters that both implementations take: random ones, or a model file's.

Nested dictionaries of numpy arrays with the names of the Flax model; nothing
here imports JAX, as PyTorch's process must not have it.
"""

import dataclasses
import json
from typing import Any

import numpy as np

from mrnn_jax.data.vocabulary import END
from mrnn_jax.runtime.errors import InputError

# The paper's sizes (section 3.2), and the clipping of standardised features.
E, R, M = 128, 256, 512
FEATURE_CLIP = 5.0

# Where a random model ends its captions, and how much images differ in it.
_RANDOM_LENGTH, _RANDOM_SPREAD = 10, 2.5


@dataclasses.dataclass(frozen=True)
class Weights:
  """A model's parameters and features to try it with.

  Attributes:
    params: nested, as Flax names them.
    statistics: 'mean' and 'std' [D] of the features.
    features: [K, D] raw features of images.
    source: what they are, for the report.
  """

  params: dict[str, Any]
  statistics: dict[str, np.ndarray]
  features: np.ndarray
  source: str

  @property
  def vocab_size(self) -> int:
    """V."""
    return len(self.params['softmax']['bias'])

  @property
  def feature_size(self) -> int:
    """D."""
    return len(self.statistics['mean'])

  def scaled(self, features: np.ndarray) -> np.ndarray:
    """Standardise raw features [N, D], as the model does."""
    std = self.statistics['std']
    scale = np.where(std > 0, 1 / np.where(std > 0, std, 1), 0)
    scaled = (features - self.statistics['mean']) * scale
    return np.clip(scaled, -FEATURE_CLIP, FEATURE_CLIP).astype(np.float32)

  def images(self, count: int, seed: int = 0) -> np.ndarray:
    """Return features [count, D]: mixtures of two of the model's each."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(len(self.features), size=(2, count))
    share = rng.random((count, 1), np.float32)
    mixed = share * self.features[first]
    return (mixed + (1 - share) * self.features[second]).astype(np.float32)


def word_flops(vocab_size: int) -> float:
  """Return the operations of the products for one word of one caption."""
  return 2.0 * (E * R + R * R + 2 * R * M + M * vocab_size)


def random_params(
  vocab_size: int, feature_size: int, seed: int = 0
) -> dict[str, Any]:
  """Draw parameters of the paper's sizes."""
  rng = np.random.default_rng((seed, 3))

  def matrix(rows, columns):
    drawn = rng.standard_normal((rows, columns), np.float32)
    return drawn / np.float32(np.sqrt(rows))

  return {
    'embedding_1': {'embedding': matrix(vocab_size, E) * vocab_size**0.5},
    'embedding_2': {'kernel': matrix(E, R), 'bias': np.zeros(R, np.float32)},
    'recurrent': np.eye(R, dtype=np.float32) * np.float32(0.9),
    'multimodal_word': {'kernel': matrix(R, M)},
    'multimodal_recurrent': {'kernel': matrix(R, M) / 3},
    'multimodal_image': {'kernel': matrix(feature_size, M)},
    'softmax': {
      'kernel': matrix(M, vocab_size),
      'bias': np.zeros(vocab_size, np.float32),
    },
  }


def random_weights(vocab_size: int, feature_size: int) -> Weights:
  """Return a random model whose captions end after about ten words.

  One recurrent unit counts the words; it alone moves one multimodal unit,
  beside the image, and that unit alone moves the logit of ``##END##``.
  """
  params = random_params(vocab_size, feature_size)
  tick = 0.1
  params['embedding_2']['kernel'][:, 0] = 0
  params['embedding_2']['bias'][0] = tick
  params['recurrent'][0, 0] = 1
  params['multimodal_word']['kernel'][:, 0] = 0
  params['multimodal_recurrent']['kernel'][:, 0] = 0
  params['multimodal_recurrent']['kernel'][0] = 0
  params['multimodal_recurrent']['kernel'][0, 0] = 1
  params['multimodal_image']['kernel'][:, 0] *= tick * _RANDOM_SPREAD
  end = 100.0
  params['softmax']['kernel'][0] = 0
  params['softmax']['kernel'][:, END] = 0
  params['softmax']['kernel'][0, END] = end
  # g2 of the counting unit after as many words (eq. 4).
  there = 1.7159 * np.tanh(tick * (_RANDOM_LENGTH + 1) * 2 / 3)
  params['softmax']['bias'][END] = -end * there
  rng = np.random.default_rng(4)
  return Weights(
    params=params,
    statistics={
      'mean': np.zeros(feature_size, np.float32),
      'std': np.ones(feature_size, np.float32),
    },
    features=rng.standard_normal((300, feature_size), np.float32),
    source='random',
  )


def read_weights(path: str) -> Weights:
  """Read a file that ``--task=export`` wrote.

  Raises:
    InputError: there is no such file, or the model is not of the paper's sizes
      and settings, which the PyTorch side is written for.
  """
  try:
    with np.load(path) as file:
      arrays = dict(file)
    config = json.loads(str(arrays.pop('description')))['config']
  except (OSError, ValueError, KeyError) as error:
    raise InputError(
      f'--model={path} is not a model file: give one that --task=export wrote.'
    ) from error
  wanted = {
    'model': 'm-rnn',
    'embedding_size': E,
    'recurrent_size': R,
    'multimodal_size': M,
    'embedding_activation': 'none',
    'embedding_bias': True,
    'multimodal_bias': False,
    'feature_scaling': 'standardize',
  }
  for name, value in wanted.items():
    if config[name] != value:
      raise InputError(
        f'--model={path} has {name}={config[name]}: the benchmarks take models '
        f'with {name}={value} only.'
      )
  features = arrays.pop('norm_features').astype(np.float32)
  tree: dict[str, Any] = {}
  for name, value in arrays.items():
    *parents, leaf = name.split('/')
    branch = tree
    for parent in parents:
      branch = branch.setdefault(parent, {})
    branch[leaf] = value.astype(np.float32)
  return Weights(tree['params'], tree['statistics'], features, path)
