"""What lies in a folder of photos, and how it differs from what is known."""

from collections.abc import Iterable, Mapping
import contextlib
import dataclasses
import os
import pathlib

from mrnn_jax.encoders.photos import SUFFIXES
from mrnn_jax.runtime import messages
from mrnn_jax.serve.catalog import Known


@dataclasses.dataclass(frozen=True, slots=True)
class File:
  """A file that may be a photo.

  Attributes:
    name: path below the folder, with slashes.
    size: bytes.
    mtime_ns: time of its last change.
  """

  name: str
  size: int
  mtime_ns: int


@dataclasses.dataclass(frozen=True)
class Changes:
  """How a folder differs from a catalogue.

  Attributes:
    new: files that are not known, or are not as they were.
    gone: names of photos that are no more.
    total: how many files there are.
  """

  new: list[File]
  gone: list[str]
  total: int


class PhotoFolder:
  """A folder of photos; nothing outside of it is ever read.

  Attributes:
    path: the folder.
  """

  def __init__(self, path: pathlib.Path, leave_out: pathlib.Path):
    """Name a folder.

    Args:
      path: the folder.
      leave_out: a folder, the index, that may lie in it.
    """
    self.path = path
    self._root = os.path.realpath(path)
    self._left_out = os.path.realpath(leave_out)

  def scan(self) -> list[File]:
    """Return the files that may be photos, in the order of their names.

    Hidden ones are passed over, links that lead outside, and what has a name
    that is no text.
    """
    found, folders = [], [('', self._root)]
    while folders:
      before, path = folders.pop()
      with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
          name = before + entry.name
          if entry.name.startswith('.') or entry.path == self._left_out:
            continue
          if entry.is_dir(follow_symlinks=False):
            folders.append((f'{name}/', entry.path))
          elif file := self._file(entry, name):
            found.append(file)
    return sorted(found, key=lambda file: file.name)

  def _file(self, entry: os.DirEntry, name: str) -> File | None:
    """Return a file that may be a photo; None where it cannot be one."""
    if not name.lower().endswith(SUFFIXES) or not messages.is_name(name):
      return None
    try:
      # Where a path leads takes long to find out: only a link leads elsewhere.
      if entry.is_symlink() and not self._is_inside(entry.path):
        return None
      if not entry.is_file():  # A pipe would be waited for.
        return None
      status = entry.stat()
    except OSError:  # Gone meanwhile.
      return None
    return File(name, status.st_size, status.st_mtime_ns)

  def changes(self, known: Iterable[Known]) -> Changes:
    """Return how the folder differs from what is known."""
    files = {file.name: file for file in self.scan()}
    before: Mapping[str, Known] = {x.name: x for x in known}
    new = [
      file
      for file in files.values()
      if (other := before.get(file.name)) is None
      or (file.size, file.mtime_ns) != (other.size, other.mtime_ns)
    ]
    gone = [name for name in before if name not in files]
    return Changes(new, gone, len(files))

  def path_of(self, name: str) -> str | None:
    """Return the file of a name that a scan gave; None if it led outside."""
    path = os.path.join(self._root, *name.split('/'))
    return path if self._is_inside(path) else None

  def _is_inside(self, path: str) -> bool:
    real = os.path.realpath(path)
    return real.startswith(os.path.join(self._root, ''))
