"""Folders that are in their place whole or not at all, whatever ends a build.

A folder is made in a workshop beside its place, ``NAME.incomplete-*``, and
moved when it is complete; the one that it replaces waits as ``NAME.replaced``.
A process that is killed leaves these behind, and the next one mends it.
"""

from collections.abc import Iterator
import contextlib
import os
import time
import uuid

from etils import epath

from mrnn_jax.runtime import errors

# Where no lock tells, what is left of a build after this time was interrupted:
# builds take minutes.
_ABANDONED_SECONDS = 6 * 3600


@contextlib.contextmanager
def workshop(place: epath.Path) -> Iterator[epath.Path]:
  """Reserve a place, and give an empty folder beside it to work in.

  The folder is removed in the end; what is to stay leaves it by ``move_in``.

  Args:
    place: where the result will be.

  Raises:
    InputError: another process works there.
  """
  place.parent.mkdir(parents=True, exist_ok=True)
  with _reserved(place) as alone:
    _mend(place, alone)
    folder = place.parent / f'{place.name}.incomplete-{uuid.uuid4().hex[:8]}'
    folder.mkdir()
    try:
      yield folder
    finally:
      folder.rmtree()
      _mend(place, alone)


def move_in(folder: epath.Path, place: epath.Path) -> None:
  """Move a complete folder into its place; within ``workshop``."""
  old = _replaced(place)
  if place.exists():
    place.rename(old)
  folder.rename(place)
  if old.exists():
    old.rmtree()


def recover(place: epath.Path) -> None:
  """Put a place in order that a killed process has left.

  Raises:
    InputError: another process works there.
  """
  if _replaced(place).exists() or _left(place):
    with _reserved(place) as alone:
      _mend(place, alone)


def _mend(place: epath.Path, alone: bool) -> None:
  """Put an old folder back whose successor never came, remove half ones."""
  old = _replaced(place)
  if old.exists():
    if place.exists():
      old.rmtree()
    else:
      old.rename(place)
  for folder in _left(place):
    age = time.time() - folder.stat().mtime
    if alone or age > _ABANDONED_SECONDS:
      folder.rmtree()


def _replaced(place: epath.Path) -> epath.Path:
  """Return where a folder waits while its successor moves in."""
  return place.parent / f'{place.name}.replaced'


def _left(place: epath.Path) -> list[epath.Path]:
  """Return the workshops beside a place."""
  return list(place.parent.glob(f'{place.name}.incomplete-*'))


@contextlib.contextmanager
def _reserved(place: epath.Path) -> Iterator[bool]:
  """Hold the folder of a place; tell whether it is certain that we are alone.

  The lock is the system's and ends with the process, however that ends; it
  leaves no file.  Storage elsewhere has none.
  """
  descriptor = _lock(place)
  try:
    yield descriptor is not None
  finally:
    if descriptor is not None:
      os.close(descriptor)


def _lock(place: epath.Path) -> int | None:
  """Return the locked folder of a place, None where there are no locks."""
  try:
    import fcntl  # Late: not everywhere.

    descriptor = os.open(place.parent, os.O_RDONLY)
  except (ImportError, OSError):
    return None
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    os.close(descriptor)
    raise errors.InputError(
      f'{place} is being written by another process: wait for it, then run the'
      ' same command again.'
    ) from error
  except OSError:
    os.close(descriptor)
    return None
  return descriptor
