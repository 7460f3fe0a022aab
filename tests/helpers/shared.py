"""What all workers of a run share: the first that wants it makes it."""

from collections.abc import Callable, Iterator
import contextlib
import fcntl
import os
import pathlib


@contextlib.contextmanager
def alone(path: pathlib.Path) -> Iterator[None]:
  """Wait until no other process is in here with the same path."""
  with path.open('w') as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def made_once(
  tmp_path_factory, name: str, make: Callable[[pathlib.Path], None]
) -> pathlib.Path:
  """Return the folder of a name, made by ``make``; nobody may change it."""
  root = tmp_path_factory.getbasetemp()
  if 'PYTEST_XDIST_WORKER' in os.environ:
    root = root.parent
  folder, done = root / name, root / f'{name}.done'
  with alone(root / f'{name}.lock'):
    if not done.exists():
      folder.mkdir()
      make(folder)
      done.touch()
  return folder
