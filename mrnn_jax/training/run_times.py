"""Where the time of a training run goes, while it runs and at its end."""

import array
from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import threading
import time
from typing import Any

from etils import epath
import jax
import numpy as np

from mrnn_jax.runtime import files, json_files, progress

SUMMARY_FILE = 'summary.json'
# What a run does, and how a line says it.
PHASES = {
  'start': 'starting',
  'data': 'waiting for the next batch',
  'compile': 'compiling the step',
  'steps': 'taking steps',
  'validation': 'validating',
  'saving': 'waiting for a checkpoint to be written',
  'log': 'writing the log',
}
_BACKEND_COMPILE = '/jax/core/compile/backend_compile_duration'


class Clock:
  """Tells what a run is doing, and how long it has done what.

  Every moment belongs to one phase, so that the seconds add up to the whole.
  What XLA compiles counts as 'compile' wherever it happens.

  Attributes:
    phase: the present one, of ``PHASES``.
  """

  def __init__(self):
    """Begin with 'start'."""
    self.phase = 'start'
    self._begin = self._since = time.monotonic()
    self._seconds = dict.fromkeys(PHASES, 0.0)
    self._thread = threading.get_ident()

  def enter(self, phase: str) -> str:
    """Begin a phase; return the one before."""
    now = time.monotonic()
    self._seconds[self.phase] += now - self._since
    before, self.phase, self._since = self.phase, phase, now
    return before

  @contextlib.contextmanager
  def during(self, phase: str) -> Iterator[None]:
    """Count the time inside to a phase."""
    before = self.enter(phase)
    try:
      yield
    finally:
      self.enter(before)

  @contextlib.contextmanager
  def hearing_of_compiles(self) -> Iterator[None]:
    """Count what JAX compiles inside, in this thread, as 'compile'."""
    jax.monitoring.register_event_duration_secs_listener(self._on_event)
    try:
      yield
    finally:
      jax.monitoring.unregister_event_duration_listener(self._on_event)

  def _on_event(
    self, event: str, duration_secs: float, **unused: str | int
  ) -> None:
    here = threading.get_ident() == self._thread
    if event == _BACKEND_COMPILE and here and self.phase != 'compile':
      self._seconds['compile'] += duration_secs
      self._seconds[self.phase] -= duration_secs

  def seconds(self) -> dict[str, float]:
    """Return the seconds of each phase up to now."""
    self.enter(self.phase)
    return dict(self._seconds)

  def total(self) -> float:
    """Return the seconds since the beginning."""
    return time.monotonic() - self._begin


def of_steps(seconds: Mapping[str, float]) -> float:
  """Return the seconds of steps and their batches, of ``Clock.seconds``."""
  return seconds['steps'] + seconds['data']


class StepTimes:
  """How long steps take: from the end of the one before to its own.

  Taking the time needs no waiting: the log reads what a step measured anyhow,
  while the device is at the next one.
  """

  def __init__(self, clock: Clock):
    """Take what else happened between two steps from a clock."""
    self._clock = clock
    self._ended: tuple[float, float] | None = None
    self._seconds = array.array('f')
    self._marked = 0

  def end(self) -> None:
    """Take in that a step has just ended."""
    now = time.monotonic()
    seconds = self._clock.seconds()
    other = sum(seconds[x] for x in ('compile', 'validation', 'saving'))
    if self._ended is not None and self._ended[1] == other:
      self._seconds.append(now - self._ended[0])
    # A step with something else between tells nothing; it is passed over.
    self._ended = now, other

  def percentiles(self, all_steps: bool = False) -> dict[str, float]:
    """Return p50, p90 and p99 in seconds, {} where nothing is known.

    Args:
      all_steps: of the whole run; else since the last such call.
    """
    first = 0 if all_steps else self._marked
    seconds = np.asarray(self._seconds[first:], np.float64)
    if not all_steps:
      self._marked = len(self._seconds)
    if not len(seconds):
      return {}
    values = np.percentile(seconds, (50, 90, 99))
    return {
      f'step_seconds_p{p}': round(float(value), 6)
      for p, value in zip((50, 90, 99), values, strict=True)
    }


class Heartbeat:
  """Says what a run is doing when no other line has come for a while."""

  def __init__(self, line: Callable[[float], str], every: float = 60.0):
    """Plan the lines; they come inside the context, from a thread.

    Args:
      line: seconds since the last other line -> what to say.
      every: seconds of silence.
    """
    self._line, self._every = line, every
    self._heard = self._said = time.monotonic()
    self._end = threading.Event()
    self._thread = threading.Thread(target=self._beat, daemon=True)

  def heard(self) -> None:
    """Take in that another line has come."""
    self._heard = self._said = time.monotonic()

  def due(self) -> str | None:
    """Return what is to be said now, None for nothing."""
    now = time.monotonic()
    if now < self._said + self._every:
      return None
    self._said = now
    return self._line(now - self._heard)

  def _beat(self) -> None:
    while not self._end.wait(self._said + self._every - time.monotonic()):
      if line := self.due():
        progress.say(line)

  def __enter__(self) -> 'Heartbeat':
    self._thread.start()
    return self

  def __exit__(self, *unused: Any) -> None:
    self._end.set()
    self._thread.join()


def device_memory(devices: Sequence[Any]) -> dict[str, float]:
  """Return megabytes in use and at most so far, of the fullest device.

  {} where the backend does not tell, as on CPUs.
  """
  told = [stats for device in devices if (stats := device.memory_stats())]
  names = {
    'device_memory_mb': 'bytes_in_use',
    'device_memory_peak_mb': 'peak_bytes_in_use',
  }
  return {
    name: round(max(stats[key] for stats in told) / 1e6, 1)
    for name, key in names.items()
    if told and all(key in stats for stats in told)
  }


def write_summary(
  workdir: epath.PathLike, entry: dict[str, Any], start: int
) -> None:
  """Add an entry to summary.json: one for each time that a run was started.

  Args:
    workdir: of the run.
    entry: what this start took.
    start: the step that it began at; at 0 the file begins anew.
  """
  path = epath.Path(workdir).expanduser() / SUMMARY_FILE
  entries = []
  if start and path.exists():
    with contextlib.suppress(ValueError):  # Damaged: it holds nothing needed.
      entries = json_files.parse(path.read_text())
  if not isinstance(entries, list):
    entries = []
  files.write_json(path, [*entries, entry])


def format_summary(entry: dict[str, Any]) -> str:
  """Return a summary's entry as two lines."""
  seconds = entry['seconds']
  total = max(sum(seconds.values()), 1e-9)
  phases = sorted(seconds, key=seconds.get, reverse=True)
  parts = ', '.join(
    f'{phase} {seconds[phase]:.1f} s ({100 * seconds[phase] / total:.0f}%)'
    for phase in phases
  )
  steps = f'steps {entry["first_step"]} to {entry["last_step"]}'
  speed = f'{entry["words_per_second"]:,.0f} words/s'
  if 'step_seconds_p50' in entry:
    p50, p90, p99 = (1000 * entry[f'step_seconds_p{p}'] for p in (50, 90, 99))
    speed += f', a step {p50:.1f} ms (p90 {p90:.1f}, p99 {p99:.1f})'
  if 'device_memory_peak_mb' in entry:
    speed += f', at most {entry["device_memory_peak_mb"]:,.0f} MB a device'
  return f'{steps}: {speed}\ntime: {parts}'
