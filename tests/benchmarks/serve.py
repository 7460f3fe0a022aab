"""Load on the service: clients on the loopback for a bounded time.

  python -m tests.benchmarks.serve --photos=DIR [--seconds=60] [--clients=64]

Starts the service on the photos, waits until they are indexed, and counts what
clients that ask again and again get of it: captions of features, captions of
photos, searches. The same engine is called in batches in this process, in
turns with it, so that whatever else the machine does hits both; what counts is
the share within a pair of turns. Malformed photos are sent beside. Exit code 1
where a request that should have been answered was not.

  python -m tests.benchmarks.serve --features=FILE.npz [--count=10000]

Seconds of a search among so many photos, anew and again, and CPU seconds of all
cores together, which others on the machine hardly change.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import httpx
import numpy as np

from tests.benchmarks import serve_clients

ROOT = pathlib.Path(__file__).parents[2]
# As many as the service's largest steps take.
CAPTIONS, SEARCHES = 32, 8
KINDS = ('captions', 'photos', 'searches')
# Photos that are sent again and again.
SENT = 64
QUERIES = (
  'a dog runs',
  'two men play',
  'two men play soccer',
  'a skateboarder in the air',
  'a little girl sits on a swing',
  'a brown dog runs on the green grass with a ball in its mouth',
)


def search_times(path: str, count: int) -> int:
  """Print what searches among ``count`` photos cost."""
  import mrnn_jax
  from mrnn_jax.serve.readouts import Readouts
  from mrnn_jax.serve.search import Searcher

  model = mrnn_jax.load()
  there = np.load(path)['features'].astype(np.float32)
  # Where there are fewer, some again with a little noise.
  rng, parts = np.random.default_rng(0), [there]
  for _ in range(-(-count // len(there)) - 1):
    noise = rng.standard_normal(there.shape, np.float32)
    parts.append(there + 0.01 * noise)
  features = np.concatenate(parts)[:count]
  readouts = Readouts(
    model.model, model.variables, model.norm_features, model.devices[0]
  )
  pool, searcher = make_pool(readouts, features), Searcher(readouts)
  searcher.search(pool, [([model.encode('compiled')], 20)])
  print(f'{len(features):,} photos; load {os.getloadavg()[0]:.1f}')
  for text, turn in itertools.product(QUERIES, ('anew', 'again')):
    wall, cpu = time.monotonic(), time.process_time()
    (found,) = searcher.search(pool, [([model.encode(text)], 20)])
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    print(
      f'{turn:5}  {wall:6.2f} s  {cpu:6.2f} CPU s  '
      f'{found.num_exact:5} exact  {text}',
      flush=True,
    )
  return 0


def make_pool(readouts, features: np.ndarray):
  """Return a pool of photos that are nothing but their features."""
  from mrnn_jax.serve.pool import Entry, Pool

  vectors = readouts.image_vectors(features)
  pool = Pool(vectors.shape[1])
  pool.add(
    [Entry(str(i), '', i, '', 0.0, 1, 1) for i in range(len(vectors))], vectors
  )
  return pool


class Direct:
  """The engine itself, given as much at once as it takes."""

  def __init__(self, features: np.ndarray, photos: list[bytes], texts):
    import mrnn_jax
    from mrnn_jax.serve.engine import Engine
    from mrnn_jax.serve.writer import Job

    self._engine, self._job = Engine(mrnn_jax.load()), Job
    self._pool = make_pool(self._engine.readouts, features)
    self._features = itertools.cycle(features)
    self._photos = itertools.cycle(photos)
    self._texts = itertools.cycle(texts)
    self._readers = concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1)

  def captions(self) -> int:
    return self._write(list(itertools.islice(self._features, CAPTIONS)))

  def photos(self) -> int:
    data = list(itertools.islice(self._photos, CAPTIONS))
    squares = list(self._readers.map(self._engine.square, data))
    return self._write(self._engine.encode(squares))

  def searches(self) -> int:
    jobs = [
      (self._pool, [self._engine.ids(text)], 20)
      for text in itertools.islice(self._texts, SEARCHES)
    ]
    return len(self._engine.search(jobs))

  def run(self, kind: str, seconds: float) -> tuple[int, float]:
    """Work for so long; return what was done, and seconds in all."""
    begin, done = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
      done += getattr(self, kind)()
    return done, time.monotonic() - begin

  def _write(self, features: list[np.ndarray]) -> int:
    vectors = self._engine.readouts.image_vectors(np.stack(features))
    return len(self._engine.write([self._job(x) for x in vectors]))


@contextlib.contextmanager
def running(photos: str, index: str):
  """Run the service on a free port until it is left; yield it and the port."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  server = subprocess.Popen(
    [
      sys.executable,
      *('-m', 'mrnn_jax.serve', f'--photos={photos}'),
      *(f'--port={port}', f'--index={index}', '--rescan=0'),
    ],
    cwd=ROOT,
  )
  try:
    while server.poll() is None:
      time.sleep(1)
      with contextlib.suppress(httpx.TransportError):
        told = httpx.get(f'http://127.0.0.1:{port}/v1/index', timeout=60).json()
        if told['phase'] == 'ready':
          yield server, port
          return
    raise SystemExit('the service does not start')
  finally:
    server.send_signal(signal.SIGTERM)
    print('the service ended with', server.wait(120))


def load(arguments: argparse.Namespace) -> int:
  """Print what clients get, beside what the engine gives; return exit code."""
  index = arguments.index or tempfile.mkdtemp()
  with running(arguments.photos, index) as (server, port):
    count = httpx.get(f'http://127.0.0.1:{port}/v1/healthz').json()['indexed']
    features = np.load(pathlib.Path(index) / 'features.npy')[:count]
    files = sorted(pathlib.Path(arguments.photos).rglob('*.jpg'))[:SENT]
    photos = [path.read_bytes() for path in files]
    texts = [serve_clients.sentence(i) for i in range(20_000)]
    asked = {
      'captions': [serve_clients.of_feature(x) for x in features[:500]],
      'photos': [serve_clients.of_photo(x) for x in photos],
      'searches': [serve_clients.of_sentence(x) for x in texts],
    }
    direct = Direct(features, photos, texts)
    kinds = arguments.kinds.split(',')
    pairs = max(2, round(arguments.seconds / len(kinds) / arguments.turn))
    results, wrong = {}, []
    for kind in kinds:
      results[kind], of_kind = measure(
        kind, direct, asked[kind], server.pid, port, arguments, pairs
      )
      wrong += of_kind
  results |= {
    'photos_indexed': count,
    'clients': arguments.clients,
    'load_average': os.getloadavg(),
    'wrong': wrong[:10],
  }
  print(json.dumps(results, indent=1))
  return 1 if wrong else 0


def measure(kind, direct, requests, pid, port, arguments, pairs):
  """Return what was measured of one kind of request, and what went wrong."""
  clients = serve_clients.Load(port)
  memory, rates, costs = [], [], []

  def ask(seconds: float, malformed: int = 0) -> tuple[int, float]:
    return asyncio.run(
      clients.run(requests, arguments.clients, seconds, malformed)
    )

  # Everything compiled, and what is kept of prefixes on both sides.
  ask(arguments.turn)
  direct.run(kind, arguments.turn)
  clients.seconds.clear()
  malformed = -(-arguments.malformed // (len(KINDS) * pairs))
  for _ in range(pairs):
    before = time.process_time()
    count, seconds = direct.run(kind, arguments.turn)
    alone, cost = count / seconds, (time.process_time() - before) / count
    before = serve_clients.cpu_seconds(pid)
    count, seconds = ask(arguments.turn, malformed)
    rates.append((alone, count / seconds))
    costs.append((cost, (serve_clients.cpu_seconds(pid) - before) / count))
    memory.append(serve_clients.resident_mb(pid))
  p50, p99 = np.percentile(clients.seconds or [np.nan], [50, 99])
  shares = [ours / alone for alone, ours in rates]
  return {
    'engine_per_second': round(statistics.median(x for x, _ in rates), 1),
    'service_per_second': round(statistics.median(x for _, x in rates), 1),
    'share': round(statistics.median(shares), 2),
    'share_least_and_most': [round(min(shares), 2), round(max(shares), 2)],
    # What another machine at work would not change: CPU time for each answer.
    'engine_cpu_ms': round(1000 * statistics.median(x for x, _ in costs), 2),
    'service_cpu_ms': round(1000 * statistics.median(x for _, x in costs), 2),
    'cpu_share': round(statistics.median(x / y for x, y in costs), 2),
    'p50_s': round(float(p50), 3),
    'p99_s': round(float(p99), 3),
    'answered': len(clients.seconds),
    'told_to_come_again': clients.busy,
    'malformed_refused': clients.refused,
    'memory_mb': [round(x) for x in memory],
  }, clients.wrong


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument('--photos')
  what.add_argument('--features')
  parser.add_argument('--count', type=int, default=10_000)
  parser.add_argument('--index', default='')
  parser.add_argument('--kinds', default=','.join(KINDS))
  parser.add_argument('--clients', type=int, default=64)
  parser.add_argument('--seconds', type=float, default=60)
  parser.add_argument('--turn', type=float, default=4)
  parser.add_argument('--malformed', type=int, default=200)
  arguments = parser.parse_args()
  if arguments.features:
    return search_times(arguments.features, arguments.count)
  return load(arguments)


if __name__ == '__main__':
  sys.exit(main())
