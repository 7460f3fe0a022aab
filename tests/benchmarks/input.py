"""The input pipeline: alone, and as training waits for it."""

import time
from typing import Any

from mrnn_jax.data.vocabulary import PAD
from tests.benchmarks import harness, train, work

# Steps of a run: filling batches takes a hundredth of training on them.
STEPS = {'tiny': 4, 'small': 600, 'full': 3000}
# Batches that are filled without Grain, to see what filling alone costs.
_FILLED = 20


def comparisons(options: harness.Options) -> list[harness.Comparison]:
  """Return the pipelines alone, and our training as it uses ours."""
  training = train.SIZES[options.scale]
  alone = {**training, 'steps': STEPS[options.scale]}
  return [
    harness.Comparison(
      'input alone',
      work.Task('tests.benchmarks.input:Loading', alone),
      work.Task('tests.benchmarks.torch_train:Loading', alone),
    ),
    harness.Comparison(
      f'training on it, dropout {train.DROPOUT}',
      work.Task(
        'tests.benchmarks.train:Training',
        {**training, 'dropout': train.DROPOUT},
      ),
    ),
  ]


def growths(options: harness.Options) -> list[harness.Growth]:
  """Return none."""
  del options
  return []


class Loading(work.Work):
  """Plans, fills and hands on batches, as training has them."""

  unit = 'words'

  def __init__(
    self,
    num_captions: int,
    steps: int,
    batch_size: int,
    vocab_size: int,
    feature_size: int,
  ):
    """Make a split and plan its batches."""
    split, source = train.make_split(num_captions, vocab_size, feature_size)
    start = time.perf_counter()
    self._batches = train.plan(split, batch_size, 1)
    plan_seconds = time.perf_counter() - start
    start = time.perf_counter()
    for step in range(_FILLED):
      self._batches.batch(step)
    fill_ms = 1000 * (time.perf_counter() - start) / _FILLED
    self._steps, self._next_step = steps, 0
    self.sizes = {
      'captions': source,
      'steps': steps,
      'captions a step': batch_size,
      'padding': f'{self._batches.padding:.1%}',
      'seconds of planning an epoch': plan_seconds,
      'ms of filling a batch': fill_ms,
    }

  def warm_up(self) -> None:
    """Start Grain's threads once."""
    for _ in self._batches.iterate(0, 2):
      pass

  def run(self) -> work.Done:
    """Take the batches of the next steps."""
    start, self._next_step = self._next_step, self._next_step + self._steps
    words = 0
    for batch in self._batches.iterate(start, self._next_step):
      words += int((batch['targets'] != PAD).sum())
    return work.Done(words)


def stalling(results: list[harness.Result]) -> dict[str, Any]:
  """Compare the pipeline's rate with training's.

  Returns:
    'times': how many times as fast as training takes them words come.
    'share': the share of the time that training's words cost the pipeline,
      as if it shared nothing with training.
  """
  alone, training = (
    result.sides[0].as_json()['median_rate'] for result in results
  )
  return {'times': alone / training, 'share': training / alone}
