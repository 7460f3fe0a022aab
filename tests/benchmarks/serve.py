"""Load on the service: clients on the loopback for a bounded time.

  python -m tests.benchmarks.serve --photos=DIR [--seconds=60] [--clients=16]

Starts the service on the photos, waits until they are indexed, and counts what
clients that ask again and again get of it: captions of photos' features, and
searches. The same engine is called in batches in this process before and after,
so that the share that HTTP, queues and batching leave is told; malformed photos
are sent beside. Exit code 1 where a request that should have been answered was
not. What else runs on the machine is told, for it shares the cores.

  python -m tests.benchmarks.serve --features=FILE.npz [--count=10000]

Seconds of a search among so many photos, anew and again, and CPU seconds of all
cores together, which others on the machine hardly change.
"""

import argparse
import asyncio
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import httpx
import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
NOUNS = ('dog', 'man', 'girl', 'boy', 'woman', 'child', 'group of people')
VERBS = ('runs', 'sits', 'jumps', 'plays', 'walks', 'rides a bike')
PLACES = ('on the grass', 'in the water', 'on a street', 'in the snow', '')
# Rows that the engine is given at once, as the service's largest step.
BATCH = 32


def sentence(number: int) -> str:
  """A sentence that was hardly asked before."""
  rng = np.random.default_rng(number)
  words = [rng.choice(x) for x in (NOUNS, VERBS, PLACES)]
  colour = rng.choice(['red', 'blue', 'black', 'white', 'green', 'yellow'])
  return f'a {words[0]} in {colour} {words[1]} {words[2]}'.strip()


def direct(engine, pool, features, seconds, first):
  """Captions/s and searches/s of the engine itself, called in batches."""
  from mrnn_jax.serve.writer import Job

  rates = []
  vectors = engine.readouts.image_vectors(features)

  def captions(turn):
    rows = (turn * BATCH + np.arange(BATCH)) % len(vectors)
    engine.write([Job(vectors[i]) for i in rows])
    return BATCH

  def searches(turn):
    number = first + turn * 8
    engine.search(
      [(pool, [engine.ids(sentence(number + i))], 20) for i in range(8)]
    )
    return 8

  for work in (captions, searches):
    work(0)  # Compiled.
    begin, done, turn = time.monotonic(), 0, 1
    while time.monotonic() - begin < seconds:
      done += work(turn)
      turn += 1
    rates.append(done / (time.monotonic() - begin))
  return rates


SEARCHES = (
  'a dog runs',
  'two men play',
  'two men play soccer',
  'a skateboarder in the air',
  'a little girl sits on a swing',
  'a brown dog runs on the green grass with a ball in its mouth',
)


def search_times(path, count) -> int:
  """Print what searches among ``count`` photos cost."""
  import mrnn_jax
  from mrnn_jax.serve.pool import Entry, Pool
  from mrnn_jax.serve.readouts import Readouts
  from mrnn_jax.serve.search import Searcher

  model = mrnn_jax.load()
  there = np.load(path)['features'].astype(np.float32)
  # Where there are fewer, some again with a little noise.
  more = there + 0.01 * np.random.default_rng(0).normal(size=there.shape)
  features = np.concatenate([there, more]).astype(np.float32)[:count]
  readouts = Readouts(
    model.model, model.variables, model.norm_features, model.devices[0]
  )
  vectors = readouts.image_vectors(features)
  pool, searcher = Pool(vectors.shape[1]), Searcher(readouts)
  pool.add(
    [Entry(str(i), '', i, '', 0.0, 1, 1) for i in range(len(vectors))], vectors
  )
  searcher.search(pool, [([model.encode('compiled')], 20)])
  print(f'{len(vectors):,} photos; load {os.getloadavg()[0]:.1f}')
  for text in SEARCHES:
    for turn in ('anew', 'again'):
      wall, cpu = time.monotonic(), time.process_time()
      (found,) = searcher.search(pool, [([model.encode(text)], 20)])
      wall, cpu = time.monotonic() - wall, time.process_time() - cpu
      print(
        f'{turn:5}  {wall:6.2f} s  {cpu:6.2f} CPU s  '
        f'{found.num_exact:5} exact  {text}',
        flush=True,
      )
  return 0


class Load:
  """What clients got."""

  def __init__(self, url, features, until, first):
    self.url, self.features, self.until = url, features, until
    self.number = first
    self.seconds, self.wrong, self.busy, self.refused = [], [], 0, 0

  async def client(self, kind):
    async with httpx.AsyncClient(base_url=self.url, timeout=60) as client:
      while time.monotonic() < self.until:
        self.number += 1
        begin = time.monotonic()
        if kind == 'captions':
          feature = self.features[self.number % len(self.features)].tolist()
          answer = await client.post(
            '/v1/captions', json={'features': [feature], 'nbest': 1}
          )
        else:
          answer = await client.get(
            '/v1/search', params={'q': sentence(self.number), 'limit': 20}
          )
        if answer.status_code == 200:
          self.seconds.append(time.monotonic() - begin)
        elif answer.status_code == 503:
          self.busy += 1
          await asyncio.sleep(float(answer.headers['retry-after']))
        else:
          self.wrong.append(answer.text[:200])

  async def malformed(self, count):
    """Send what is no photo, evenly over the time."""
    pause = max(0, self.until - time.monotonic()) / (count + 1)
    rng = np.random.default_rng(0)
    async with httpx.AsyncClient(base_url=self.url, timeout=60) as client:
      for i in range(count):
        head = (b'\xff\xd8\xff\xe0', b'\x89PNG\r\n\x1a\n', b'GIF89a', b'')[
          i % 4
        ]
        data = head + rng.bytes(int(rng.integers(0, 20000)))
        answer = await client.post(
          '/v1/captions', files={'photo': ('x.jpg', data)}
        )
        if answer.status_code in (413, 415, 422):
          self.refused += 1
        elif answer.status_code != 503:
          self.wrong.append(f'malformed: {answer.status_code}')
        await asyncio.sleep(pause)


async def warm_up(url, features):
  """Have all sizes of steps compiled, which at first takes its time."""
  async with httpx.AsyncClient(base_url=url, timeout=600) as client:
    for together in (1, 4, 32, 32):
      await asyncio.gather(
        *(
          client.post(
            '/v1/captions',
            json={'features': [features[0].tolist()], 'nbest': 1},
          )
          for _ in range(together)
        ),
        client.get('/v1/search', params={'q': 'a dog', 'limit': 20}),
      )


def resident_mb(pid: int) -> float:
  """Memory of a process that is not in files."""
  text = pathlib.Path(f'/proc/{pid}/status').read_text()
  return int(text.partition('RssAnon:')[2].split()[0]) / 1024


async def run_load(
  url, pid, features, kind, clients, seconds, malformed, first
):
  load = Load(url, features, time.monotonic() + seconds, first)
  memory = []

  async def watch():
    while time.monotonic() < load.until:
      memory.append(resident_mb(pid))
      await asyncio.sleep(1)

  begin = time.monotonic()
  await asyncio.gather(
    watch(),
    load.malformed(malformed),
    *(load.client(kind) for _ in range(clients)),
  )
  took = time.monotonic() - begin
  p50, p99 = np.percentile(load.seconds or [np.nan], [50, 99])
  return load, {
    'per_second': round(len(load.seconds) / took, 2),
    'p50_s': round(float(p50), 3),
    'p99_s': round(float(p99), 3),
    'answered': len(load.seconds),
    'told_to_come_again': load.busy,
    'malformed_refused': load.refused,
    'memory_mb_first_and_last': [round(memory[0]), round(memory[-1])],
  }


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  what = parser.add_mutually_exclusive_group(required=True)
  what.add_argument('--photos')
  what.add_argument('--features')
  parser.add_argument('--count', type=int, default=10_000)
  parser.add_argument('--index', default='')
  parser.add_argument('--clients', type=int, default=32)
  parser.add_argument('--seconds', type=float, default=60)
  parser.add_argument('--malformed', type=int, default=200)
  arguments = parser.parse_args()
  if arguments.features:
    return search_times(arguments.features, arguments.count)
  index = arguments.index or tempfile.mkdtemp()
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  server = subprocess.Popen(
    [
      sys.executable,
      *('-m', 'mrnn_jax.serve', f'--photos={arguments.photos}'),
      *(f'--port={port}', f'--index={index}', '--rescan=0'),
    ],
    cwd=ROOT,
  )
  url = f'http://127.0.0.1:{port}'
  try:
    while True:
      time.sleep(1)
      if server.poll() is not None:
        return 1
      try:
        told = httpx.get(f'{url}/v1/index', timeout=60).json()
      except httpx.TransportError:
        continue
      if told['phase'] == 'ready':
        break
    return measure(arguments, index, url, server)
  finally:
    server.send_signal(signal.SIGTERM)
    print('the service ended with', server.wait(120))


def measure(arguments, index, url, server) -> int:
  import mrnn_jax
  from mrnn_jax.serve.engine import Engine
  from mrnn_jax.serve.pool import Entry, Pool

  engine = Engine(mrnn_jax.load())
  features = np.load(pathlib.Path(index) / 'features.npy', mmap_mode='r')
  count = httpx.get(f'{url}/v1/healthz').json()['indexed']
  features = np.array(features[:count])
  pool = Pool(engine.vector_size)
  pool.add(
    [Entry(str(i), '', i, '', 0.0, 1, 1) for i in range(count)],
    engine.readouts.image_vectors(features),
  )
  turn = arguments.seconds / 4
  # The server has nothing to do meanwhile.
  before = direct(engine, pool, features, turn, 1_000_000)
  asyncio.run(warm_up(url, features))
  results, wrong = {}, []
  for i, kind in enumerate(('captions', 'searches')):
    load, results[kind] = asyncio.run(
      run_load(
        url,
        server.pid,
        features,
        kind,
        arguments.clients,
        arguments.seconds / 2,
        arguments.malformed // 2,
        2_000_000 * (i + 1),
      )
    )
    wrong += load.wrong
  after = direct(engine, pool, features, turn, 9_000_000)
  for i, kind in enumerate(results):
    alone = (before[i] + after[i]) / 2
    results[kind]['engine_in_batches_per_second'] = round(alone, 2)
    results[kind]['share'] = round(results[kind]['per_second'] / alone, 2)
  results['photos'] = count
  results['clients'] = arguments.clients
  results['load_average'] = os.getloadavg()
  results['wrong'] = wrong[:10]
  print(json.dumps(results, indent=1))
  return 1 if wrong else 0


if __name__ == '__main__':
  sys.exit(main())
