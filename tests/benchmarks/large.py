"""What does not depend on a model, at COCO's size: time and memory.

``python -m tests.benchmarks.large counting``, ``consensus`` or ``loading``: CPU
seconds, since they tell the same on a busy machine, and the most memory of the
process.
"""

import argparse
from collections.abc import Iterator, Sequence
import resource
import time

import numpy as np

from mrnn_jax.data import datasets, input_pipeline
from mrnn_jax.data.feature_spool import FeatureSpool
from mrnn_jax.data.vocabulary import END, PAD, START
from mrnn_jax.evaluation.scores import LogProbabilities
from mrnn_jax.evaluation.tally import Tally
from mrnn_jax.metrics.cider_pool import CiderPool
from mrnn_jax.ranking.best_items import Block
from tests.benchmarks import synthetic

# As the ranker cuts its work.
_SENTENCES, _IMAGES = 16384, 100
_CAPTIONS = 5  # Of an image.


def main(argv: Sequence[str] | None = None) -> None:
  """Run the command line."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.benchmarks.large', description=__doc__
  )
  parser.add_argument('what', choices=list(_WHAT))
  parser.add_argument('--images', type=int, default=0)
  parser.add_argument('--feature_size', type=int, default=1280)
  parser.add_argument('--batch_size', type=int, default=100)
  parser.add_argument('--steps', type=int, default=800)
  parser.add_argument(
    '--on_disk', action='store_true', help='loading: features beyond memory'
  )
  args = parser.parse_args(argv)
  function, images = _WHAT[args.what]
  args.images = args.images or images
  function(args)
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
  print(f'at most {peak:,.0f} MiB')


def _tell(what: str, begin: float) -> None:
  print(f'{what}: {time.process_time() - begin:.1f} CPU seconds', flush=True)


def counting(args: argparse.Namespace) -> None:
  """Count both directions of retrieval from made-up scores, matrix not kept."""
  N, S = args.images, _CAPTIONS * args.images
  owner = np.repeat(np.arange(N), _CAPTIONS)
  order = np.random.default_rng(0).permutation(S)
  parts = [order[i : i + _SENTENCES] for i in range(0, S, _SENTENCES)]

  def blocks() -> Iterator[Block]:
    for t, rows in enumerate(parts):
      for start in range(0, N, _IMAGES):
        columns = slice(start, min(start + _IMAGES, N))
        rng = np.random.default_rng((t, start))
        size = len(rows), columns.stop - start
        yield rows, columns, rng.standard_normal(size, np.float32) - 30

  true = np.empty(S, np.float32)
  for rows, columns, block in blocks():
    mine = (owner[rows] >= columns.start) & (owner[rows] < columns.stop)
    true[rows[mine]] = block[mine, owner[rows[mine]] - columns.start]
  drawn = np.random.default_rng(1).standard_normal((S, 300), np.float32) - 30
  scores = LogProbabilities(owner, true, np.full(S, 11), drawn)
  begin = time.process_time()
  tally = Tally(scores)
  for block in blocks():
    tally.add(block)
  measures = tally.measures()
  _tell(f'{N:,} images x {S:,} sentences, and making them up', begin)
  print(f'mean rank {measures["text_to_image"]["mean_rank"]:.0f}')


def consensus(args: argparse.Namespace) -> None:
  """Compare ten hypotheses of 200 images with the captions of 60 neighbours."""
  rng, N = np.random.default_rng(0), args.images
  texts = synthetic.sentences(_CAPTIONS * N, 10.5, 9500, rng)
  begin = time.process_time()
  pool = CiderPool(
    texts[i : i + _CAPTIONS] for i in range(0, len(texts), _CAPTIONS)
  )
  _tell(f'{len(texts):,} captions taken in', begin)
  hypotheses = synthetic.sentences(2000, 9.0, 9500, rng)
  begin = time.process_time()
  for i in range(200):
    pool.similarities(hypotheses[10 * i :][:10], rng.integers(0, N, 60))
  _tell('200 images, ten hypotheses each', begin)


class _Features:
  """Features of memory or of a file."""

  dtype = np.dtype(np.float16)

  def __init__(self, num_images: int, size: int, on_disk: bool):
    self.size, self._num_images = size, num_images
    self._rows = np.empty((num_images, size), self.dtype)
    if on_disk:
      self._rows = FeatureSpool(num_images, size, self.dtype)
    for i in range(num_images):
      self._rows[i] = np.ones(size, self.dtype)

  def __len__(self) -> int:
    return self._num_images

  def __getitem__(self, indices: np.ndarray) -> np.ndarray:
    return self._rows[indices]


def loading(args: argparse.Namespace) -> None:
  """Plan an epoch, and hand on the batches of some steps."""
  rng, C = np.random.default_rng(0), _CAPTIONS * args.images
  lengths = np.clip(rng.poisson(9.5, C) + 2, 3, 60)
  offsets = np.concatenate([[0], np.cumsum(lengths + 1)])
  tokens = rng.integers(4, 10_000, offsets[-1]).astype(np.int32)
  tokens[offsets[:-1]], tokens[offsets[1:] - 1] = START, END
  begin = time.process_time()
  features = _Features(args.images, args.feature_size, args.on_disk)
  _tell('features written', begin)
  owner = np.repeat(np.arange(args.images), _CAPTIONS)
  split = datasets.CaptionSplit(
    'train', [], [], features, owner, tokens, offsets
  )
  batches = input_pipeline.TrainingBatches(split, args.batch_size, 2, 4, 0)
  begin = time.process_time()
  batches.plan(1)
  _tell(f'an epoch of {C:,} captions planned', begin)
  for name, source in (
    ('filled', map(batches.batch, range(args.steps))),
    ('handed on by Grain', batches.iterate(0, args.steps)),
  ):
    begin, words = time.process_time(), 0
    for batch in source:
      words += int(np.count_nonzero(batch['targets'] != PAD))
    seconds = time.process_time() - begin
    print(
      f'{name}: {1e6 * seconds / args.steps:.0f} CPU microseconds a batch, '
      f'{words / seconds / 1e6:.1f} million words a CPU second',
      flush=True,
    )


_WHAT = {
  'counting': (counting, 5000),
  'consensus': (consensus, 113_000),
  'loading': (loading, 113_000),
}

if __name__ == '__main__':
  main()
