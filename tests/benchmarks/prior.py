"""Which training images P(w) is best estimated from (section 6).

``python -m tests.benchmarks.prior --model_file=W --data_dir=D --keep=FILE.npz``
computes P(w|I) of a sentence each of 250 validation images for these images
and for every training image, and ranks the sentences for each image by
P(w|I) / P(w), with P(w) from

- K of the training images, the same for all sentences, drawn five times;
- K that stand for clusters of the training images, weighed by their sizes;
- for each sentence the K/2 images whose captions are the most like it, and K/2
  drawn from the others, which stand for all of these;
- all of them.

Letters: S sentences, N images of the pool, T training images.
"""

import argparse
from collections.abc import Iterator, Sequence
import pathlib
from typing import Any

import numpy as np

import mrnn_jax
from mrnn_jax import config as config_lib
from mrnn_jax import metrics
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import tokenize
from mrnn_jax.metrics.cider_pool import CiderPool
from mrnn_jax.runtime.progress import Progress

DRAWS = 5
SIZES = (30, 60, 120, 300, 600, 1000, 2000, 4000)


def main(argv: Sequence[str] | None = None) -> None:
  """Run the command line."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.benchmarks.prior',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--model_file', required=True)
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--dataset', default='flickr8k')
  parser.add_argument('--images', type=int, default=250)
  parser.add_argument('--captions', type=int, default=1, help='of each')
  parser.add_argument('--keep', help='where P(w|I) is kept, to be read again')
  args = parser.parse_args(argv)
  kept = pathlib.Path(args.keep) if args.keep else None
  of = f'{args.model_file} {args.data_dir} {args.images} {args.captions}'
  if kept and kept.exists():
    with np.load(kept) as archive:
      arrays = dict(archive)
    if str(arrays['of']) != of:
      parser.error(f'{kept} is of {arrays["of"]}: name another file.')
  else:
    arrays = {**_compute(args), 'of': np.asarray(of)}
    if kept:
      np.savez(kept, **arrays)
  tell(arrays)


def _compute(args: argparse.Namespace) -> dict[str, np.ndarray]:
  """Return log P(w|I) and all else that is to be known of the images."""
  model = mrnn_jax.load(args.model_file)
  dataset = datasets.open_dataset(args.dataset, args.data_dir)
  model.check_dataset(dataset)
  config = config_lib.Config()
  pool = model.load_split(dataset, 'validation', config)
  train = model.load_split(dataset, 'train', config)
  counts = np.bincount(pool.owner)
  place = np.arange(len(pool.owner)) - np.repeat(
    np.cumsum(counts) - counts, counts
  )
  own = np.flatnonzero((pool.owner < args.images) & (place < args.captions))
  sentences = [pool.caption_tokens(c) for c in own]
  ranker = model.word_ranker()
  arrays = {'owner': pool.owner[own], 'features': train.features.all()}
  for name, features in (
    ('pool', pool.features[: args.images]),
    ('train', arrays['features']),
  ):
    with Progress(f'ranking {name}', ranker.unit) as progress:
      arrays[name] = ranker.log_probs(sentences, features, progress)
  texts = [text for texts in pool.captions for text in texts]
  order = likest(train.captions, [texts[c] for c in own])
  return {**arrays, 'likest': order}


def likest(
  captions: Sequence[Sequence[str]], sentences: Sequence[str]
) -> np.ndarray:
  """Return [S, T] the training images, those of the likest captions first."""

  def words(texts: Sequence[str]) -> list[str]:
    return [' '.join(tokenize(text)) for text in texts]

  pool = CiderPool(words(texts) for texts in captions)
  starts = np.cumsum(pool.num_captions) - pool.num_captions
  found = np.empty((len(sentences), len(captions)), np.int32)
  for s, sentence in enumerate(words(sentences)):
    alike = pool.similarities([sentence], np.arange(len(captions)))[0]
    found[s] = np.argsort(-np.maximum.reduceat(alike, starts), kind='stable')
  return found


def tell(arrays: dict[str, np.ndarray]) -> None:
  """Print R@1, 5 and 10 of sentences for each way to estimate P(w)."""
  pool, owner = arrays['pool'], arrays['owner']

  def recalls(log_prior: np.ndarray) -> np.ndarray:
    ranks = metrics.image_to_text_ranks(
      (pool - log_prior[:, None]).astype(np.float32), owner
    )
    return np.array([100 * np.mean(np.asarray(ranks) <= k) for k in (1, 5, 10)])

  print(f'{pool.shape[1]:,} images, {len(owner):,} sentences; image to text')
  print('P(w) from                         K   R@1 / 5 / 10, mean of draws')
  for name, K, priors in estimates(arrays):
    found = np.stack([recalls(prior) for prior in priors])
    middle = ' / '.join(f'{x:.1f}' for x in found.mean(0))
    spread = f', R@1 ± {found[:, 0].std(ddof=1):.1f}' if len(found) > 1 else ''
    print(f'{name:28s} {K:6,d}   {middle}{spread}', flush=True)


def estimates(
  arrays: dict[str, np.ndarray],
) -> Iterator[tuple[str, int, list[np.ndarray]]]:
  """Yield ways to estimate log P(w): name, K, and [S] for each draw."""
  logs = arrays['train'].astype(np.float64)
  S, T = logs.shape
  sizes = [K for K in SIZES if K < T]
  draws = [np.random.default_rng(seed).permutation(T) for seed in range(DRAWS)]
  for K in sizes:
    yield 'images drawn', K, [mean(logs[:, draw[:K]]) for draw in draws]
  yield 'all', T, [mean(logs)]
  for K in sizes[:6]:
    images, shares = clusters(arrays['features'], K)
    yield 'clusters', K, [mean(logs[:, images], np.log(shares * K))]
  for K in sizes[:6]:
    priors = []
    for draw in draws:
      log_prior = np.empty(S)
      for s, order in enumerate(arrays['likest']):
        near = order[: K // 2]
        others = draw[~np.isin(draw, near)][: K - len(near)]
        # Each stands for as many as it is drawn from.
        weight = np.r_[
          np.zeros(len(near)),
          np.full(len(others), np.log((T - len(near)) / len(others))),
        ]
        there = np.r_[near, others]
        total = np.logaddexp.reduce(logs[s, there] + weight)
        log_prior[s] = total - np.log(T)
      priors.append(log_prior)
    yield 'alike captions, and drawn', K, priors


def mean(logs: np.ndarray, log_weights: Any = 0.0) -> np.ndarray:
  """Return [S] log of the mean over [S, K], weighed."""
  total = np.logaddexp.reduce(logs + log_weights, axis=1)
  return total - np.log(logs.shape[1])


def clusters(features: np.ndarray, K: int) -> tuple[np.ndarray, np.ndarray]:
  """Return [K] the images next to K means (Lloyd), and the clusters' shares."""
  x = features.astype(np.float32)
  x = x / np.linalg.norm(x, axis=1, keepdims=True)
  centers = x[np.random.default_rng(0).permutation(len(x))[:K]]
  for _ in range(10):
    nearest = np.argmin((centers**2).sum(1) - 2 * x @ centers.T, axis=1)
    for k in range(K):
      if (members := x[nearest == k]).size:
        centers[k] = members.mean(0)
  distance = (centers**2).sum(1) - 2 * x @ centers.T
  nearest, images = distance.argmin(1), distance.argmin(0)
  shares = np.bincount(nearest, minlength=K) / len(x)
  there = shares > 0
  return images[there], shares[there]


if __name__ == '__main__':
  main()
