import asyncio
import threading
import time

import pytest

from mrnn_jax.serve import batching
from mrnn_jax.serve.batching import Batcher, Busy, ClosedError, FullError


class Work:
  """Work that waits until it may go on, and notes what it was given."""

  def __init__(self, **limits):
    self.batches, self.may = [], threading.Semaphore(0)
    self.begun = threading.Semaphore(0)
    limits = {'most': 4, 'waiting': 5, 'busy': Busy(), **limits}
    self.batcher = Batcher('work', self.run, **limits)

  def run(self, jobs):
    self.batches.append(list(jobs))
    self.begun.release()
    self.may.acquire()
    return [ValueError(job) if job == 'bad' else job * 2 for job in jobs]

  def free(self):
    for _ in range(100):
      self.may.release()

  async def until_begun(self):
    await asyncio.to_thread(self.begun.acquire)


@pytest.fixture
def work():
  made = Work()
  yield made
  made.free()
  made.batcher.close()


def test_what_arrives_together_shares_a_step(work):
  async def main():
    first = asyncio.create_task(work.batcher.submit(['a'], 5))
    await work.until_begun()
    others = [asyncio.create_task(work.batcher.submit([x], 5)) for x in 'bcd']
    await asyncio.sleep(0.01)
    work.free()
    return await asyncio.gather(first, *others)

  assert asyncio.run(main()) == [['aa'], ['bb'], ['cc'], ['dd']]
  assert work.batches == [['a'], ['b', 'c', 'd']]


def test_a_step_waits_for_those_who_were_answered_together(work, monkeypatch):
  monkeypatch.setattr(batching, '_WAITS', 1e9)
  monkeypatch.setattr(batching, '_WAITS_AT_MOST', 60.0)

  def ask(job):
    return asyncio.create_task(work.batcher.submit([job], 50))

  async def main():
    first = ask('a')  # Alone before, so that nobody is waited for.
    await work.until_begun()
    others = [ask(x) for x in 'bcd']
    await asyncio.sleep(0.01)
    work.free()
    await asyncio.gather(first, *others)
    again = [ask('e')]
    await asyncio.sleep(0.05)
    assert len(work.batches) == 2
    again += [ask('f'), ask('g')]
    await asyncio.gather(*again)

  asyncio.run(main())
  assert work.batches == [['a'], ['b', 'c', 'd'], ['e', 'f', 'g']]


def test_a_full_queue_refuses_all_or_none(work):
  async def main():
    first = asyncio.create_task(work.batcher.submit(['a'], 5))
    await work.until_begun()
    waiting = asyncio.create_task(work.batcher.submit(list('bcd'), 5))
    await asyncio.sleep(0.01)
    with pytest.raises(FullError) as error:
      await work.batcher.submit(list('efg'), 5)
    assert error.value.seconds >= 1
    assert len(work.batcher) == 3
    work.free()
    await asyncio.gather(first, waiting)

  asyncio.run(main())
  assert sum(work.batches, []) == list('abcd')


def test_what_would_come_too_late_is_refused_at_once(work):
  work.batcher._seconds = 4.0  # Of a step, lately.

  async def main():
    first = asyncio.create_task(work.batcher.submit(['a'], 5))
    await work.until_begun()
    # Nobody waits yet: it may well be done in time.
    waiting = asyncio.create_task(work.batcher.submit(['b'], 5))
    await asyncio.sleep(0.01)
    with pytest.raises(FullError) as error:
      await work.batcher.submit(['c'], 4.5)
    assert error.value.seconds == 5  # A step, and the share of one before it.
    last = asyncio.create_task(work.batcher.submit(['d'], 9))
    await asyncio.sleep(0.01)
    work.free()
    await asyncio.gather(first, waiting, last)

  asyncio.run(main())
  assert sum(work.batches, []) == list('abd')


@pytest.mark.parametrize('how', ['cancelled', 'late'])
def test_what_nobody_waits_for_is_never_begun(work, how):
  async def main():
    first = asyncio.create_task(work.batcher.submit(['a'], 5))
    await work.until_begun()
    timeout = 0.02 if how == 'late' else 5
    gone = asyncio.create_task(work.batcher.submit(['b', 'c'], timeout))
    await asyncio.sleep(0.01)
    if how == 'cancelled':
      gone.cancel()
    with pytest.raises((asyncio.CancelledError, TimeoutError)):
      await gone
    last = asyncio.create_task(work.batcher.submit(['d'], 5))
    await asyncio.sleep(0.01)
    work.free()
    return await asyncio.gather(first, last)

  assert asyncio.run(main()) == [['aa'], ['dd']]
  assert work.batches == [['a'], ['d']]


def test_a_failure_is_of_its_job_alone(work):
  work.free()

  async def main():
    with pytest.raises(ValueError, match='bad'):
      await work.batcher.submit(['bad'], 5)
    return await work.batcher.submit(['good'], 5)

  assert asyncio.run(main()) == ['goodgood']


def test_a_step_that_fails_ends_nothing():
  batcher = Batcher('x', lambda jobs: 1 / 0, 4, 4, Busy())

  async def main():
    for _ in range(2):
      with pytest.raises(ZeroDivisionError):
        await batcher.submit(['a'], 5)

  asyncio.run(main())
  batcher.close()


def test_closing_does_what_was_taken_in(work):
  async def main():
    tasks = [asyncio.create_task(work.batcher.submit([x], 5)) for x in 'abc']
    await work.until_begun()
    closing = asyncio.create_task(asyncio.to_thread(work.batcher.close))
    await asyncio.sleep(0.05)
    with pytest.raises(ClosedError):
      await work.batcher.submit(['late'], 5)
    work.free()
    done = await asyncio.gather(*tasks)
    await closing
    return done

  assert asyncio.run(main()) == [['aa'], ['bb'], ['cc']]


def test_other_work_gives_way_but_not_for_ever():
  busy = Busy()
  busy.add(1)
  begin = time.monotonic()
  busy.wait_until_quiet(0.05)
  assert time.monotonic() - begin >= 0.05
  threading.Timer(0.05, busy.add, (-1,)).start()
  busy.wait_until_quiet(30)
  assert time.monotonic() - begin < 20
