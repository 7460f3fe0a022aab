"""What a process and its machine do: memory, load, matrix products.

Frameworks are imported by the functions that need them, so that a process has
only one of them.
"""

from collections.abc import Callable
import os
import platform
import sys
import time

import numpy as np

# The product that rates are compared with: [4096, 512] times [512, V].
PRODUCT_ROWS, PRODUCT_INNER = 4096, 512


def peak_memory() -> int:
  """Return the most memory that this process has held, in bytes."""
  try:
    with open('/proc/self/status') as status:
      for line in status:
        if line.startswith('VmHWM:'):
          return int(line.split()[1]) * 1024
  except OSError:
    pass
  import resource  # Not on every system.

  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak if sys.platform == 'darwin' else peak * 1024


def busy_seconds() -> float | None:
  """Return the CPU seconds of the whole machine since it started.

  Also those that a virtual machine's host gave to others; None where the
  system does not tell.
  """
  try:
    with open('/proc/stat') as stat:
      user, nice, system, _, _, irq, soft_irq, steal = map(
        int, stat.readline().split()[1:9]
      )
  except (OSError, ValueError):
    return None
  ticks = user + nice + system + irq + soft_irq + steal
  return ticks / os.sysconf('SC_CLK_TCK')


class Load:
  """How many cores this process and others keep busy over a time."""

  def __init__(self):
    self._start = time.perf_counter(), busy_seconds(), time.process_time()

  def own(self) -> float:
    """Return this process's mean since the beginning."""
    start, _, own = self._start
    return (time.process_time() - own) / (time.perf_counter() - start)

  def others(self) -> float | None:
    """Return that of all others; None where it is not known."""
    start, busy, own = self._start
    now = busy_seconds()
    if now is None or busy is None:
      return None
    of_others = (now - busy) - (time.process_time() - own)
    return max(0.0, of_others / (time.perf_counter() - start))


class CompileClock:
  """Adds up the seconds that JAX has spent on tracing and compiling."""

  def __init__(self):
    """Begin to listen."""
    from jax import monitoring

    self.seconds = 0.0
    monitoring.register_event_duration_secs_listener(self._add)

  def _add(self, event: str, seconds: float, **_) -> None:
    if event.startswith('/jax/core/compile/'):
      self.seconds += seconds


def jax_product(vocab_size: int) -> Callable[[], float]:
  """Return what measures a large float32 product through JAX, in FLOP/s."""
  import jax

  a, b = (jax.device_put(x) for x in _operands(vocab_size))
  multiply = jax.jit(lambda a, b: a @ b)
  multiply(a, b).block_until_ready()

  def measure():
    start = time.perf_counter()
    multiply(a, b).block_until_ready()
    return _num_operations(vocab_size) / (time.perf_counter() - start)

  return measure


def torch_product(vocab_size: int) -> Callable[[], float]:
  """Return what measures a large float32 product through PyTorch."""
  import torch

  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  a, b = (torch.from_numpy(x).to(device) for x in _operands(vocab_size))
  a @ b

  def measure():
    if device == 'cuda':
      torch.cuda.synchronize()
    start = time.perf_counter()
    a @ b
    if device == 'cuda':
      torch.cuda.synchronize()
    return _num_operations(vocab_size) / (time.perf_counter() - start)

  return measure


PRODUCTS = {'jax': jax_product, 'torch': torch_product}


def _operands(vocab_size: int) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  a = rng.standard_normal((PRODUCT_ROWS, PRODUCT_INNER), np.float32)
  b = rng.standard_normal((PRODUCT_INNER, vocab_size), np.float32)
  return a, b


def _num_operations(vocab_size: int) -> float:
  return 2.0 * PRODUCT_ROWS * PRODUCT_INNER * vocab_size


def describe(framework: str) -> dict[str, str | int]:
  """Return what a framework runs on, and its version."""
  if framework == 'jax':
    import jax

    device = jax.devices()[0]
    return {'jax': jax.__version__, 'device': device.device_kind}
  import torch

  cuda = torch.cuda.is_available()
  return {
    'torch': torch.__version__,
    'device': torch.cuda.get_device_name() if cuda else 'cpu',
    'threads': torch.get_num_threads(),
  }


def describe_host() -> dict[str, str | int]:
  """Return the name of the processor and the number of its cores."""
  name = platform.processor() or platform.machine()
  try:
    with open('/proc/cpuinfo') as info:
      for line in info:
        if line.startswith('model name'):
          name = line.split(':', 1)[1].strip()
          break
  except OSError:
    pass
  return {
    'processor': name,
    'cores': os.cpu_count() or 1,
    'system': platform.platform(terse=True),
    'python': platform.python_version(),
  }
