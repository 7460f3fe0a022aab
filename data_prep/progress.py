"""Progress on stderr, for whatever takes more than a moment."""

from collections.abc import Iterable, Iterator
import sys
import time
from typing import TypeVar

T = TypeVar('T')

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
