"""How much of a ranking could be left out exactly, at most.

log P of a sentence only falls with each of its words.  So a pair of a prefix
and an image needs no readout where the prefix is already less likely than each
sentence that goes on from it would have to be:

- images by sentence: log P of the sentence with its own image;
- sentences by image: what a sentence needs to reach the image's best true
  sentence, by log P(s|I) - log P(s).

``python -m tests.benchmarks.pruning --model_file=W --data_dir=D`` counts these
pairs on the test split, with all true scores known beforehand and every pair
left out by itself: a bound, since a ranker works in tiles and has to compute
the true scores first.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from mrnn_jax.data import datasets, vocabulary
from mrnn_jax.ranking.prefix_tree import PrefixTree
from mrnn_jax.trained import TrainedModel

_ROWS = 200  # Sentences at a time.


def main(argv: Sequence[str] | None = None) -> None:
  """Run the command line."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.benchmarks.pruning', description=__doc__
  )
  parser.add_argument('--model_file', required=True, help='a workdir or file')
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--dataset', default='flickr8k')
  parser.add_argument('--split', default='test')
  parser.add_argument('--images', type=int, default=6, help='that are tried')
  parser.add_argument('--norm_images', type=int, default=9, help='for P(w)')
  args = parser.parse_args(argv)
  model = TrainedModel.load(args.model_file)
  dataset = datasets.open_dataset(args.dataset, args.data_dir)
  split = datasets.load_split(dataset, args.split, model.vocabulary)
  sentences = [split.caption_tokens(c) for c in range(len(split.owner))]
  features = split.features[:]
  drawn = model.drawn_features(args.norm_images)
  log_probs = words_of(model, sentences)
  needed = count(
    sentences, split.owner, features, drawn, log_probs, args.images
  )
  shares = np.asarray(list(needed))
  names = ('images by sentence', 'sentences by image', 'ranks of both')
  for name, share in zip(names, 1 - shares.T, strict=True):
    print(
      f'{name}: {share.mean():.1%} of pairs of a prefix and an image left out '
      f'at most ({share.min():.1%} to {share.max():.1%} by image)'
    )


def words_of(
  model: TrainedModel, sentences: Sequence[np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
  """Return a function of features [S, D] or [D]: log P [S, T] of each word.

  Places behind a sentence's end have 0.
  """
  longest = max(map(len, sentences)) - 1
  padded = np.full((len(sentences), longest + 1), vocabulary.PAD, np.int32)
  for row, sentence in zip(padded, sentences, strict=True):
    row[: len(sentence)] = sentence
  there = np.arange(longest) < [[len(s) - 1] for s in sentences]

  @jax.jit
  def step(tokens: jax.Array, features: jax.Array) -> jax.Array:
    logits = model.model.apply(
      model.variables, tokens[:, :-1], features[:, None]
    )
    found = jax.nn.log_softmax(logits)
    return jax.numpy.take_along_axis(found, tokens[:, 1:, None], -1)[..., 0]

  def log_probs(features: np.ndarray) -> np.ndarray:
    features = np.broadcast_to(features, (len(sentences), features.shape[-1]))
    parts = [
      np.asarray(step(padded[i : i + _ROWS], features[i : i + _ROWS]))
      for i in range(0, len(sentences), _ROWS)
    ]
    return np.where(there, np.concatenate(parts), 0)

  return log_probs


def count(
  sentences: Sequence[np.ndarray],
  owner: np.ndarray,
  features: np.ndarray,
  drawn: np.ndarray,
  log_probs: Callable[[np.ndarray], np.ndarray],
  num_images: int,
) -> Iterator[tuple[float, float, float]]:
  """Yield which shares of the prefixes some images need.

  Args:
    sentences: [S] word ids.
    owner: [S] the images that they are of.
    features: [N, D] of all images.
    drawn: [K, D] of the images that P(w) is from.
    log_probs: as ``words_of`` gives it.
    num_images: how many images are tried, spread over all.

  Yields:
    For images by sentence, sentences by image, and the ranks of both.
  """
  tree = PrefixTree.build(sentences)
  prefix = tree.edge_prefix[tree.paths]  # Of each word of each sentence.
  lengths = np.diff(tree.offsets)
  of_word = np.repeat(np.arange(len(sentences)), lengths)
  step = np.arange(len(of_word)) - tree.offsets[of_word]
  own = log_probs(features[owner]).sum(1)
  alike = np.stack([log_probs(one).sum(1) for one in drawn])
  normalizer = np.logaddexp.reduce(alike) - np.log(len(drawn))

  def share(needed: np.ndarray) -> float:
    alive = np.zeros(tree.num_prefixes, bool)
    np.logical_or.at(alive, prefix, needed)
    return float(alive.mean())

  for image in np.linspace(0, len(features) - 1, num_images).astype(int):
    words = log_probs(features[image])
    before = np.cumsum(words, 1) - words
    so_far = before[of_word, step]
    best_true = np.max((words.sum(1) - normalizer)[owner == image])
    by_sentence = so_far >= own[of_word]
    by_image = so_far >= (best_true + normalizer)[of_word]
    yield share(by_sentence), share(by_image), share(by_sentence | by_image)


if __name__ == '__main__':
  main()
