"""Progress lines: the same on every way, quiet where they should be."""

import io
import sys
import types

import pytest

from mrnn_jax.runtime import jax_private, progress


class Stderr(io.StringIO):
  def __init__(self, terminal):
    super().__init__()
    self.terminal = terminal

  def isatty(self):
    return self.terminal


@pytest.fixture(params=['log', 'terminal'])
def replaced(request, monkeypatch):
  """What puts a log or a terminal in the place of stderr, in the test itself:
  pytest has its own there once a fixture is made."""

  def replace():
    made = Stderr(request.param == 'terminal')
    monkeypatch.setattr(sys, 'stderr', made)
    return made

  return replace


@pytest.fixture
def clock(monkeypatch):
  """Time that goes on by what is asked for."""
  now = types.SimpleNamespace(now=0.0)
  monkeypatch.setattr(progress.time, 'monotonic', lambda: now.now)
  return now


@pytest.fixture
def level():
  yield progress.set_level
  progress.set_level('info')


def run(clock):
  with progress.Progress('captions', 'images') as tell:
    for done in (10, 20, 60, 100):
      tell(done, 100)
      clock.now += 30


def test_a_log_gets_a_line_now_and_then(clock, monkeypatch):
  monkeypatch.setattr(sys, 'stderr', Stderr(False))
  run(clock)
  assert sys.stderr.getvalue().splitlines() == [
    'captions: 20% of 100 images, 0.3/s, 4 min 0 s left',
    'captions: 60% of 100 images, 0.8/s, 48 s left',
    'captions: 100 images in 2 min 0 s',
  ]


def test_a_terminal_sees_one_line_grow(clock, monkeypatch):
  monkeypatch.setattr(sys, 'stderr', Stderr(True))
  run(clock)
  said = sys.stderr.getvalue()
  assert said.count('\n') == 1 and said.endswith('\n')
  shown = said.rstrip('\n').split('\r')
  assert shown[0] == ''
  assert [line.rstrip() for line in shown[1:]] == [
    '[####................] captions: 20% of 100 images, 0.3/s, 4 min 0 s left',
    '[############........] captions: 60% of 100 images, 0.8/s, 48 s left',
    'captions: 100 images in 2 min 0 s',
  ]
  # Nothing of a longer line is left.
  assert len(shown[2]) == len(shown[1])


def test_items_are_tracked_in_the_same_words(clock, replaced):
  stderr = replaced()

  def slow():
    for i in range(5):
      clock.now += 40
      yield i

  assert [*progress.track(slow(), 5, 'draw', 'pictures')] == [*range(5)]
  said = stderr.getvalue().replace('\r', '\n').split('\n')
  said = [line.rstrip() for line in said if line]
  assert said[0].endswith('draw: 20% of 5 pictures, 0.0/s, 2 min 40 s left')
  assert said[-1] == 'draw: 5 pictures in 3 min 20 s'
  assert len(said) == 5


def test_what_was_done_before_is_no_speed(clock, replaced):
  stderr = replaced()

  def slow():
    for i in range(2):
      clock.now += 50
      yield i

  assert len([*progress.track(slow(), 100, 'encode', 'photos', 98)]) == 2
  said = stderr.getvalue()
  assert 'encode: 99% of 100 photos, 0.0/s, 50 s left' in said
  assert 'encode: the last 2 of 100 photos in 1 min 40 s' in said


def test_a_share_where_nobody_knows_how_many(clock, monkeypatch):
  monkeypatch.setattr(sys, 'stderr', Stderr(False))
  tell = progress.Progress('scoring', 'records')
  for seconds, done in ((0, 10), (5, 20), (35, 60)):
    clock.now = seconds
    tell(done, share=done / 100, note='1 bad')
  assert sys.stderr.getvalue() == (
    'scoring: 60 records, 60%, 1.4/s, 28 s left, 1 bad\n'
  )


def test_one_is_not_several(clock, replaced):
  stderr = replaced()
  with progress.Progress('captions', 'images') as tell:
    tell(1, 1)
  assert stderr.getvalue().endswith('captions: 1 image in 0 s\n')


def test_a_share_of_what_nobody_counts(clock, monkeypatch):
  monkeypatch.setattr(sys, 'stderr', Stderr(False))
  with progress.Progress('ranking', '') as tell:
    for done in (0, 250, 1000):
      tell(done, 1000)
      clock.now += 40
  assert sys.stderr.getvalue().splitlines() == [
    'ranking: 25%, 2 min 0 s left',
    'ranking: done in 2 min 0 s',
  ]


def test_a_failure_ends_the_line_and_says_nothing_of_an_end(clock, replaced):
  stderr = replaced()
  with pytest.raises(KeyError), progress.Progress('x', 'y') as tell:
    tell(1, 9)
    clock.now += 60
    tell(2, 9)
    raise KeyError
  assert stderr.getvalue().endswith('\n')
  assert stderr.getvalue().count('x: ') == 1


def test_a_log_is_told_how_far_it_came_before_a_stop(clock, monkeypatch):
  monkeypatch.setattr(sys, 'stderr', Stderr(False))
  with pytest.raises(KeyError), progress.Progress('ranking', '') as tell:
    for share in (0.1, 0.2, 0.3):
      tell(1, share=share)
      clock.now += 10
    raise KeyError
  assert sys.stderr.getvalue() == 'ranking: 30%, 1 min 45 s left\n'


def test_other_lines_begin_at_the_beginning(clock, monkeypatch, capsys):
  monkeypatch.setattr(sys, 'stderr', Stderr(True))
  tell = progress.Progress('x', 'y')
  tell(1, 9)
  clock.now += 1
  tell(2, 9)
  assert not sys.stderr.getvalue().endswith('\n')
  progress.say('something else')
  assert sys.stderr.getvalue().endswith('left\n')
  progress.say('and more')
  assert sys.stderr.getvalue().count('\n') == 1


def test_quiet_is_quiet(clock, replaced, level, capsys):
  stderr = replaced()
  level('warning')
  run(clock)
  assert [*progress.track(range(3), 3, 'a', 'b')] == [0, 1, 2]
  progress.say('nothing')
  assert stderr.getvalue() == capsys.readouterr().out == ''


@pytest.mark.parametrize(('number', 'tells'), [(0, True), (1, False)])
def test_only_the_first_process_tells(
  clock, replaced, monkeypatch, number, tells
):
  stderr = replaced()
  jax = types.SimpleNamespace(process_index=lambda: number)
  monkeypatch.setitem(sys.modules, 'jax', jax)
  monkeypatch.setattr(jax_private, 'backends_are_initialized', lambda: True)
  run(clock)
  assert bool(stderr.getvalue()) == tells


def test_without_jax_a_process_is_the_first(clock, replaced, monkeypatch):
  stderr = replaced()
  monkeypatch.delitem(sys.modules, 'jax')
  run(clock)
  assert stderr.getvalue()
  assert 'jax' not in sys.modules
