"""Photos a second through an encoder, and back: a command of its own.

python -m tests.benchmarks.encoder_step [--encoder=efficientnet_lite0]
  [--photos=20] [--blocks=3,all] [--dtype=float32] [--remat]

Tells seconds of the clock and of processors: where others use the machine, only
the latter mean something.
"""

import argparse
from collections.abc import Callable
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax import encoders
from mrnn_jax.encoders.network import Network
from mrnn_jax.training import photos as photos_lib

_TURNS = 3


def best_of(fn: Callable[..., Any], *args: Any) -> tuple[float, float]:
  """Return the least seconds of the clock, and of processors, of some turns."""
  clock, processors = [], []
  for _ in range(_TURNS):
    begun = time.perf_counter(), time.process_time()
    jax.block_until_ready(fn(*args))
    clock.append(time.perf_counter() - begun[0])
    processors.append(time.process_time() - begun[1])
  return min(clock), min(processors)


def measure(
  network: Network, trained: tuple[str, ...], images: np.ndarray, **how: Any
) -> dict[str, float]:
  """Measure the gradient of some blocks; of none, the way forward alone."""
  encoder = photos_lib.encoder_of(
    network, trained, how['dtype'], 'default', how['remat']
  )
  blocks = {name: network.params[name] for name in trained}
  frozen = {n: x for n, x in network.params.items() if n not in trained}

  def cost(blocks, frozen, images):
    return jnp.square(encoder(blocks, frozen, images)).sum()

  fn = jax.value_and_grad(cost) if trained else cost
  begun = time.process_time()
  compiled = jax.jit(fn).lower(blocks, frozen, images).compile()
  compiling = time.process_time() - begun
  jax.block_until_ready(compiled(blocks, frozen, images))
  clock, processors = best_of(compiled, blocks, frozen, images)
  memory = compiled.memory_analysis()
  return {
    'photos a second': len(images) / clock,
    'photos a processor second': len(images) / processors,
    'processor seconds to compile': compiling,
    'MB between the layers': memory.temp_size_in_bytes / 1e6 if memory else 0,
  }


def main() -> None:
  """Read the flags, measure and print."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--encoder', default=encoders.DEFAULT)
  parser.add_argument('--photos', type=int, default=20)
  parser.add_argument('--blocks', default='3,all')
  parser.add_argument('--dtype', default='float32')
  parser.add_argument('--remat', action='store_true')
  flags = parser.parse_args()
  network = encoders.load(flags.encoder)
  rng = np.random.default_rng(0)
  shape = (flags.photos, network.image_size, network.image_size, 3)
  images = rng.integers(0, 256, shape).astype(np.uint8)
  plans = {'forward alone': ()}
  for which in flags.blocks.split(','):
    last = len(network.blocks) if which == 'all' else int(which)
    plans[f'gradient of the last {last} blocks'] = network.blocks[-last:]
  for name, trained in plans.items():
    found = measure(
      network, trained, images, dtype=flags.dtype, remat=flags.remat
    )
    told = ', '.join(f'{what} {value:.4g}' for what, value in found.items())
    print(f'{network.name}, {name}: {told}', flush=True)


if __name__ == '__main__':
  main()
