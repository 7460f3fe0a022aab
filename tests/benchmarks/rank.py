"""Ranking: log P(sentence | image) of all sentences for all images."""

import numpy as np

from mrnn_jax import models
from mrnn_jax.ranking import ranker as rank_lib
from mrnn_jax.ranking.prefix_tree import PrefixTree
from tests.benchmarks import harness, lengths, weights, work

# The sentences are the first of a pool.  What ranking costs depends on how many
# prefixes they share, so only images are left out of the small trial: all cost
# the same.  The tables of doublings take few sentences; synthetic ones share as
# much as all do.
SIZES = {
  'tiny': {
    'pool_size': 40,
    'num_sentences': 20,
    'num_images': 6,
    'vocab_size': 50,
    'feature_size': 8,
  },
  'small': {
    'pool_size': 5000,
    'num_sentences': 5000,
    'num_images': 100,
    'vocab_size': lengths.VOCAB_SIZE,
    'feature_size': lengths.FEATURE_SIZE,
  },
}
SIZES['full'] = {**SIZES['small'], 'num_images': 1000}
SENTENCES_TO_DOUBLE = {'tiny': 10, 'small': 300, 'full': 300}

# PyTorch has the whole pool, whose padding depends on how many are sorted, for
# a few of the images: it takes one after another, all alike.
THEIRS = {
  'tiny': {'num_images': 3, 'sentences_at_a_time': 4},
  'small': {'num_images': 2, 'sentences_at_a_time': 500},
  'full': {'num_images': 10, 'sentences_at_a_time': 500},
}

# By how much the sum of some ten words may differ, as a share of it and in
# nats: float32 has 24 bits, bfloat16 8, and a few are lost by adding.
_EXACT, _ROUNDED = (2**-18, 5e-4), (2**-6, 0.1)


def comparisons(options: harness.Options) -> list[harness.Comparison]:
  """Return the one comparison."""
  sizes = SIZES[options.scale]
  theirs = {
    **sizes,
    'num_sentences': sizes['pool_size'],
    **THEIRS[options.scale],
  }
  pool = lengths.test_pool(sizes['pool_size'], sizes['vocab_size'])
  words = lengths.num_targets(pool[: sizes['num_sentences']])
  return [
    harness.Comparison(
      f'ranking, {sizes["num_sentences"]:,} sentences x '
      f'{sizes["num_images"]:,} images',
      _task(sizes, options),
      work.Task('tests.benchmarks.torch_mrnn:Ranking', theirs),
      floor=4.0,
      share_floor=1.05,
      whole=words * sizes['num_images'],
      check='tests.benchmarks.rank:agreement',
    )
  ]


def growths(options: harness.Options) -> list[harness.Growth]:
  """Return the tables of doublings: images, sentences, vocabulary."""
  sizes = SIZES['tiny' if options.scale == 'tiny' else 'small']
  sizes = {**sizes, 'num_sentences': SENTENCES_TO_DOUBLE[options.scale]}
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
  """The matrix by ``mrnn_jax.ranking.ranker.Ranker``."""

  unit = 'words'

  def __init__(
    self,
    pool_size: int,
    num_sentences: int,
    num_images: int,
    vocab_size: int,
    feature_size: int,
    tiling: dict[str, int],
  ):
    """Make a random model and what it ranks."""
    self.vocab_size = vocab_size
    pool = lengths.test_pool(pool_size, vocab_size)[:num_sentences]
    self._sentences = [sentence.tolist() for sentence in pool]
    self._features = lengths.features(num_images, feature_size)
    random = weights.random_weights(vocab_size, feature_size)
    model = models.MRNN(vocab_size, feature_size)
    self._ranker = rank_lib.Ranker(
      model,
      {'params': random.params, 'statistics': random.statistics},
      **tiling,
    )
    self._prefixes = PrefixTree.build(self._sentences).num_prefixes
    self._num_targets = lengths.num_targets(pool)
    self._matrix = np.zeros((0, 0), np.float32)
    self.sizes = {
      'sentences': lengths.source(pool_size, vocab_size, 'test'),
      'S': num_sentences,
      'N': num_images,
      'target words': self._num_targets,
      'distinct prefixes': self._prefixes,
      'V': vocab_size,
      'D': feature_size,
      'tiles': f'{self._ranker.tiling} {self._ranker.arithmetic}',
    }

  def warm_up(self) -> None:
    """Rank for the first block of images: all blocks are of one shape."""
    next(iter(self._ranker.blocks(self._sentences, self._features)))

  def run(self) -> work.Done:
    """Rank all; the language path and the making of tiles count too."""
    self._matrix = self._ranker.log_probs(self._sentences, self._features)
    pairs = self._prefixes * len(self._features)
    return work.Done(
      self._num_targets * len(self._features),
      2.0 * pairs * weights.M * self.vocab_size,
    )

  def answer(self) -> tuple[np.ndarray, bool]:
    """Return [S, N] natural logarithms, and whether operands were rounded."""
    return self._matrix, 'bfloat16' in self._ranker.arithmetic


def agreement(ours: tuple[np.ndarray, bool], theirs: np.ndarray) -> str:
  """Say how far both matrices are from each other, where both have scores.

  Args:
    ours: [S, N], and whether operands were rounded to bfloat16.
    theirs: [S', N'].

  Raises:
    harness.DisagreementError: a score is further off than the rounding of
      products explains.
  """
  scores, rounded = ours
  rows = min(len(scores), len(theirs))
  columns = min(scores.shape[1], theirs.shape[1])
  scores, theirs = scores[:rows, :columns], theirs[:rows, :columns]
  gaps = np.abs(scores - theirs)
  said = (
    f'largest difference {gaps.max():.1e} of {theirs.size:,} '
    f'log-probabilities, mean {theirs.mean():.1f}'
  )
  relative, absolute = _ROUNDED if rounded else _EXACT
  # Negated, so that no NaN passes.
  if not (gaps <= absolute + relative * np.abs(theirs)).all():
    raise harness.DisagreementError(said)
  return said
