"""SIGTERM and SIGINT: what is under way ends, what is done is kept.

The first signal raises ``Stopped`` in the main thread; inside of ``deferred``
it only sets what ``requested`` tells, and the work there ends where it can be
taken up again.  A second signal ends the process at once.  A thread sees to
that: Python's own handlers wait until XLA has compiled.
"""

from collections.abc import Iterator
import contextlib
import os
import signal
import threading
import time
from typing import Any

# EX_TEMPFAIL of sysexits.h: unfinished, the same command goes on.
UNFINISHED = 75

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Launchers pass on a signal that the terminal has sent to all: one request.
_SAME_REQUEST_SECONDS = 0.5


class Stopped(KeyboardInterrupt):
  """The work was stopped on request; the message says what is kept."""


_requested = False
_deferred = 0


def requested() -> bool:
  """Say whether a signal has asked this process to stop."""
  return _requested


@contextlib.contextmanager
def deferred() -> Iterator[None]:
  """Let a signal only be noted here; whoever is inside asks ``requested``.

  Raises:
    Stopped: on leaving, where a signal came and nobody inside raised it.
  """
  global _deferred
  _deferred += 1
  try:
    yield
  finally:
    _deferred -= 1
  if _requested and not _deferred:
    raise Stopped


@contextlib.contextmanager
def handled() -> Iterator[None]:
  """Handle the signals inside; only the main thread can."""
  global _requested
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  _requested = False
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  # What is ignored (nohup, a shell's background job) stays so.
  before = {
    number: signal.signal(number, _on_signal)
    for number in _SIGNALS
    if signal.getsignal(number) is not signal.SIG_IGN
  }
  wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  threading.Thread(target=_watch, args=(reader,), daemon=True).start()
  try:
    yield
  finally:
    signal.set_wakeup_fd(wakeup)
    for number, handler in before.items():
      signal.signal(number, handler)
    os.close(writer)
    _requested = False


def _on_signal(number: int, frame: Any) -> None:
  global _requested
  first = not _requested
  _requested = True
  if first and not _deferred:
    raise Stopped


def _watch(reader: int) -> None:
  """Read the numbers of signals as they come; the second one is the end."""
  first = None
  while number := os.read(reader, 1):
    if number[0] not in _SIGNALS:
      continue
    if first is None:
      first = time.monotonic()
    elif time.monotonic() - first > _SAME_REQUEST_SECONDS:
      os.write(2, b'stopped at once by a second signal.\n')
      os._exit(UNFINISHED)
  os.close(reader)
