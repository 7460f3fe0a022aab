"""A folder is in its place whole or not at all; what kills leave is mended."""

import contextlib
import os

from etils import epath
import pytest

from data_prep.writing import places
from mrnn_jax.runtime import errors


@pytest.fixture
def place(tmp_path):
  return epath.Path(tmp_path) / 'data' / '1.0.0'


def make(place, text):
  """Put a folder into a place."""
  with places.workshop(place) as workshop:
    (workshop / 'made').mkdir()
    (workshop / 'made' / 'file').write_text(text)
    places.move_in(workshop / 'made', place)


def state(place):
  """Return what lies beside a place, and the text in it."""
  names = sorted(path.name for path in place.parent.iterdir())
  text = (place / 'file').read_text() if place.exists() else None
  return names, text


def test_a_folder_takes_its_place_and_that_of_another(place):
  make(place, 'old')
  assert state(place) == (['1.0.0'], 'old')
  make(place, 'new')
  assert state(place) == (['1.0.0'], 'new')


class Crash(BaseException):
  """Ends a process, in a manner of speaking."""


@pytest.mark.parametrize('old', [None, 'old'])
@pytest.mark.parametrize('operation', range(1, 9))
def test_a_crash_at_any_operation_is_mended(place, monkeypatch, old, operation):
  """Nothing works after the crash, so nothing is tidied up by it."""
  if old:
    make(place, old)
  count = 0

  def counted(function):
    def call(*args, **kwargs):
      nonlocal count
      count += 1
      if count >= operation:
        raise Crash
      return function(*args, **kwargs)

    return call

  with monkeypatch.context() as patch:
    for name in ('mkdir', 'rename', 'unlink', 'rmdir'):
      patch.setattr(os, name, counted(getattr(os, name)))
    with contextlib.suppress(Crash):
      make(place, 'new')
    crashed = count >= operation
  places.recover(place)
  names, text = state(place) if place.parent.exists() else ([], None)
  assert names == ['1.0.0'] * (text is not None)
  assert text in ((old, 'new') if crashed else ('new',))
  make(place, 'new')
  assert state(place) == (['1.0.0'], 'new')


def test_one_process_at_a_time(place):
  with places.workshop(place) as workshop:
    (workshop / 'half').write_text('')
    for attempt in (lambda: make(place, 'x'), lambda: places.recover(place)):
      with pytest.raises(errors.InputError, match='by another process'):
        attempt()
    assert (workshop / 'half').exists()
  make(place, 'x')


def test_without_locks_age_decides(place, monkeypatch):
  monkeypatch.setattr(places, '_lock', lambda place: None)
  make(place, 'x')
  left = [place.parent / f'1.0.0.incomplete-{name}' for name in 'ab']
  for folder in left:
    folder.mkdir()
  os.utime(left[0], (0, 0))
  places.recover(place)
  assert state(place)[0] == ['1.0.0', '1.0.0.incomplete-b']
