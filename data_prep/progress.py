"""Progress on stderr, for whatever takes more than a moment."""

from collections.abc import Iterable, Iterator
import sys
import time
from typing import TypeVar

T = TypeVar('T')


def track(items: Iterable[T], total: int, what: str) -> Iterator[T]:
  """Yield items and show how many have passed.

  A terminal sees the line grow, at most five times a second; a log gets one
  line at the end.

  Args:
    items: what to pass on.
    total: how many there are.
    what: the line's beginning, for example 'draw pictures'.

  Yields:
    The items.
  """
  start = shown = time.monotonic()
  terminal = sys.stderr.isatty()
  for number, item in enumerate(items, start=1):
    yield item
    now = time.monotonic()
    if terminal and now - shown > 0.2:
      shown = now
      left = (now - start) / number * (total - number)
      text = f'\r{what}: {number:,} of {total:,}, {left:.0f} s left   '
      print(text, end='', file=sys.stderr, flush=True)
  seconds = time.monotonic() - start
  begin = '\r' if terminal else ''
  print(f'{begin}{what}: {total:,} in {seconds:.1f} s   ', file=sys.stderr)
