"""What is to be run for the tables, and about how long that takes."""

from collections.abc import Collection, Sequence
import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp

from mrnn_jax import config as config_lib
from mrnn_jax.config import Given
from mrnn_jax.data import datasets
from mrnn_jax.runtime.progress import format_seconds
from mrnn_jax.tables.runs import Protocol, Run
from mrnn_jax.tables.systems import SYSTEMS

# The product that the rates of ``systems`` were measured beside, and its rate.
_PRODUCT = (4096, 512, 2539)
_GFLOPS = 100.0
# Of the cost of a word so much grows with the vocabulary, here of 2,539.
_READOUT = 0.8
# A word that is only read costs so much of one that is trained on.
_FORWARD = 0.3
# Seconds that a task takes whatever its data: reading, compiling, writing.
_START = 12.0


@dataclasses.dataclass(frozen=True)
class Size:
  """What of a dataset and its machine decides how long runs take.

  Attributes:
    words: target words of the training split.
    test_words: of the test split.
    test_images: N.
    test_sentences: S.
    vocab_size: V.
    speed: of this machine's large product, as a share of the rates' own.
  """

  words: int
  test_words: int
  test_images: int
  test_sentences: int
  vocab_size: int
  speed: float

  @classmethod
  def of(
    cls, dataset: datasets.Dataset, min_word_count: int, speed: float
  ) -> 'Size':
    """Read it from a prepared dataset."""
    captions = dataset.metadata['num_captions']
    words = dataset.metadata['num_words']
    return cls(
      words=words['train'] + captions['train'],  # ##END## is one.
      test_words=words['test'] + captions['test'],
      test_images=dataset.builder.info.splits['test'].num_examples,
      test_sentences=captions['test'],
      vocab_size=len(dataset.vocabulary(min_word_count)),
      speed=speed,
    )


def measure_speed(seconds: float = 1.0) -> float:
  """Measure the large product; return its rate as a share of the rates' own."""
  n, k, m = _PRODUCT
  left, right = jnp.ones((n, k)), jnp.ones((k, m))
  product = jax.jit(jnp.matmul)
  product(left, right).block_until_ready()
  begin, turns = time.monotonic(), 0
  while (taken := time.monotonic() - begin) < seconds:
    product(left, right).block_until_ready()
    turns += 1
  return 2 * n * k * m * turns / taken / 1e9 / _GFLOPS


def make_runs(
  given: Given,
  rows: Sequence[str],
  num_seeds: int,
  num_ranked: int,
  protocol: Protocol,
  fingerprint: str,
) -> list[Run]:
  """Return the runs of systems, the first seeds of all before the second.

  Args:
    given: what describes the dataset, and the workdir of all.
    rows: keys of ``SYSTEMS``.
    num_seeds: of systems with something random in their training.
    num_ranked: so many first seeds are ranked.
    protocol: what is measured.
    fingerprint: of the dataset.
  """
  first = given.get('seed')
  return [
    Run.of(
      SYSTEMS[key], first + i, i < num_ranked, given, protocol, fingerprint
    )
    for i in range(num_seeds)
    for key in rows
    if i == 0 or SYSTEMS[key].random
  ]


def seconds(run: Run, size: Size, steps: Collection[str]) -> float:
  """Estimate how long steps of a run take, from rates that were measured.

  Args:
    run: whose.
    size: of the dataset, and the speed of the machine.
    steps: names of those to be done.
  """
  system = run.system
  scale = 1 - _READOUT + _READOUT * size.vocab_size / _PRODUCT[2]
  words_rate = system.words_per_second * size.speed
  if not system.kind.fitted:
    words_rate /= scale
  total = _START * len(steps)
  if 'train' in steps:
    epochs = 1.0 if system.kind.fitted else _value(run, 'num_epochs')
    total += size.words * epochs / words_rate
  if system.kind.writes:
    # A caption of each image; of each sentence by each length protocol.
    mean_words = size.test_words / size.test_sentences
    for name in steps:
      if name != 'train':
        written = size.test_sentences
        if name == 'evaluate':
          written = size.test_images
        searched = written * mean_words * _value(run, 'beam_size')
        total += _FORWARD * (searched + size.test_words) / words_rate
  if run.ranked and 'evaluate' in steps:
    pairs_rate = system.pairs_per_second * size.speed
    images = size.test_images
    if system.kind.writes:
      images += _value(run, 'norm_images')
      pairs_rate /= scale
    total += images * size.test_sentences / pairs_rate
  return total


def _value(run: Run, name: str) -> Any:
  return run.values.get(name, config_lib.FIELDS[name].default)


def told(runs: Sequence[Run], estimates: Sequence[float], done: int) -> str:
  """Return what will be done and how long that takes, a line for each system.

  Args:
    runs: those that are not done yet.
    estimates: seconds of each.
    done: how many others are done.
  """
  by_system: dict[str, list[tuple[Run, float]]] = {}
  for run, estimate in zip(runs, estimates, strict=True):
    by_system.setdefault(run.system.label, []).append((run, estimate))
  lines = [f'{done} runs are done, {len(runs)} are to be done:']
  for label, mine in by_system.items():
    took = format_seconds(sum(estimate for _, estimate in mine))
    seeds = ', '.join(str(run.seed) for run, _ in mine)
    ranked = ', ranked' if any(run.ranked for run, _ in mine) else ''
    lines.append(f'  {label:22} seed {seeds}{ranked}: about {took}')
  total = format_seconds(sum(estimates))
  lines.append(
    f'About {total} in all, by rates that were measured elsewhere and the '
    'speed of a large product here. A stopped run goes on by the same command.'
  )
  return '\n'.join(lines)
