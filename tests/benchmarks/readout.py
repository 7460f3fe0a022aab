"""The readout, plain and as a kernel, and its share of a training step.

``python -m tests.benchmarks.readout forms``: log P of a word of each row, and
its gradient, by ``models.losses`` and by ``models.fused_readout``; on CPUs the
kernel is interpreted, and its time says nothing.

``python -m tests.benchmarks.readout step``: a training step, beside its three
large products alone.

On CPUs in CPU seconds, which tell about the same on a busy machine, elsewhere
in seconds.
"""

import argparse
from collections.abc import Callable, Sequence
import statistics
import time
from typing import Any

import jax
import numpy as np

from mrnn_jax import config as config_lib
from mrnn_jax import models
from mrnn_jax.data.vocabulary import START
from mrnn_jax.models import fused_readout, losses
from mrnn_jax.runtime import allocator, parallel, processes
from mrnn_jax.training import loop as train_lib
from mrnn_jax.training import optimizers
from mrnn_jax.training.objectives import OBJECTIVES
from tests.benchmarks import weights

_WORDS = 12  # Of a caption, its end counts; two captions a row.


def main(argv: Sequence[str] | None = None) -> None:
  """Run the command line."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.benchmarks.readout', description=__doc__
  )
  parser.add_argument('what', choices=['forms', 'step'])
  parser.add_argument('--vocab_size', type=int, default=10_000)
  parser.add_argument('--hidden_size', type=int, default=weights.M)
  parser.add_argument('--feature_size', type=int, default=4096)
  parser.add_argument('--rows', type=int, default=1200, help='forms: of logits')
  parser.add_argument('--batch_size', type=int, default=100, help='step')
  parser.add_argument('--dropout', type=float, default=0.5, help='step')
  parser.add_argument('--dtype', default='float32', help='forms: of operands')
  parser.add_argument('--devices', type=int, default=1, help='step')
  parser.add_argument('--repeats', type=int, default=5)
  args = parser.parse_args(argv)
  allocator.keep_freed_memory()
  # One of several processes where the environment says so, as for training.
  with processes.joined(processes.find(), lambda error: (str(error), 1)):
    print(f'{jax.devices()[0].device_kind}, jax {jax.__version__}')
    {'forms': forms, 'step': step}[args.what](args)


def seconds(fn: Callable[[], Any], repeats: int) -> float:
  """Return the median time of calls, the first one left out."""
  on_cpu = jax.devices()[0].platform == 'cpu'
  clock = time.process_time if on_cpu else time.perf_counter
  jax.block_until_ready(fn())
  times = []
  for _ in range(repeats):
    begin = clock()
    jax.block_until_ready(fn())
    times.append(clock() - begin)
  return statistics.median(times)


def products(rows: int, H: int, V: int, repeats: int) -> float:
  """Return the time of the three products of a step, one after another."""
  rng = np.random.default_rng(0)
  hidden, kernel, logits = (
    jax.device_put(rng.standard_normal(shape, np.float32))
    for shape in ((rows, H), (H, V), (rows, V))
  )
  fns = [
    (jax.jit(lambda h, w: h @ w), hidden, kernel),
    (jax.jit(lambda d, w: d @ w.T), logits, kernel),
    (jax.jit(lambda h, d: h.T @ d), hidden, logits),
  ]
  return sum(seconds(lambda f=f, x=x: f(*x), repeats) for f, *x in fns)


def forms(args: argparse.Namespace) -> None:
  """Print both forms, forward and with gradients."""
  n, H, V = args.rows, args.hidden_size, args.vocab_size
  rng = np.random.default_rng(0)
  last = losses.LastLayer(
    *(
      jax.device_put(rng.standard_normal(shape, np.float32) / 16)
      for shape in ((n, H), (H, V), (V,))
    )
  )
  words = jax.device_put(rng.integers(4, V, n).astype(np.int32))
  form = fused_readout.Form(args.dtype, 'default')

  def plain(last):
    return losses.log_probs(last, words, args.dtype, 'default').sum()

  def fused(last):
    return fused_readout.log_probs(last, words, form).sum()

  print(f'{n:,} rows, H {H:,}, V {V:,}, operands {args.dtype}')
  operations = 2.0 * n * H * V
  for name, fn in (('plain', plain), ('fused', fused)):
    for what, compiled, count in (
      ('log P', jax.jit(fn), 1),
      ('with gradients', jax.jit(jax.grad(fn)), 3),
    ):
      memory = compiled.lower(last).compile().memory_analysis()
      taken = seconds(lambda f=compiled: f(last), args.repeats)
      print(
        f'{name} {what}: {1e3 * taken:.2f} ms, '
        f'{count * operations / taken / 1e12:.3f} TFLOP/s of what is wanted, '
        f'{memory.temp_size_in_bytes / 2**20:,.0f} MiB beside the arguments',
        flush=True,
      )


def step_seconds(
  V: int,
  D: int,
  batch_size: int,
  dropout: float,
  repeats: int,
  devices: int = 1,
) -> tuple[float, int]:
  """Return the time of a training step, and its rows of logits.

  Args:
    V: words.
    D: numbers a feature.
    batch_size: captions a step of this process, of ``_WORDS`` words each, two a
      row; a multiple of twice the devices.
    dropout: of all layers.
    repeats: steps that are timed.
    devices: that share it.
  """
  B, T = batch_size // 2, 2 * _WORDS
  rng = np.random.default_rng(0)
  tokens = rng.integers(4, V, (B, T)).astype(np.int32)
  tokens[:, [0, _WORDS]] = START
  batch = {
    'tokens': tokens,
    'targets': np.roll(tokens, -1, axis=1),
    'features': rng.standard_normal((B, 2, D), np.float32),
  }
  config = config_lib.Config(
    word_dropout=dropout,
    recurrent_dropout=dropout,
    multimodal_dropout=dropout,
    image_dropout=dropout,
  )
  optimizer = optimizers.create_optimizer(
    config, optimizers.create_schedule(config, 100)
  )
  local = parallel.local_devices()[:devices]
  take = train_lib.compile_train_step(
    local,
    model=models.create_model('m-rnn', V, D, config.fixed()),
    objective=OBJECTIVES['likelihood'],
    optimizer=optimizer,
    words_per_batch=float(B * T * jax.process_count()),
    l2=config.l2,
  )
  params = {'params': weights.random_params(V, D)}
  statistics = {'mean': np.zeros(D, np.float32), 'std': np.ones(D, np.float32)}
  state = parallel.replicate(
    train_lib.create_state(params, optimizer, jax.random.key(0)), local
  )
  statistics = parallel.replicate(statistics, local)
  batch = parallel.split_rows(batch, len(local))

  def next_step() -> Any:
    nonlocal state
    state, metrics = take(state, statistics, batch)
    return metrics

  return seconds(next_step, repeats), B * T


def step(args: argparse.Namespace) -> None:
  """Print which share of a training step its large products are."""
  V, D = args.vocab_size, args.feature_size
  taken, rows = step_seconds(
    V, D, args.batch_size, args.dropout, args.repeats, args.devices
  )
  large = products(rows, weights.M, V, args.repeats)
  print(
    f'V {V:,}, D {D:,}, {args.batch_size} captions, {rows:,} rows, '
    f'{args.devices} devices: a step {taken:.4f} s, its three products alone '
    f'{large:.4f} s, {large / taken:.0%}',
    flush=True,
  )


if __name__ == '__main__':
  main()
