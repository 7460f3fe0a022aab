"""The whole way at COCO's size, on data that is made up.

``python -m tests.benchmarks.coco STEP --folder=DIR`` runs one step by the
commands that people run, in a process of their own, and says what it took: CPU
seconds, which tell about the same on a busy machine, and the most memory.  In
this order: raw, build, train, retrieve, score; each takes up what the ones
before it left in the folder.  ``million``, ``growth`` and ``scaling`` need no
folder.

What would take hours is stopped after ``--seconds`` of CPU time, and its rate
is that of what was done; ``--share`` makes the whole smaller.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np

from tests.benchmarks import machine

_ROOT = pathlib.Path(__file__).parents[2]
_BATCH = 100  # Captions a step.
_SHARED = 96  # Where devices share them: in rows of two, 4 devices evenly.


def main(argv: Sequence[str] | None = None) -> None:
  """Run the command line."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.benchmarks.coco', description=__doc__
  )
  parser.add_argument('step', choices=[f.__name__ for f in _STEPS])
  parser.add_argument('--folder', default='runs/coco', help='what is made')
  parser.add_argument('--share', type=float, default=1.0, help='of the images')
  parser.add_argument('--seconds', type=float, default=0, help='of CPU; 0: all')
  parser.add_argument('--steps', type=int, default=500, help='train')
  parser.add_argument('--images', type=int, default=1_000_000, help='million')
  parser.add_argument('--sentences', type=int, default=100, help='million')
  parser.add_argument('--pairs', type=int, default=1_000_000, help='score')
  parser.add_argument('--vocab_size', type=int, default=10_000)
  parser.add_argument('--feature_size', type=int, default=4096)
  parser.add_argument(
    '--beam_runner', default='', help='build: by Beam, into a folder beside it'
  )
  args = parser.parse_args(argv)
  args.folder = pathlib.Path(args.folder)
  {f.__name__: f for f in _STEPS}[args.step](args)


def run(
  args: argparse.Namespace,
  module: str,
  *flags: str,
  environ: Mapping[str, str] | None = None,
) -> tuple[float, str]:
  """Run a command, and stop it after the CPU seconds that were given.

  Returns:
    Its CPU seconds, and what it printed.
  """
  args.folder.mkdir(parents=True, exist_ok=True)
  print('python -m', module, *flags, flush=True)
  begin = time.perf_counter()
  with open(args.folder / f'{args.step}.log', 'w+') as log:
    process = subprocess.Popen(
      [sys.executable, '-m', module, *flags],
      stdout=log,
      stderr=subprocess.STDOUT,
      cwd=_ROOT,
      env={**os.environ, **(environ or {})},
    )
    stopped = False
    while True:
      pid, status, usage = os.wait4(process.pid, os.WNOHANG)
      if pid:
        break
      if args.seconds and not stopped and _seconds(process.pid) > args.seconds:
        process.send_signal(signal.SIGTERM)  # It finishes what it keeps.
        stopped = True
      time.sleep(0.2)
    log.seek(0)
    said = log.read()
  taken = usage.ru_utime + usage.ru_stime
  code = os.waitstatus_to_exitcode(status)
  print(
    f'{taken:.1f} CPU seconds in {time.perf_counter() - begin:.0f}, at most '
    f'{usage.ru_maxrss / 1024:,.0f} MiB, exit code {code}; the end of what it '
    'says:'
  )
  print(*said.splitlines()[-4:], sep='\n', flush=True)
  return taken, said


def _seconds(pid: int) -> float:
  """Return the CPU seconds of a process so far."""
  fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]
  user, system = map(int, fields.split()[11:13])
  return (user + system) / os.sysconf('SC_CLK_TCK')


def raw(args: argparse.Namespace) -> None:
  """Captions and features."""
  run(
    args,
    'tests.benchmarks.synthetic',
    '--like=coco',
    f'--share={args.share}',
    f'--raw_dir={args.folder / "raw"}',
  )


def build(args: argparse.Namespace) -> None:
  """The dataset."""
  beam = [f'--beam_runner={args.beam_runner}'] if args.beam_runner else []
  run(
    args,
    'data_prep.build',
    '--dataset=coco',
    f'--captions={args.folder / "raw" / "dataset.json"}',
    f'--features={args.folder / "raw" / "features.npy"}',
    f'--data_dir={args.folder / ("beam" if beam else "data")}',
    *beam,
  )


def _of_data(args: argparse.Namespace) -> list[str]:
  return [
    '--dataset=coco',
    f'--data_dir={args.folder / "data"}',
    f'--workdir={args.folder / "run"}',
  ]


def train(args: argparse.Namespace) -> None:
  """Some steps, and the validation that follows the last of them."""
  raw_captions = json.loads((args.folder / 'raw/dataset.json').read_text())
  captions = sum(
    len(image['sentences'])
    for image in raw_captions['images']
    if image['split'] == 'train'
  )
  epochs = args.steps * _BATCH / captions
  run(
    args,
    'mrnn_jax.main',
    '--task=train',
    *_of_data(args),
    f'--batch_size={_BATCH}',
    f'--num_epochs={epochs:.6f}',
    '--log_every_steps=50',
  )
  summary = json.loads((args.folder / 'run/summary.json').read_text())
  print(json.dumps(summary, indent=1)[-1500:])


def retrieve(args: argparse.Namespace) -> None:
  """Both directions of the test split; no matrix is kept."""
  run(
    args,
    'mrnn_jax.main',
    '--task=retrieve',
    *_of_data(args),
    '--norm_images=0',
    '--keep_matrix=no',
  )


def score(args: argparse.Namespace) -> None:
  """Pairs of the dataset's images and of sentences of others."""
  path = args.folder / f'pairs-{args.pairs}.jsonl'
  if not path.exists():
    dataset = json.loads((args.folder / 'raw/dataset.json').read_text())
    images = dataset['images']
    rng = np.random.default_rng(0)
    with open(path, 'w') as file:
      for i, j in rng.integers(0, len(images), (args.pairs, 2)).tolist():
        sentence = images[j]['sentences'][0]['raw']
        pair = {'image_id': images[i]['filename'], 'sentence': sentence}
        file.write(json.dumps(pair) + '\n')
  run(
    args,
    'mrnn_jax.main',
    '--task=score',
    *_of_data(args),
    f'--score_input={path}',
    f'--output={args.folder / "scores"}',
  )


class _MadeUp:
  """Features [N, D] that are nowhere: drawn whenever they are wanted."""

  def __init__(self, num_images: int, size: int):
    self._num_images, self._size = num_images, size

  def __len__(self) -> int:
    return self._num_images

  def __getitem__(self, key: slice) -> np.ndarray:
    start, stop, _ = key.indices(self._num_images)
    rng = np.random.default_rng(start)
    return rng.standard_normal((stop - start, self._size), np.float32)


class _EnoughError(Exception):
  """So many CPU seconds were taken."""


def million(args: argparse.Namespace) -> None:
  """The best ten of very many images for each sentence."""
  from mrnn_jax import models
  from mrnn_jax.ranking.ranker import Ranker
  from tests.benchmarks import lengths, weights

  V, D = args.vocab_size, args.feature_size
  drawn = weights.random_weights(V, D)
  variables = {'params': drawn.params, 'statistics': drawn.statistics}
  ranker = Ranker(models.MRNN(V, D), variables)
  pool = lengths.test_pool(args.sentences, V)
  sentences = [sentence.tolist() for sentence in pool[: args.sentences]]
  features = _MadeUp(args.images, D)
  begin, told = time.process_time(), [0.0]
  done = 0

  def progress(so_far: int, of: int) -> None:
    nonlocal done
    taken, done = time.process_time() - begin, so_far
    if taken > told[-1] + max(5.0, args.seconds / 8):
      told.append(taken)
      print(
        f'{so_far / of:.3%} of {of:,} pairs of a prefix and an image, '
        f'{so_far / taken:,.0f} a CPU second, {of / so_far * taken / 3600:.1f} '
        f'CPU hours in all; at most {machine.peak_memory() / 2**20:,.0f} MiB',
        flush=True,
      )
    if args.seconds and taken > args.seconds:
      raise _EnoughError

  with contextlib.suppress(_EnoughError):
    ranker.rank(sentences, features, top=10, progress=progress)
  print(f'at most {machine.peak_memory() / 2**20:,.0f} MiB')


def growth(args: argparse.Namespace) -> None:
  """How cost grows with V, N, S and D, and its exponents, in CPU seconds."""
  from mrnn_jax import models
  from mrnn_jax.ranking.ranker import Ranker
  from tests.benchmarks import lengths, readout, weights

  def training(V: int = 5000, D: int = 1280) -> float:
    return readout.step_seconds(V, D, _BATCH, 0.5, repeats=2)[0]

  def ranking(V: int = 5000, N: int = 100, S: int = 60, D: int = 1280) -> float:
    drawn = weights.random_weights(V, D)
    variables = {'params': drawn.params, 'statistics': drawn.statistics}
    ranker = Ranker(models.MRNN(V, D), variables)
    sentences = [x.tolist() for x in lengths.test_pool(S, V)[:S]]
    features = lengths.features(N, D)
    return readout.seconds(lambda: ranker.log_probs(sentences, features), 1)

  def table(name: str, fn: Callable[..., float], key: str, values: list[int]):
    taken = [fn(**{key: value}) for value in values]
    slope = np.polyfit(np.log(values), np.log(taken), 1)[0]
    sizes = ' / '.join(f'{value:,}' for value in values)
    times = ' / '.join(f'{value:.3f}' for value in taken)
    print(f'| {name}, {key} {sizes} | {times} | {slope:.2f} |', flush=True)

  if args.share < 1:  # Only to see that all runs.
    table('ranking', ranking, 'N', [2, 4])
    return
  table('a training step', training, 'V', [2500, 5000, 10_000, 20_000])
  table('a training step', training, 'D', [512, 2048, 8192])
  table('ranking', ranking, 'V', [2500, 5000, 10_000, 20_000])
  table('ranking', ranking, 'N', [100, 200, 400])
  table('ranking', ranking, 'S', [60, 120, 240])
  table('ranking', ranking, 'D', [512, 2048, 8192])


def scaling(args: argparse.Namespace) -> None:
  """A training step on 1, 2 and 4 devices or processes of the same cores."""
  for processes, devices in ((1, 1), (1, 2), (1, 4), (2, 1), (4, 1)):
    total = processes * devices
    for kind, captions in (('strong', _SHARED), ('weak', total * _SHARED // 2)):
      flags = [
        'step',
        f'--batch_size={captions // processes}',
        f'--devices={devices}',
        f'--vocab_size={args.vocab_size}',
        f'--feature_size={args.feature_size}',
        '--repeats=2',
      ]
      said = _together(args, processes, devices, flags)
      seconds = re.search(r'a step ([\d.]+) s', said)
      told = f'{processes * float(seconds[1]):.2f} CPU s' if seconds else said
      print(
        f'{kind}, {processes} processes of {devices} devices: {captions} '
        f'captions, {told} in all',
        flush=True,
      )


def _together(
  args: argparse.Namespace, processes: int, devices: int, flags: Sequence[str]
) -> str:
  """Run so many processes of the readout's step; return what the first said."""
  environ = {'JAX_NUM_CPU_DEVICES': str(devices)}
  if processes > 1:
    with socket.socket() as free:
      free.bind(('localhost', 0))
      port = free.getsockname()[1]
    environ |= {
      'JAX_COORDINATOR_ADDRESS': f'localhost:{port}',
      'JAX_NUM_PROCESSES': str(processes),
      'JAX_PROCESS_ID': '0',
    }
  module = 'tests.benchmarks.readout'
  others = [
    subprocess.Popen(
      [sys.executable, '-m', module, *flags],
      cwd=_ROOT,
      env={**os.environ, **environ, 'JAX_PROCESS_ID': str(number)},
    )
    for number in range(1, processes)
  ]
  try:
    return run(args, module, *flags, environ=environ)[1]
  finally:
    for other in others:
      other.wait()


_STEPS: tuple[Callable[[Any], None], ...] = (
  raw,
  build,
  train,
  retrieve,
  score,
  million,
  growth,
  scaling,
)

if __name__ == '__main__':
  main()
