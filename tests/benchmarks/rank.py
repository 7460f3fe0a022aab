"""Ranking: log P(sentence | image) of all sentences for all images."""

from typing import Any

import numpy as np

from mrnn_jax import model as model_lib
from mrnn_jax import rank as rank_lib
from mrnn_jax.prefix_tree import PrefixTree
from tests.benchmarks import harness, lengths, weights, work

# ``sentences_at_a_time`` and ``images_of_theirs`` are PyTorch's: it takes one
# image after another, all alike, so that some of them are enough.
SIZES = {
  'tiny': {
    'num_sentences': 20,
    'num_images': 6,
    'vocab_size': 50,
    'feature_size': 8,
  },
  'small': {
    'num_sentences': 600,
    'num_images': 100,
    'vocab_size': lengths.VOCAB_SIZE,
    'feature_size': lengths.FEATURE_SIZE,
  },
  'full': {
    'num_sentences': 5000,
    'num_images': 1000,
    'vocab_size': lengths.VOCAB_SIZE,
    'feature_size': lengths.FEATURE_SIZE,
  },
}
IMAGES_OF_THEIRS = {'tiny': 3, 'small': 30, 'full': 20}
# A tenth of the sentences: 500 of Flickr8K's 5,000.  Fewer sentences sorted by
# length, as many at a time, would be padded more.
_PARTS = 10


def comparisons(options: harness.Options) -> list[harness.Comparison]:
  """Return the one comparison."""
  sizes = SIZES[options.scale]
  theirs = {
    **sizes,
    'num_images': IMAGES_OF_THEIRS[options.scale],
    'sentences_at_a_time': max(1, sizes['num_sentences'] // _PARTS),
  }
  return [
    harness.Comparison(
      f'ranking, {sizes["num_sentences"]:,} sentences x '
      f'{sizes["num_images"]:,} images',
      _task(sizes, options),
      work.Task('tests.benchmarks.torch_mrnn:Ranking', theirs),
      floor=4.0,
      share_floor=1.05,
      whole=sizes['num_sentences'] * sizes['num_images'],
      check='tests.benchmarks.rank:agreement',
    )
  ]


def growths(options: harness.Options) -> list[harness.Growth]:
  """Return the tables of doublings: images, sentences, vocabulary."""
  sizes = SIZES['tiny' if options.scale == 'tiny' else 'small']
  sizes = {**sizes, 'num_sentences': sizes['num_sentences'] // 2}
  names = {'N': 'num_images', 'S': 'num_sentences', 'V': 'vocab_size'}
  return [
    harness.Growth(
      f'ranking, {name}',
      [
        (value, _task({**sizes, key: value}, options))
        for value in (sizes[key], 2 * sizes[key], 4 * sizes[key])
      ],
    )
    for name, key in names.items()
  ]


def _task(sizes: dict[str, int], options: harness.Options) -> work.Task:
  tiling = {
    name: getattr(options, name)
    for name in ('image_block', 'tile_rows')
    if getattr(options, name)
  }
  return work.Task('tests.benchmarks.rank:Ranking', {**sizes, 'tiling': tiling})


class Ranking(work.Work):
  """The matrix by ``mrnn_jax.rank.Ranker``."""

  unit = 'scores'

  def __init__(
    self,
    num_sentences: int,
    num_images: int,
    vocab_size: int,
    feature_size: int,
    tiling: dict[str, int],
  ):
    """Make a random model and what it ranks."""
    self.vocab_size = vocab_size
    pool = lengths.test_pool(num_sentences, vocab_size)
    self._sentences = [sentence.tolist() for sentence in pool]
    self._features = lengths.features(num_images, feature_size)
    random = weights.random_weights(vocab_size, feature_size)
    model = model_lib.MRNN(vocab_size, feature_size)
    self._ranker = rank_lib.Ranker(
      model,
      {'params': random.params, 'statistics': random.statistics},
      **tiling,
    )
    self._prefixes = PrefixTree.build(self._sentences).num_prefixes
    self._matrix = np.zeros((0, 0), np.float32)
    self.sizes = {
      'sentences': lengths.source(num_sentences, vocab_size, 'test'),
      'S': num_sentences,
      'N': num_images,
      'target words': lengths.num_targets(pool),
      'distinct prefixes': self._prefixes,
      'V': vocab_size,
      'D': feature_size,
      'tiles': self._ranker.tiling,
    }

  def warm_up(self) -> None:
    """Rank for the first block of images: all blocks are of one shape."""
    next(iter(self._ranker.blocks(self._sentences, self._features)))

  def run(self) -> work.Done:
    """Rank all; the language path and the making of tiles count too."""
    self._matrix = self._ranker.log_probs(self._sentences, self._features)
    pairs = self._prefixes * len(self._features)
    return work.Done(
      self._matrix.size, 2.0 * pairs * weights.M * self.vocab_size
    )

  def answer(self) -> Any:
    """Return [S, N] natural logarithms."""
    return self._matrix


def agreement(ours: np.ndarray, theirs: np.ndarray) -> str:
  """Say how far both matrices are from each other, where both have scores."""
  ours = ours[:, : theirs.shape[1]]
  gap = np.abs(ours - theirs).max()
  return (
    f'largest difference {gap:.1e} of {theirs.size:,} log-probabilities, '
    f'mean {theirs.mean():.1f}'
  )
