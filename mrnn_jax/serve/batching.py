"""Requests that arrive together share a step: a bounded queue before a thread.

What is cancelled or late before its step costs nothing; what nobody can take
in is refused at once, with a word on when to come again.
"""

import asyncio
import collections
from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import threading
import time
from typing import Any

# Who was just answered often asks again at once, and so do the others of that
# step. So long the next one waits for as many: a share of a step, and seconds.
_WAITS, _WAITS_AT_MOST = 0.1, 0.02


class FullError(Exception):
  """The queue is full; ``seconds`` tells when to come again."""

  def __init__(self, seconds: int):
    super().__init__(f'come again in {seconds} s')
    self.seconds = seconds


class ClosedError(Exception):
  """The service ends and takes nothing more in."""


@dataclasses.dataclass
class _Waiting:
  job: Any
  future: asyncio.Future
  loop: asyncio.AbstractEventLoop


class Busy:
  """Counts requests under way, so that other work can give way to them."""

  def __init__(self):
    self._count = 0
    self._changed = threading.Condition()

  def add(self, count: int) -> None:
    """Count some more, or fewer."""
    with self._changed:
      self._count += count
      self._changed.notify_all()

  def wait_until_quiet(self, seconds: float) -> None:
    """Wait until none is under way, but not for longer than this."""
    with self._changed:
      self._changed.wait_for(lambda: self._count == 0, seconds)


class Batcher:
  """One kind of work: jobs go in, each alone; a thread does many at once."""

  def __init__(
    self,
    name: str,
    run: Callable[[Sequence[Any]], Sequence[Any]],
    most: int,
    waiting: int,
    busy: Busy,
    on_batch: Callable[[str, int, float], None] = lambda *unused: None,
  ):
    """Start the thread.

    Args:
      name: of the work.
      run: does some jobs and gives a result for each; an exception that is a
        result goes to that job alone.
      most: jobs that are done at once.
      waiting: jobs that may wait.
      busy: told of what is under way.
      on_batch: told of each batch: name, jobs, seconds.
    """
    self.name, self._run, self._most, self._room = name, run, most, waiting
    self._busy, self._on_batch = busy, on_batch
    self._queue: collections.deque[_Waiting] = collections.deque()
    self._changed = threading.Condition()
    self._closed = False
    self._seconds = 0.1  # Of a batch, lately.
    self._before = 1  # Jobs of the last one.
    self._thread = threading.Thread(
      target=self._work, name=f'batches of {name}', daemon=True
    )
    self._thread.start()

  def __len__(self) -> int:
    """How many jobs wait."""
    return len(self._queue)

  async def submit(self, jobs: Sequence[Any], timeout: float) -> list[Any]:
    """Have jobs done, all or none taken in; return their results.

    Raises:
      FullError: there is no room for them, or no time.
      ClosedError: the service ends.
      TimeoutError: they took too long; what had not begun is dropped.
    """
    loop = asyncio.get_running_loop()
    waiting = [_Waiting(job, loop.create_future(), loop) for job in jobs]
    with self._changed:
      if self._closed:
        raise ClosedError
      seconds = (len(self._queue) / self._most + 1) * self._seconds
      # What would be too late when its turn comes is better told now.
      late = self._queue and seconds > timeout
      if late or len(self._queue) + len(waiting) > self._room:
        raise FullError(max(1, round(seconds)))
      self._queue += waiting
      self._changed.notify()
    try:
      async with asyncio.timeout(timeout):
        return await asyncio.gather(*(x.future for x in waiting))
    finally:
      # Also when whoever waits is cancelled: none of it is begun any more.
      for x in waiting:
        x.future.cancel()

  def close(self) -> None:
    """Do what was taken in, take in no more, and end the thread."""
    with self._changed:
      self._closed = True
      self._changed.notify_all()
    self._thread.join()

  def _take(self) -> list[_Waiting]:
    """Wait for jobs, and take those that are still wanted."""
    with self._changed:
      self._changed.wait_for(lambda: self._queue or self._closed)
      self._changed.wait_for(
        lambda: len(self._queue) >= self._before or self._closed,
        min(_WAITS * self._seconds, _WAITS_AT_MOST),
      )
      taken: list[_Waiting] = []
      while self._queue and len(taken) < self._most:
        x = self._queue.popleft()
        if not x.future.done():
          taken.append(x)
      self._before = max(1, len(taken))
      return taken

  def _work(self) -> None:
    while True:
      taken = self._take()
      if not taken:
        if self._closed and not self._queue:
          return
        continue
      self._busy.add(1)
      begin = time.monotonic()
      try:
        results = list(self._run([x.job for x in taken]))
      except Exception as error:  # To those who asked; the thread goes on.
        results = [error] * len(taken)
      finally:
        self._busy.add(-1)
      seconds = time.monotonic() - begin
      self._seconds += 0.2 * (seconds - self._seconds)
      self._on_batch(self.name, len(taken), seconds)
      for x, result in zip(taken, results, strict=True):
        with contextlib.suppress(RuntimeError):  # Its loop is closed.
          x.loop.call_soon_threadsafe(_give, x.future, result)


def _give(future: asyncio.Future, result: Any) -> None:
  if future.done():
    return
  if isinstance(result, Exception):
    future.set_exception(result)
  else:
    future.set_result(result)
