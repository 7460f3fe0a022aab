"""What long work tells on the way: lines of progress, how loud, how long still.

Progress goes to stderr, so that what a command writes to stdout stays clean.
"""

from collections.abc import Iterable, Iterator
import logging
import sys
import time
from typing import Any, TypeVar

from absl import logging as absl_logging

from mrnn_jax.runtime import messages

T = TypeVar('T')
# Warnings and results alone; progress too; what the libraries log too.
LEVELS = ('warning', 'info', 'debug')
# Letters of the bar that a terminal shows.
_BAR = 20
# Seconds between two lines, on a terminal and in a log.
_TERMINAL_INTERVAL, _LOG_INTERVAL = 0.2, 30.0

_level = 'info'
# How long the line is that a terminal sees grow; 0 if there is none.
_open_width = 0


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
  return _level != 'warning' and _is_first()


def _is_first() -> bool:
  """Whether this is the first process; one that has no JAX is alone."""
  # Not imported for this: it takes a second, which reading files does not need.
  jax = sys.modules.get('jax')
  if jax is None:
    return True
  from mrnn_jax.runtime import jax_private

  # Asked of its processes, JAX would start a backend.
  return not jax_private.backends_are_initialized() or not jax.process_index()


def say(text: str) -> None:
  """Print a line of progress, at once."""
  if tells():
    end_line()
    print(text, flush=True)


def end_line() -> None:
  """End the line that a terminal sees grow, if there is one."""
  global _open_width
  if _open_width:
    print(file=sys.stderr, flush=True)
  _open_width = 0


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

  A terminal sees one line grow; a log gets a line now and then.  As a context
  it says in the end how much was done in what time, or how far it came.
  """

  def __init__(self, what: str, unit: str, before: int = 0):
    """Tell about ``what``, counted in ``unit``.

    Args:
      what: the line's beginning, for example 'captions'.
      unit: what is counted, for example 'images'; '' where only the share
        means something.
      before: how many of them were done earlier.
    """
    self._what, self._unit, self._before = what, unit, before
    self._tells = tells()
    self._grows = sys.stderr.isatty()
    self._interval = _TERMINAL_INTERVAL if self._grows else _LOG_INTERVAL
    self._begin = self._last = time.monotonic()
    # Time, units and share at the first call.
    self._first: tuple[float, int, float] | None = None
    self._done, self._total, self._share = before, 0, 0.0
    self._untold = False

  def __call__(
    self, done: int, total: int = 0, share: float = 0.0, note: str = ''
  ) -> None:
    """Take in how far the work is.

    Args:
      done: units that are done.
      total: of how many; 0 if nobody knows.
      share: of the work that is done, where ``total`` does not tell it.
      note: what else is to be told.
    """
    now = time.monotonic()
    share = done / total if total else share
    self._done, self._total, self._share = done, total, share
    if self._first is None:
      # The rate counts neither compiling nor what an earlier run had done.
      self._first = now, done, share
    self._untold = now - self._last < self._interval
    if self._tells and not self._untold and share < 1:
      self._last = now
      self._print_line(self._first, now, note)

  def _print_line(
    self, first: tuple[float, int, float], now: float, note: str = ''
  ) -> None:
    line = self._line(first, now, self._share)
    text = ', '.join(line + [note] * bool(note))
    self._print(f'{_bar(self._share)} {text}' if self._grows else text)

  def _line(
    self, first: tuple[float, int, float], now: float, share: float
  ) -> list[str]:
    """Return the parts of a line."""
    then, done_then, share_then = first
    seconds = max(now - then, 1e-9)
    text, left = f'{100 * share:.0f}%', 'some time'
    if self._unit and self._total:
      text += f' of {self._count(self._total)}'
    elif self._unit:
      text = f'{self._count(self._done)}, {text}'
    if share > share_then:
      left = format_seconds((1 - share) / (share - share_then) * seconds)
    parts = [f'{self._what}: {text}']
    if self._unit:
      rate = (self._done - done_then) / seconds
      parts.append(f'{rate:,.0f}/s' if rate >= 10 else f'{rate:.1f}/s')
    return [*parts, f'{left} left']

  def _count(self, number: int) -> str:
    return messages.counted(number, self._unit.removesuffix('s'))

  def _print(self, text: str) -> None:
    global _open_width
    if self._grows:
      # What a longer line has left is written over.
      text, width = text.ljust(_open_width), len(text)
      print(f'\r{text}', end='', file=sys.stderr, flush=True)
      _open_width = width
    else:
      print(text, file=sys.stderr, flush=True)

  def __enter__(self) -> 'Progress':
    return self

  def __exit__(self, kind: Any, *unused: Any) -> None:
    if kind is None and self._done and self._tells:
      text = self._count(self._done) if self._unit else 'done'
      if self._before:
        text = f'the last {self._done - self._before:,} of {text}'
      seconds = format_seconds(time.monotonic() - self._begin)
      self._print(f'{self._what}: {text} in {seconds}')
    elif kind and self._first and self._untold and self._tells:
      # Stopped, or failed: the last line of a log may be half a minute old.
      self._print_line(self._first, time.monotonic())
    end_line()


def _bar(share: float) -> str:
  """Return a share as a bar, '[#####...............]'."""
  full = int(_BAR * min(max(share, 0), 1))
  return f'[{"#" * full}{"." * (_BAR - full)}]'


def track(
  items: Iterable[T], total: int, what: str, unit: str, done: int = 0
) -> Iterator[T]:
  """Yield items and tell of them as they pass, see ``Progress``.

  Args:
    items: what to pass on.
    total: how many there are, those done before among them.
    what: the line's beginning, for example 'draw'.
    unit: what they are, for example 'pictures'.
    done: how many of them were done before and do not come again.

  Yields:
    The items.
  """
  with Progress(what, unit, done) as progress:
    progress(done, total)
    for number, item in enumerate(items, start=done + 1):
      yield item
      progress(number, total)
