"""How the service keeps very many photos: the index, not what computes it.

  python -m tests.benchmarks.serve_index [--count=50000] [--folder=DIR]

Draws small photos, indexes them, starts again, searches, lists, changes and
deletes some thousand, and starts a third time; each step is a process of its
own, and prints what it took. Encoder and captions are stand-ins that cost
nothing, since all photos cost the same there; features, vectors and searches
are those of the pretrained model in size and cost. Exit code 1 where the index
is not what lies in the folder.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

import mrnn_jax
from mrnn_jax import encoders
from mrnn_jax.encoders import encode
from mrnn_jax.encoders.network import Network
from mrnn_jax.serve import engine as engine_lib
from mrnn_jax.serve.service import Service
from mrnn_jax.serve.settings import Settings
from mrnn_jax.serve.writer import Caption
from tests.benchmarks.serve_clients import resident_mb, sentence

STEPS = ('draw', 'index', 'start', 'change', 'start again')
# Photos in a folder, and the side of one.
_TOGETHER, _SIDE = 1000, 32
_SIZE = 16


class StandIn(engine_lib.Engine):
  """Writes one caption, whatever is seen."""

  def write(self, jobs):
    words = tuple(self.ids('a photo'))[1:-1]
    return [[Caption(words, -9.0, len(words) + 1, False)] for _ in jobs]


def stand_in(model) -> StandIn:
  """Return an engine whose encoder throws pixels about, in no time."""
  D = model.dataset['feature_size']
  matrix = np.random.default_rng(0).normal(size=(_SIZE * _SIZE * 3, D))

  def apply(params, images):
    return jnp.tanh(images.reshape(len(images), -1) / 255 @ params)

  network = Network(
    'efficientnet_lite0',
    '',
    _SIZE,
    D,
    8,
    matrix.astype(np.float32) / 10,
    jax.jit(apply),
  )
  encoders.load = lambda *unused: network
  described = vars(encode.describe(network, 'squash'))
  dataset = {**model.dataset, 'encoder': described}
  return StandIn(dataclasses.replace(model, dataset=dataset))


def path_of(folder: pathlib.Path, number: int) -> pathlib.Path:
  return folder / f'{number // _TOGETHER:04d}' / f'{number:06d}.png'


def draw(folder: pathlib.Path, numbers, seed: int) -> None:
  """Make photos of random pixels, each another one."""
  for number in numbers:
    path = path_of(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng((seed, number)).integers(
      0, 256, (4, 4, 3), np.uint8
    )
    image = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    image.save(path, compress_level=1)


@contextlib.contextmanager
def told(what: str, **more):
  """Print how long something took, of the clock and of this process."""
  wall, cpu = time.monotonic(), time.process_time()
  yield
  wall, cpu = time.monotonic() - wall, time.process_time() - cpu
  seconds = {'seconds': round(wall, 3), 'cpu_seconds': round(cpu, 3)}
  print(json.dumps({'what': what, **seconds, **more}), flush=True)


def looked(service: Service) -> Service:
  """Have the folder looked at once, here and now."""
  service.indexer._look()
  if service.indexer.state.phase != 'ready':
    raise SystemExit(service.indexer.state.error)
  return service


def step(name: str, folder: pathlib.Path, count: int) -> int:
  """Do a step; return how many photos there should be."""
  photos, changed, gone = folder / 'photos', count // 50, count // 10
  if name == 'draw':
    with told('draw', photos=count):
      draw(photos, range(count), seed=0)
    return count
  if name == 'change':
    draw(photos, range(changed), seed=1)
    for number in range(count - gone, count):
      path_of(photos, number).unlink()
    moved = photos / 'moved'
    path_of(photos, changed).parent.rename(moved)
  engine = stand_in(mrnn_jax.load())
  engine.encode([np.zeros((_SIZE, _SIZE, 3), np.uint8)] * 8)
  index = str(folder / 'index')
  settings = Settings(photos=str(photos), index=index, rescan=0)
  with told(
    f'{name}: open the index', memory_mb=round(resident_mb(os.getpid()))
  ):
    service = Service(settings, engine)
  with told(f'{name}: look at the folder'):
    looked(service)
  with told(f'{name}: look again, nothing is new'):
    looked(service)
  pool = service.indexer.pool
  if name == 'start':
    measure(service, engine)
  memory = {'memory_mb': round(resident_mb(os.getpid()))}
  print(json.dumps({'what': f'{name}: memory', **memory}), flush=True)
  there = {x.name for x in pool.listed(0, 10 * count)}
  service.close()
  lying = {x.relative_to(photos).as_posix() for x in photos.rglob('*.png')}
  if there != lying:
    raise SystemExit(f'{len(there ^ lying)} photos are not as in the folder')
  return len(there)


def measure(service: Service, engine: engine_lib.Engine) -> None:
  """Print what requests take among all photos."""
  pool = service.indexer.pool
  engine.search([(pool, [engine.ids('compiled')], 20)])
  for number in range(3):
    for turn in ('anew', 'again'):
      with told(f'search {turn}', text=sentence(number)):
        engine.search([(pool, [engine.ids(sentence(number))], 20)])
  for offset in (0, 0, len(pool) - 60):
    with told('list 60', offset=offset):
      pool.listed(offset, 60)
  view = pool.view()
  for _ in range(2):
    with told('nearest'):
      service.nearest(view, np.array(service.catalog.features()[7]), 12)


def main() -> int:
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--count', type=int, default=50_000)
  parser.add_argument('--folder', default='')
  parser.add_argument('--steps', default=','.join(STEPS))
  parser.add_argument('--step', default='', help=argparse.SUPPRESS)
  arguments = parser.parse_args()
  if arguments.step:
    there = step(
      arguments.step, pathlib.Path(arguments.folder), arguments.count
    )
    print(json.dumps({'what': f'{arguments.step}: photos', 'there': there}))
    return 0
  with tempfile.TemporaryDirectory() as temporary:
    folder = arguments.folder or temporary
    for name in arguments.steps.split(','):
      command = [sys.executable, '-m', 'tests.benchmarks.serve_index']
      command += [f'--step={name}', f'--folder={folder}']
      command += [f'--count={arguments.count}']
      if code := subprocess.run(command, check=False).returncode:
        return code
  return 0


if __name__ == '__main__':
  sys.exit(main())
