"""Retrieval among the first images of a split, in minutes.

``python -m tests.benchmarks.first_images --model_file=A,B
--ensemble_weights=2,1 --data_dir=X,Y`` ranks 250 images and their sentences,
with P(w) of 60 training images: enough to choose by on the validation split,
where the whole pool would take an hour.  Images are seen as ``--task=retrieve``
sees them.
"""

import argparse
from collections.abc import Sequence

import mrnn_jax
from mrnn_jax import config as config_lib
from mrnn_jax.data import datasets
from mrnn_jax.evaluation import scores as scores_lib
from mrnn_jax.evaluation.tally import Tally
from mrnn_jax.runtime.progress import Progress


def main(argv: Sequence[str] | None = None) -> None:
  """Run the command line."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.benchmarks.first_images', description=__doc__
  )
  parser.add_argument('--model_file', required=True)
  parser.add_argument('--ensemble_weights', default='')
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--dataset', default='flickr8k')
  parser.add_argument('--split', default='validation')
  parser.add_argument('--images', type=int, default=250)
  parser.add_argument('--norm_images', type=int, default=60)
  parser.add_argument(
    '--eval_views', default='first', help='of features with several views'
  )
  args = parser.parse_args(argv)
  config = config_lib.Config(eval_views=args.eval_views)
  model = mrnn_jax.load(args.model_file, weights=args.ensemble_weights)
  dataset = datasets.open_dataset(args.dataset, args.data_dir)
  model.check_dataset(dataset)
  split = model.load_split(dataset, args.split, config)
  features = split.features[: args.images]
  # Captions lie image by image.
  own = [c for c, image in enumerate(split.owner) if image < len(features)]
  sentences = [split.caption_tokens(c) for c in own]
  ranker = model.word_ranker()
  with Progress('ranking', ranker.unit) as progress:
    log_probs = ranker.log_probs(sentences, features, progress)
  drawn = model.drawn_features(args.norm_images)
  scores = scores_lib.LogProbabilities(
    split.owner[own],
    scores_lib.true_of_matrix(log_probs, split.owner[own]),
    split.lengths[own],
    ranker.log_probs(sentences, drawn),
  )
  measures = Tally(scores).add_all(scores_lib.of_matrix(log_probs)).measures()
  print(f'{len(features):,} images, {len(own):,} sentences; R@1 / 5 / 10:')
  for direction in ('text_to_image', 'image_to_text'):
    recalls = (f'{measures[direction][f"r@{k}"]:.1f}' for k in (1, 5, 10))
    print(f'{direction.replace("_", " ")}: {" / ".join(recalls)}')


if __name__ == '__main__':
  main()
