"""What an ensemble costs beside one model: ranking, and captions, in turns."""

import argparse
import pathlib
import time

import numpy as np

from tests.benchmarks import lengths, weights

MEMBERS, TURNS = 3, 3
# Times of one model's, at most.
MOST = 3.2


def ensemble(args: argparse.Namespace, folder: pathlib.Path) -> int:
  """Rank and caption by one model and by three of its kind, turn by turn."""
  del folder
  from mrnn_jax import models
  from mrnn_jax.decoding.generate import generate
  from mrnn_jax.decoding.options import DecodeOptions
  from mrnn_jax.models.ensemble import name_of
  from mrnn_jax.ranking.ranker import Ranker
  from mrnn_jax.runtime import parallel

  V, D = (50, 8) if args.small else (lengths.VOCAB_SIZE, lengths.FEATURE_SIZE)
  num = 6 if args.small else args.images
  random = weights.random_weights(V, D)
  variables = {'params': random.params, 'statistics': random.statistics}
  single = models.MRNN(V, D)
  both = {
    'one model': (single, variables),
    f'{MEMBERS} models': (
      models.Ensemble.make(
        [models.Member(single, first=i * D) for i in range(MEMBERS)]
      ),
      {
        kind: {name_of(i): tree for i in range(MEMBERS)}
        for kind, tree in variables.items()
      },
    ),
  }
  features = random.images(num)
  sentences = [x.tolist() for x in lengths.test_pool(3 * num, V)]
  devices = parallel.local_devices()
  options = DecodeOptions('beam', beam_size=5)
  rankers = {name: Ranker(*model) for name, model in both.items()}

  def rank(name: str) -> None:
    own = np.tile(features, (1, both[name][0].feature_size // D))
    rankers[name].log_probs(sentences, own)

  def caption(name: str) -> None:
    own = np.tile(features, (1, both[name][0].feature_size // D))
    generate(*both[name], devices, own, options)

  failed = 0
  for what, work in (('ranking', rank), ('captions, beam 5', caption)):
    ratios = []
    for turn in range(TURNS + 1):
      seconds = []
      for name in both:
        begin = time.monotonic()
        work(name)
        seconds.append(time.monotonic() - begin)
      if turn:  # The first one compiles.
        ratios.append(seconds[1] / seconds[0])
    ratio = float(np.median(ratios))
    failed += ratio > MOST
    print(
      f'{what}, {num} images: {MEMBERS} models take {ratio:.2f} times the time '
      f'of one ({min(ratios):.2f} to {max(ratios):.2f})'
    )
  return int(failed > 0 and not args.small)
