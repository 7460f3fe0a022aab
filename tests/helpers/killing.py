"""Runs the commands in children that are killed at a chosen moment.

A child takes as long as its work, see ``children``.  A moment is a number of
file operations or a time.
"""

import os
import pathlib
import signal
import sys

import children
import pytest

# What Python tells its audit hooks of, and changes files.
_OPERATIONS = (
  'open',
  'os.mkdir',
  'os.rename',
  'os.remove',
  'os.rmdir',
  'os.utime',
  'shutil.rmtree',
)


def run(work, argv, operation=None, seconds=None):
  """Run a command in a child.

  Args:
    work: the command, see ``build`` and ``extract``.
    argv: its arguments.
    operation: the child is killed before this one of its file operations.
    seconds: or after this time.

  Returns:
    The child's exit code and how many file operations it came to.
  """
  context = children.context()
  count = context.Value('i', 0)
  child = context.Process(target=_child, args=(work, argv, operation, count))
  child.start()
  child.join(seconds)
  if child.is_alive():
    child.kill()
  child.join()
  return child.exitcode, count.value


def build(argv):
  from data_prep import build

  build.run(['build', *argv])


def extract(argv):
  import tiny_encoder

  from data_prep import extract

  tiny_encoder.install(pytest.MonkeyPatch())
  extract.run(['extract', '--encoder=tiny', '--batch_size=4', *argv])


def _child(work, argv, operation, count):
  """Do the work, and die when it is time."""
  nothing = os.open(os.devnull, os.O_WRONLY)
  for descriptor in (1, 2):
    os.dup2(nothing, descriptor)

  def watch(event, args):
    if event not in _OPERATIONS:
      return
    if event == 'open' and not _writes(args):
      return
    count.value += 1
    if count.value == operation:
      os.kill(os.getpid(), signal.SIGKILL)

  sys.addaudithook(watch)
  work(argv)


def _writes(args) -> bool:
  """Whether a file is opened to be written: by Python, or by its flags."""
  _, mode, flags = args
  if isinstance(mode, str):
    return any(c in mode for c in 'wax+')
  return bool((flags or 0) & (os.O_WRONLY | os.O_RDWR))


def contents(folder: pathlib.Path) -> dict[str, bytes | None]:
  """Return path -> bytes of all files below a folder, None for folders."""
  return {
    str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
    for path in folder.rglob('*')
  }
