"""Small pools of sentences and images, their probabilities and counts."""

import numpy as np

from mrnn_jax.data import datasets
from mrnn_jax.evaluation import scores as scores_lib
from mrnn_jax.evaluation.tally import Tally

# P(sentence | image) of two images with two sentences each, and of three
# training images.
PROBS = np.array([[0.5, 0.25], [0.1, 0.2], [0.4, 0.4], [0.01, 0.02]])
DRAWN = np.array(
  [[0.5, 0.5, 0.2], [0.05, 0.1, 0.15], [0.8, 0.8, 0.2], [1e-3, 2e-3, 3e-3]]
)
LENGTHS = np.array([1, 2, 4, 25])
OWNER = np.array([0, 0, 1, 1])


def logs(values):
  return np.log(values).astype(np.float32)


def scores_of(probs=PROBS, drawn=DRAWN, lengths=LENGTHS, owner=OWNER):
  true = scores_lib.true_of_matrix(logs(probs), owner)
  return scores_lib.LogProbabilities(owner, true, lengths, logs(drawn))


def tally_of(
  probs=PROBS, drawn=DRAWN, lengths=LENGTHS, owner=OWNER, shortlist=None
):
  scores = scores_of(probs, drawn, lengths, owner)
  blocks = scores_lib.of_matrix(logs(probs))
  return Tally(scores, shortlist).add_all(blocks)


def draw():
  """Probabilities of 13 sentences, for 4 images and 31 drawn ones."""
  rng = np.random.default_rng(5)
  owner = np.sort([*range(4), *rng.integers(0, 4, 9)])
  lengths = rng.integers(2, 9, 13)
  # Longer sentences are less likely, and some are likely for every image.
  level = rng.uniform(0.2, 0.7, 13) ** lengths
  probs = level[:, None] * rng.uniform(0.5, 1, (13, 4))
  drawn = level[:, None] * rng.uniform(0.2, 1, (13, 31))
  return probs, drawn, lengths, owner


WORDS = [f'w{i}' for i in range(13)]


def make_split(vocab, owner, first_caption_only=False):
  """A split whose sentences are one word each, in the order of images."""
  records = [
    {
      'image_id': f'{image}.jpg',
      'feature': np.asarray([image, 1.0], np.float32),
      'captions': [WORDS[s] for s in np.flatnonzero(owner == image)],
    }
    for image in range(max(owner) + 1)
  ]
  return datasets.make_split(
    'test', records, vocab, first_caption_only=first_caption_only
  )
