"""Training: the real step on real planned batches, in words a second."""

from collections.abc import Iterator
import time
from typing import Any

import jax
import numpy as np

from mrnn_jax import config as config_lib
from mrnn_jax import models
from mrnn_jax.data import datasets, image_features, input_pipeline
from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.runtime import parallel
from mrnn_jax.training import loop as train_lib
from mrnn_jax.training import optimizers
from mrnn_jax.training.objectives import OBJECTIVES
from tests.benchmarks import harness, lengths, weights, work

SIZES = {
  'tiny': {
    'num_captions': 60,
    'steps': 2,
    'batch_size': 10,
    'vocab_size': 50,
    'feature_size': 8,
  },
  'small': {
    'num_captions': 30000,
    'steps': 40,
    'batch_size': 100,
    'vocab_size': lengths.VOCAB_SIZE,
    'feature_size': lengths.FEATURE_SIZE,
  },
}
SIZES['full'] = {**SIZES['small'], 'steps': 300}

# What people commonly train this model with; the same on both sides.
DROPOUT = 0.5

# Images of the growth table: enough for its steps.
_GROWTH_CAPTIONS = 6000


def comparisons(options: harness.Options) -> list[harness.Comparison]:
  """Return what is compared: without dropout, and with it."""
  sizes = SIZES[options.scale]

  def pair(name: str, dropout: float, floor: float) -> harness.Comparison:
    arguments = {**sizes, 'dropout': dropout}
    return harness.Comparison(
      name,
      work.Task('tests.benchmarks.train:Training', arguments),
      work.Task('tests.benchmarks.torch_train:Training', arguments),
      floor=floor,
    )

  return [
    pair('training, no dropout', 0.0, 1.8),
    pair(f'training, dropout {DROPOUT}', DROPOUT, 0.0),
  ]


def growths(options: harness.Options) -> list[harness.Growth]:
  """Return the tables of doublings: captions a step, and the vocabulary."""
  sizes = SIZES[options.scale]
  if options.scale != 'tiny':
    sizes = {**sizes, 'num_captions': _GROWTH_CAPTIONS, 'steps': 20}

  def growth(name: str, key: str) -> harness.Growth:
    values = [sizes[key] // 2, sizes[key], 2 * sizes[key]]
    return harness.Growth(
      f'training, {name}',
      [
        (
          value,
          work.Task(
            'tests.benchmarks.train:Training',
            {**sizes, 'dropout': 0.0, key: value},
          ),
        )
        for value in values
      ],
    )

  return [growth('captions a step', 'batch_size'), growth('V', 'vocab_size')]


def make_split(
  num_captions: int, vocab_size: int, feature_size: int
) -> tuple[datasets.CaptionSplit, str]:
  """Return a training split, and where its captions come from."""
  captions = lengths.training_captions(num_captions, vocab_size)
  num_images = -(-len(captions) // lengths.CAPTIONS_PER_IMAGE)
  source = [
    {'feature': feature}
    for feature in lengths.features(num_images, feature_size)
  ]
  features = datasets.Features(source, cache_mb=1024)
  for i, record in enumerate(source):
    features.keep(i, record)
  split = datasets.CaptionSplit(
    name='train',
    image_ids=[str(i) for i in range(num_images)],
    captions=[[] for _ in range(num_images)],
    given_features=features,
    owner=np.arange(len(captions)) // lengths.CAPTIONS_PER_IMAGE,
    tokens=np.concatenate(captions).astype(np.int32),
    offsets=np.cumsum([0] + [len(ids) for ids in captions]),
  )
  return split, lengths.source(num_captions, vocab_size, 'train')


def plan(
  split: datasets.CaptionSplit, batch_size: int, num_devices: int
) -> input_pipeline.TrainingBatches:
  """Return the batches as training has them by default."""
  config = config_lib.Config()
  return input_pipeline.TrainingBatches(
    split,
    batch_size=batch_size,
    captions_per_row=config.captions_per_row,
    num_buckets=config.num_buckets,
    seed=config.seed,
    row_multiple=num_devices,
  )


class Training(work.Work):
  """The steps of ``mrnn_jax.training.loop``, without logs and validation."""

  unit = 'words'

  def __init__(
    self,
    num_captions: int,
    steps: int,
    batch_size: int,
    vocab_size: int,
    feature_size: int,
    dropout: float,
  ):
    """Plan batches and make the first state."""
    self.vocab_size, self._steps = vocab_size, steps
    self._devices = parallel.local_devices()
    split, source = make_split(num_captions, vocab_size, feature_size)
    self._batches = plan(split, batch_size, len(self._devices))
    config = config_lib.Config(
      batch_size=batch_size,
      word_dropout=dropout,
      recurrent_dropout=dropout,
      multimodal_dropout=dropout,
      image_dropout=dropout,
    )
    model = models.create_model(
      config.model, vocab_size, feature_size, config.fixed()
    )
    schedule = optimizers.create_schedule(config, self._batches.steps_per_epoch)
    optimizer = optimizers.create_optimizer(config, schedule)
    self._step_fn = train_lib.compile_train_step(
      self._devices,
      model=model,
      objective=OBJECTIVES['likelihood'],
      optimizer=optimizer,
      words_per_batch=self._batches.words_per_batch,
      l2=config.l2,
    )
    init_key, key = jax.random.split(jax.random.key(0))
    variables = models.init_variables(model, init_key)
    self._state = parallel.replicate(
      train_lib.create_state(variables, optimizer, key), self._devices
    )
    self._statistics = parallel.replicate(
      image_features.feature_statistics(split.features), self._devices
    )
    self._next_step = 0
    self._threads = config.reader_threads
    self._waited = self._seconds = 0.0
    self._image_flops = 2.0 * feature_size * weights.M
    self.sizes = {
      'captions': source,
      'steps': steps,
      'captions a step': batch_size,
      'V': vocab_size,
      'D': feature_size,
      'row lengths': '/'.join(map(str, self._batches.buckets)),
      'padding': f'{self._batches.padding:.1%}',
    }

  def warm_up(self) -> None:
    """Take a step of every row length: each is compiled."""
    first = {length: i for i, (length, _) in enumerate(self._batches.plan(0))}
    self._take(self._batches.batch(step) for step in first.values())

  def run(self) -> work.Done:
    """Take the next steps."""
    start, self._next_step = self._next_step, self._next_step + self._steps
    begun = time.perf_counter()
    words, captions = self._take(
      self._batches.iterate(start, self._next_step, self._threads)
    )
    self._seconds += time.perf_counter() - begun
    # Backwards costs two products for each; the features need no gradient.
    per_word = 3 * weights.word_flops(self.vocab_size)
    flops = words * per_word + captions * 2 * self._image_flops
    return work.Done(words, flops)

  def facts(self) -> dict[str, Any]:
    """Say how long the loop waited for its input."""
    return {'waiting for input': f'{self._waited / self._seconds:.2%}'}

  def _take(self, batches: Iterator) -> tuple[int, int]:
    """Take a step for each batch; return the words and captions in them."""
    words = captions = 0
    state, pending = self._state, None
    while True:
      begun = time.perf_counter()
      batch = next(batches, None)
      self._waited += time.perf_counter() - begun
      if batch is None:
        break
      captions += int((batch.pop('captions') >= 0).sum())
      words += int((batch['targets'] != PAD).sum())
      state, metrics = self._step_fn(
        state,
        self._statistics,
        parallel.split_rows(batch, len(self._devices)),
      )
      # As the log does: a step late.
      jax.block_until_ready(pending)
      pending = metrics
    self._state = jax.block_until_ready(state)
    return words, captions
