"""Pictures read in parallel, a few ahead of what is taken."""

import collections
from collections.abc import Callable, Iterable, Iterator
import concurrent.futures
import itertools
import multiprocessing
import os
import signal
from typing import TypeVar

from mrnn_jax.runtime.picture_files import PictureError, quiet

# Pictures that wait: so many are read while those before are used.
_AHEAD = 64

T = TypeVar('T')
R = TypeVar('R')


def ahead(
  reader: Callable[[T], R],
  items: Iterable[T],
  num_threads: int | None = None,
  num_processes: int = 0,
) -> Iterator[R | PictureError]:
  """Read items in parallel, a few ahead of what is taken.

  Args:
    reader: what reads one; it may raise PictureError.
    items: what is read.
    num_threads: how many are read at a time; the CPU's cores by default.
    num_processes: so many processes read instead, which are sent the reader;
      0: threads of this one do.

  Yields:
    For each in its order, what was read or why nothing was.
  """
  num_workers = num_processes or num_threads or os.cpu_count() or 1
  quiet()
  pool: concurrent.futures.Executor
  if num_processes:
    pool = concurrent.futures.ProcessPoolExecutor(
      num_processes,
      # A fork of a process with JAX's threads may hang.
      multiprocessing.get_context('spawn'),
      initializer=_begin_reading,
    )
  else:
    pool = concurrent.futures.ThreadPoolExecutor(num_workers)
  with pool:
    todo = iter(items)
    waiting = collections.deque(
      pool.submit(_attempt, reader, item)
      for item in itertools.islice(todo, _AHEAD + num_workers)
    )
    try:
      while waiting:
        yield waiting.popleft().result()
        waiting.extend(
          pool.submit(_attempt, reader, item)
          for item in itertools.islice(todo, 1)
        )
    finally:
      pool.shutdown(cancel_futures=True)


def _begin_reading() -> None:
  """Begin a process that reads: whoever started it is told of signals."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  quiet()


def _attempt(reader: Callable[[T], R], item: T) -> R | PictureError:
  """Return what was read, or why nothing was."""
  try:
    return reader(item)
  except PictureError as error:
    return error
