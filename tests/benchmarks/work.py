"""A work in a process of its own, that runs when it is asked to.

Each implementation has a process, started anew, so that neither's memory or
pool of threads is the other's.  Whoever is not at work is stopped by SIGSTOP:
pools spin for a while when their work is done, some as long as their process
lives, and would take the other's cores.
"""

import abc
from collections.abc import Mapping
import contextlib
import dataclasses
import importlib
import multiprocessing
import os
import signal
import statistics
import time
import traceback
from typing import Any

from mrnn_jax.runtime import allocator
from mrnn_jax.runtime.errors import InputError
from tests.benchmarks import machine

# Products measured before and after each turn.
_PRODUCTS = 3


@dataclasses.dataclass(frozen=True)
class Done:
  """What one run of a work got done.

  Attributes:
    amount: in the work's unit.
    flops: the operations of the products that had to be done for it.
  """

  amount: float
  flops: float = 0.0


class Work(abc.ABC):
  """One implementation of some work; lives in one process.

  Attributes:
    framework: 'jax' or 'torch'.
    unit: what is counted.
    sizes: what the work is, for the report.
    vocab_size: V of the product to compare with; None: compare with none.
  """

  framework = 'jax'
  unit = ''
  sizes: Mapping[str, Any] = {}
  vocab_size: int | None = None

  def warm_up(self) -> None:  # noqa: B027  (may stay empty)
    """Compile all that ``run`` needs."""

  @abc.abstractmethod
  def run(self) -> Done:
    """Do the work once, to the end: nothing may be under way afterwards."""

  def facts(self) -> dict[str, Any]:
    """Return what else is worth a line."""
    return {}

  def answer(self) -> Any:
    """Return the result, to see that both got the same."""
    return None


@dataclasses.dataclass(frozen=True)
class Task:
  """A work to set up.

  Attributes:
    factory: 'module:class' of a ``Work``.
    options: its arguments.
  """

  factory: str
  options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Turn:
  """One run of a work.

  Attributes:
    seconds: how long.
    amount: in the work's unit.
    flops: of the products that had to be done.
    product: FLOP/s of the large product around it; 0: not measured.
    cores: how many it kept busy itself.
    others: cores that other processes kept busy meanwhile; None: not known.
  """

  seconds: float
  amount: float
  flops: float
  product: float
  cores: float
  others: float | None

  @property
  def rate(self) -> float:
    """Amount a second."""
    return self.amount / self.seconds

  @property
  def share(self) -> float:
    """FLOP/s as a share of the large product's."""
    return self.flops / self.seconds / self.product if self.product else 0.0


class Bench:
  """Carries works out, in this process."""

  def __init__(self):
    self._work = self._product = self._clock = None

  def set_up(self, task: Task) -> dict[str, Any]:
    """Make a work ready to run; return its sizes and what that took."""
    start = time.perf_counter()
    factory = look_up(task.factory)
    if self._clock is None and factory.framework == 'jax':
      allocator.keep_freed_memory()  # As our commands do.
      self._clock = machine.CompileClock()
    before = self._compiling()
    self._work = work = factory(**task.options)
    work.warm_up()
    seconds = time.perf_counter() - start
    compiling = self._compiling() - before
    self._product = None
    if work.vocab_size:
      self._product = machine.PRODUCTS[work.framework](work.vocab_size)
    return {
      'unit': work.unit,
      'sizes': dict(work.sizes),
      'set_up_seconds': seconds,
      'compile_seconds': compiling,
      'machine': machine.describe(work.framework),
    }

  def turn(self) -> Turn:
    """Run the work once, products before and after it."""
    products = self._measure_products()
    load, start = machine.Load(), time.perf_counter()
    done = self._work.run()
    seconds = time.perf_counter() - start
    cores, others = load.own(), load.others()
    products += self._measure_products()
    product = statistics.median(products) if products else 0.0
    return Turn(seconds, done.amount, done.flops, product, cores, others)

  def finish(self) -> dict[str, Any]:
    """Return what is known at the end."""
    return {
      'peak_bytes': machine.peak_memory(),
      'facts': self._work.facts(),
      'answer': self._work.answer(),
    }

  def close(self) -> None:
    """Nothing is left behind."""

  def _compiling(self) -> float:
    return self._clock.seconds if self._clock else 0.0

  def _measure_products(self) -> list[float]:
    if not self._product:
      return []
    return [self._product() for _ in range(_PRODUCTS)]


def look_up(name: str) -> Any:
  """Return what 'module:name' names; imported here, and nowhere before."""
  module, attribute = name.split(':')
  return getattr(importlib.import_module(module), attribute)


def _serve(connection) -> None:
  """Do in a process of its own what the other end asks for."""
  bench = Bench()
  while (request := connection.recv()) is not None:
    name, args = request
    try:
      connection.send(('done', getattr(bench, name)(*args)))
    except InputError as error:
      connection.send(('mistake', str(error)))
    except Exception:
      connection.send(('failed', traceback.format_exc()))


class Remote:
  """A ``Bench`` in a process of its own, stopped while nobody asks it."""

  def __init__(self):
    """Start it."""
    context = multiprocessing.get_context('spawn')
    self._connection, theirs = context.Pipe()
    self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
    self._process.start()
    theirs.close()

  def set_up(self, task: Task) -> dict[str, Any]:
    """See ``Bench``."""
    return self._ask('set_up', task)

  def turn(self) -> Turn:
    """See ``Bench``."""
    return self._ask('turn')

  def finish(self) -> dict[str, Any]:
    """See ``Bench``."""
    return self._ask('finish')

  def close(self) -> None:
    """End the process."""
    self._signal('SIGCONT')
    with contextlib.suppress(OSError):  # It may have ended by itself.
      self._connection.send(None)
    self._process.join(10)
    if self._process.is_alive():
      self._process.kill()

  def _ask(self, name: str, *args: Any) -> Any:
    self._signal('SIGCONT')
    try:
      self._connection.send((name, args))
      state, result = self._connection.recv()
    except (EOFError, OSError) as error:
      self._process.join(10)
      raise InputError(
        f'a benchmark process ended (exit code {self._process.exitcode}): is '
        'there too little memory? Try a smaller --scale.'
      ) from error
    self._signal('SIGSTOP')
    if state == 'mistake':
      raise InputError(result)
    if state == 'failed':
      raise RuntimeError(f'in a benchmark process:\n{result}')
    return result

  def _signal(self, name: str) -> None:
    """Send a signal, where the system has it."""
    if hasattr(signal, name) and self._process.is_alive():
      os.kill(self._process.pid, getattr(signal, name))
