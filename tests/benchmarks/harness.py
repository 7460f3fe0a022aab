"""Measures two implementations of one work in turns, and ours as it grows.

They take turns, ours, theirs, ours, theirs, so that whatever else the machine
does hits both.  What counts is the ratio within a pair of turns.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import statistics
from typing import Any

from tests.benchmarks.work import Remote, Task, Turn, look_up


class DisagreementError(Exception):
  """Both answers differ by more than rounding; says how far."""


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
    whole: the amount of the whole work, where theirs does a part of it.
    check: 'module:function' that says of both answers how they agree, or
      raises ``DisagreementError``.
  """

  name: str
  ours: Task
  theirs: Task | None = None
  floor: float = 0.0
  share_floor: float = 0.0
  whole: float = 0.0
  check: str = ''


@dataclasses.dataclass(frozen=True)
class Side:
  """All that was measured of one implementation."""

  name: str
  set_up: Mapping[str, Any]
  turns: Sequence[Turn]
  peak_bytes: int
  facts: Mapping[str, Any]

  @property
  def median_rate(self) -> float:
    """Amount a second, the median of the turns."""
    return statistics.median(turn.rate for turn in self.turns)

  def as_json(self) -> dict[str, Any]:
    """Return everything, with the medians beside it."""
    rates = [turn.rate for turn in self.turns]
    return {
      'name': self.name,
      **self.set_up,
      'peak_bytes': self.peak_bytes,
      'facts': dict(self.facts),
      'median_rate': self.median_rate,
      'best_rate': max(rates),
      'spread': (max(rates) - min(rates)) / self.median_rate,
      'median_share': statistics.median(t.share for t in self.turns),
      'best_share': max(t.share for t in self.turns),
      'turns': [dataclasses.asdict(turn) for turn in self.turns],
    }


@dataclasses.dataclass(frozen=True)
class Result:
  """A comparison that was made.

  Attributes:
    comparison: what.
    sides: ours, and theirs if there is one.
    agreement: what the check said of both answers.
    agrees: whether they are the same but for rounding.
  """

  comparison: Comparison
  sides: Sequence[Side]
  agreement: str
  agrees: bool = True

  @property
  def ratios(self) -> list[float]:
    """How many times their rate ours is, pair by pair."""
    if len(self.sides) < 2:
      return []
    ours, theirs = (side.turns for side in self.sides)
    return [a.rate / b.rate for a, b in zip(ours, theirs, strict=True)]

  @property
  def whole_seconds(self) -> dict[str, float]:
    """How long each takes for the whole work, by its median rate."""
    return {
      side.name: self.comparison.whole / side.median_rate
      for side in self.sides
      if self.comparison.whole
    }

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
      'agrees': self.agrees,
      'whole': self.comparison.whole,
      'whole_seconds': self.whole_seconds,
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
  agreement, agrees = '', True
  if comparison.check and len(tasks) == 2:
    check = look_up(comparison.check)
    try:
      agreement = check(*(end['answer'] for end in ends.values()))
    except (
      DisagreementError
    ) as error:  # What was measured is told all the same.
      agreement, agrees = str(error), False
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
  return Result(comparison, sides, agreement, agrees)


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
