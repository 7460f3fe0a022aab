"""Times two implementations of one work in turns, and prints what came out.

Each implementation has a process of its own, started anew, so that neither's
memory or thread pool is the other's.  They take turns: ours, theirs, ours,
theirs.  Whoever is not at work is stopped by SIGSTOP: pools of threads spin for
a while when their work is done, some as long as their process lives, and would
take the other's cores.
"""

from collections.abc import Mapping, Sequence
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

from mrnn_jax.errors import InputError
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


class Work:
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

  def warm_up(self) -> None:
    """Compile all that ``run`` needs."""

  def run(self) -> Done:
    """Do the work once, to the end: nothing may be under way afterwards."""
    raise NotImplementedError

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
    others: cores that other processes kept busy meanwhile; None: not known.
  """

  seconds: float
  amount: float
  flops: float
  product: float
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
    factory = _look_up(task.factory)
    if self._clock is None and factory.framework == 'jax':
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
    seconds, others = time.perf_counter() - start, load.others()
    products += self._measure_products()
    product = statistics.median(products) if products else 0.0
    return Turn(seconds, done.amount, done.flops, product, others)

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


def _look_up(name: str) -> Any:
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


@dataclasses.dataclass(frozen=True)
class Options:
  """What the command line says.

  Attributes:
    scale: 'tiny', 'small' or 'full'.
    torch: whether to measure PyTorch too.
    repeats: turns of each.
    model: a model file for decoding; '': the pretrained one, or a random one.
    image_block: of ranking; 0: as the program has it.
    tile_rows: of ranking; 0: as the program has it.
  """

  scale: str = 'small'
  torch: bool = True
  repeats: int = 3
  model: str = ''
  image_block: int = 0
  tile_rows: int = 0


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A work, ours and theirs.

  Attributes:
    name: what it is.
    ours: how we do it.
    theirs: how PyTorch does it; None: nobody to compare with.
    floor: the least ratio of rates that is wanted; 0: none.
    share_floor: the least share of the product's rate that is wanted.
    check: 'module:function' that says of both answers how they agree.
  """

  name: str
  ours: Task
  theirs: Task | None = None
  floor: float = 0.0
  share_floor: float = 0.0
  check: str = ''


@dataclasses.dataclass(frozen=True)
class Side:
  """All that was measured of one implementation."""

  name: str
  set_up: Mapping[str, Any]
  turns: Sequence[Turn]
  peak_bytes: int
  facts: Mapping[str, Any]

  def as_json(self) -> dict[str, Any]:
    """Return everything, with the medians beside it."""
    rates = [turn.rate for turn in self.turns]
    return {
      'name': self.name,
      **self.set_up,
      'peak_bytes': self.peak_bytes,
      'facts': dict(self.facts),
      'median_rate': statistics.median(rates),
      'best_rate': max(rates),
      'spread': (max(rates) - min(rates)) / statistics.median(rates),
      'median_share': statistics.median(t.share for t in self.turns),
      'best_share': max(t.share for t in self.turns),
      'turns': [dataclasses.asdict(turn) for turn in self.turns],
    }


@dataclasses.dataclass(frozen=True)
class Result:
  """A comparison that was made."""

  comparison: Comparison
  sides: Sequence[Side]
  agreement: str

  @property
  def ratios(self) -> list[float]:
    """How many times their rate ours is, pair by pair."""
    if len(self.sides) < 2:
      return []
    ours, theirs = (side.turns for side in self.sides)
    return [a.rate / b.rate for a, b in zip(ours, theirs, strict=True)]

  def as_json(self) -> dict[str, Any]:
    """Return everything."""
    ratios = self.ratios
    return {
      'name': self.comparison.name,
      'floor': self.comparison.floor,
      'share_floor': self.comparison.share_floor,
      'ratios': ratios,
      'best_ratio': max(ratios, default=None),
      'median_ratio': statistics.median(ratios) if ratios else None,
      'agreement': self.agreement,
      'sides': [side.as_json() for side in self.sides],
    }


def compare(
  comparison: Comparison, options: Options, bench: type = Remote
) -> Result:
  """Measure both sides, turn by turn.

  Args:
    comparison: what.
    options: how often, and whether theirs too.
    bench: ``Remote``, or ``Bench`` for all in this process.
  """
  tasks = {'mrnn_jax': comparison.ours}
  if comparison.theirs and options.torch:
    tasks['PyTorch'] = comparison.theirs
  benches = {}
  try:
    set_up = {}
    for name, task in tasks.items():
      benches[name] = bench()
      set_up[name] = benches[name].set_up(task)
    turns = {name: [] for name in tasks}
    for _ in range(options.repeats):
      for name in tasks:
        turns[name].append(benches[name].turn())
    ends = {name: benches[name].finish() for name in tasks}
  finally:
    for one in benches.values():
      one.close()
  agreement = ''
  if comparison.check and len(tasks) == 2:
    check = _look_up(comparison.check)
    agreement = check(*(end['answer'] for end in ends.values()))
  sides = [
    Side(
      name,
      set_up[name],
      turns[name],
      ends[name]['peak_bytes'],
      ends[name]['facts'],
    )
    for name in tasks
  ]
  return Result(comparison, sides, agreement)


@dataclasses.dataclass(frozen=True)
class Growth:
  """A work of ours in several sizes.

  Attributes:
    name: what grows.
    tasks: a size, and the work of that size.
  """

  name: str
  tasks: Sequence[tuple[int, Task]]


def grow(growth: Growth, bench: type = Remote) -> list[dict[str, Any]]:
  """Measure each size once, after a warm-up."""
  worker = bench()
  rows = []
  try:
    for size, task in growth.tasks:
      set_up = worker.set_up(task)
      turn = worker.turn()
      rows.append(
        {
          'size': size,
          'unit': set_up['unit'],
          'compile_seconds': set_up['compile_seconds'],
          **dataclasses.asdict(turn),
        }
      )
  finally:
    worker.close()
  return rows
