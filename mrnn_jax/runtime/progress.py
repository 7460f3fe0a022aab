"""What long work tells on the way: lines of progress, how loud, how long still.

On stderr, so that what a command writes to stdout stays clean.
"""

from collections.abc import Iterable, Iterator
import logging
import sys
import time
from typing import Any, TypeVar

from absl import logging as absl_logging
import jax

T = TypeVar('T')
# Warnings and results alone; progress too; what the libraries log too.
LEVELS = ('warning', 'info', 'debug')


_level = 'info'


def set_level(level: str) -> None:
  """Choose how much is told, one of ``LEVELS``, on all but log.jsonl."""
  global _level
  _level = level
  if level == 'debug':
    logging.basicConfig()
    # All of JAX at this level is thousands of lines on its cache's keys.
    for name in ('jax._src.dispatch', 'jax._src.compiler'):
      logging.getLogger(name).setLevel(logging.DEBUG)
    absl_logging.set_verbosity(absl_logging.INFO)
    for quieted in list(logging.getLogger('absl').filters):
      logging.getLogger('absl').removeFilter(quieted)


def tells() -> bool:
  """Say whether this process tells of progress."""
  return _level != 'warning' and jax.process_index() == 0


def say(text: str) -> None:
  """Print a line of progress, at once."""
  if tells():
    print(text, flush=True)


def format_seconds(seconds: float) -> str:
  """Return a duration as people say it: 42 s, 3 min 20 s, 2 h 5 min."""
  seconds = round(seconds)
  if seconds < 60:
    return f'{seconds} s'
  if seconds < 3600:
    return f'{seconds // 60} min {seconds % 60} s'
  return f'{seconds // 3600} h {seconds % 3600 // 60} min'


class Progress:
  """Tells of long work: what, how far, how fast, and how long still.

  On stderr, so that what a command writes to stdout stays clean.
  """

  def __init__(self, what: str, unit: str, every: float = 10.0):
    """Tell about ``what``, at most every so many seconds."""
    self._what, self._unit, self._every = what, unit, every
    self._tells = tells()
    self._begin = self._last = time.monotonic()
    self._first: int | None = None
    self._first_time = self._begin
    self._done = 0

  def __call__(self, done: int, total: int) -> None:
    """Take in that ``done`` of ``total`` units are done."""
    now = time.monotonic()
    self._done = done
    if self._first is None:
      # The rate counts neither compiling nor what an earlier run had done.
      self._first, self._first_time = done, now
    if now - self._last < self._every or done >= total or not self._tells:
      return
    self._last = now
    rate = (done - self._first) / max(now - self._first_time, 1e-9)
    left = format_seconds((total - done) / rate) if rate > 0 else 'some time'
    print(
      f'{self._what}: {100 * done / total:.0f}% of {total:,} {self._unit}, '
      f'{rate:,.0f}/s, {left} left',
      file=sys.stderr,
      flush=True,
    )

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, kind: Any, *unused: Any) -> None:
    if kind is None and self._done and self._tells:
      seconds = time.monotonic() - self._begin
      print(
        f'{self._what}: {self._done:,} {self._unit} in '
        f'{format_seconds(seconds)}',
        file=sys.stderr,
        flush=True,
      )


# Seconds between two lines, on a terminal and in a log.
_TERMINAL_INTERVAL, _LOG_INTERVAL = 0.2, 60.0


def track(
  items: Iterable[T], total: int, what: str, done: int = 0
) -> Iterator[T]:
  """Yield items and show how many have passed, how fast, and the time left.

  A terminal sees one line grow, at most five times a second; a log gets a line
  a minute and one at the end.

  Args:
    items: what to pass on.
    total: how many there are.
    what: the line's beginning, for example 'draw pictures'.
    done: how many of them were done before and do not come again.

  Yields:
    The items.
  """
  start = shown = time.monotonic()
  terminal = sys.stderr.isatty()
  begin, end = ('\r', '') if terminal else ('', '\n')
  interval = _TERMINAL_INTERVAL if terminal else _LOG_INTERVAL
  for number, item in enumerate(items, start=1):
    yield item
    now = time.monotonic()
    if now - shown > interval:
      shown = now
      rate = number / (now - start)
      left = (total - done - number) / rate
      text = (
        f'{begin}{what}: {done + number:,} of {total:,}, {rate:.1f} a second,'
        f' {left:.0f} s left   '
      )
      print(text, end=end, file=sys.stderr, flush=True)
  seconds = time.monotonic() - start
  count = f'the last {total - done:,} of {total:,}' if done else f'{total:,}'
  print(f'{begin}{what}: {count} in {seconds:.1f} s   ', file=sys.stderr)
