"""Scores made-up pairs for long and looks at the memory of the process."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
import json
import math
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np

from mrnn_jax.runtime import stopping
from mrnn_jax.runtime.errors import InputError
from tests.benchmarks import lengths, synthetic

_ROOT = pathlib.Path(__file__).parents[2]
# The share of the time after which a process is warm, and how often memory is
# looked at.
_WARM_UP, _SAMPLE_SECONDS = 0.1, 1.0
# Seconds, resident bytes and records written, since a process began.
Sample = tuple[float, int, int]


def soak(args: argparse.Namespace, folder: pathlib.Path) -> int:
  """Score until the time is over; look at the memory of the process."""
  from mrnn_jax import PRETRAINED, stored_model

  num_records = 3000 if args.small else args.records
  seconds = 60 * args.minutes
  model_file = args.model_file or str(PRETRAINED)
  stored = stored_model.read(model_file).description
  features = args.features or _write_features(folder, stored['dataset'])
  _write_pairs(folder, features, stored['vocabulary'], num_records)
  end = time.monotonic() + seconds
  series: list[list[Sample]] = []
  while time.monotonic() < end and not (args.small and series):
    output = folder / f'out{len(series)}'
    series.append(
      list(
        watch(
          [
            *(sys.executable, '-m', 'mrnn_jax.main', '--task=score'),
            f'--model_file={model_file}',
            f'--features={features}',
            f'--score_input={folder}/pairs.jsonl',
            f'--output={output}',
          ],
          output,
          end,
        )
      )
    )
  # One that was begun at the very end may have written nothing.
  grown = [report(x) for x in series if x and x[-1][2]]
  if not grown:
    raise InputError('nothing was scored: give more --minutes.')
  worst = max(grown)
  print(f'growth: {worst / 1e6:.1f} MB at most, {args.growth_mb:g} MB allowed')
  return 0 if worst <= args.growth_mb * 1e6 else 1


def report(samples: Sequence[Sample]) -> int:
  """Print what was seen of a process; return by how many bytes it grew.

  Args:
    samples: of it, in the order of time; some records are written.
  """
  until = samples[-1][0]
  warm = [x for x in samples if x[0] >= _WARM_UP * until and x[2]]
  first, last = warm[0][1], warm[-1][1]
  most = max(memory for _, memory, _ in warm)
  print(
    f'{until / 60:.1f} minutes, {samples[-1][2]:,} records: {first / 1e6:.0f} '
    f'MB when warm, {last / 1e6:.0f} at the end, {most / 1e6:.0f} at most'
  )
  done, rates = 0, []
  for minute in range(math.ceil(until / 60)):
    before, done = done, max(x[2] for x in samples if x[0] < 60 * (minute + 1))
    rates.append(f'{done - before:,}')
  print(f'records in each minute: {" ".join(rates)}')
  return most - first


def _write_features(
  folder: pathlib.Path, dataset: Mapping[str, Any], num: int = 1000
) -> str:
  """Write features of made-up images, as if by the encoder of a dataset."""
  path = folder / 'features.npz'
  np.savez(
    path,
    ids=np.asarray([f'{i}.jpg' for i in range(num)]),
    features=np.abs(lengths.features(num, dataset['feature_size'])),
    encoder=dataset['encoder']['name'],
    weights=dataset['encoder']['weights'],
  )
  return str(path)


def _write_pairs(
  folder: pathlib.Path, features: str, words: Sequence[str], num: int
) -> None:
  """Write pairs of an image and a sentence of a vocabulary's words."""
  from mrnn_jax.data import feature_files

  ids = list(feature_files.load(features).ids)
  rng = np.random.default_rng(0)
  own = words[4:]  # Behind the special ones.
  with (folder / 'pairs.jsonl').open('w') as file:
    for start in range(0, num, 10_000):
      some = min(10_000, num - start)
      texts = synthetic.sentences(some, 11.0, len(own), rng)
      for text in texts:
        # w7 is the seventh word.
        sentence = ' '.join(own[int(word[1:])] for word in text.split())
        image_id = ids[rng.integers(len(ids))]
        pair = {'image_id': image_id, 'sentence': sentence}
        file.write(json.dumps(pair) + '\n')


def watch(
  command: Sequence[str], output: pathlib.Path, end: float
) -> Iterator[Sample]:
  """Run a job until it ends or its time is over; yield samples.

  Raises:
    InputError: it fails.
  """
  counter = LineCounter(output)
  begin = time.monotonic()
  with subprocess.Popen(
    command, cwd=_ROOT, stdout=subprocess.DEVNULL
  ) as process:
    try:
      while process.poll() is None and time.monotonic() < end:
        if memory := _memory(process.pid):
          yield time.monotonic() - begin, memory, counter.count()
        time.sleep(_SAMPLE_SECONDS)
    finally:
      if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    code = process.wait()
  if code not in (0, stopping.UNFINISHED):
    raise InputError(f'the job ended with exit code {code}.')


def _memory(pid: int) -> int:
  """Return the resident memory of a process in bytes, 0 if it is gone."""
  try:
    with open(f'/proc/{pid}/status') as status:
      for line in status:
        if line.startswith('VmRSS:'):
          return int(line.split()[1]) * 1024
  except OSError:
    pass
  return 0


class LineCounter:
  """Counts the lines of a folder's files as they grow, whatever their names."""

  def __init__(self, folder: pathlib.Path):
    self._folder = folder
    # By inode: files are renamed when they are whole.
    self._read: dict[int, int] = {}
    self._lines = 0

  def count(self) -> int:
    """Return how many lines there are by now."""
    if self._folder.exists():
      for path in self._folder.iterdir():
        if 'jsonl' in path.name:
          self._go_on(path)
    return self._lines

  def _go_on(self, path: pathlib.Path) -> None:
    try:
      with path.open('rb') as file:
        inode = os.fstat(file.fileno()).st_ino
        file.seek(self._read.get(inode, 0))
        while piece := file.read(1 << 20):
          self._lines += piece.count(b'\n')
        self._read[inode] = file.tell()
    except FileNotFoundError:
      pass  # It has another name now.
