"""Runs the commands in children that are killed at a chosen moment.

A fork server imports what they need once, so that a child takes as long as its
work.  A moment is a number of file operations or a time.
"""

import multiprocessing
import os
import pathlib
import signal
import sys

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


def context() -> multiprocessing.context.BaseContext:
  """Return a context whose children have the commands imported."""
  made = multiprocessing.get_context('forkserver')
  made.set_forkserver_preload(
    ['data_prep.build', 'data_prep.extract', 'tensorflow_datasets']
  )
  return made


def run(made, work, argv, operation=None, seconds=None):
  """Run a command in a child.

  Args:
    made: of ``context``.
    work: the command, see ``build`` and ``extract``.
    argv: its arguments.
    operation: the child is killed before this one of its file operations.
    seconds: or after this time.

  Returns:
    The child's exit code and how many file operations it came to.
  """
  count = made.Value('i', 0)
  child = made.Process(target=_child, args=(work, argv, operation, count))
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
  import test_extract

  from data_prep import extract, feature_parts
  from mrnn_jax import encoders

  network = encoders.Network(
    'tiny', 'ab12' * 16, 8, 7, 4, test_extract.np.float32(0.5), _apply
  )
  encoders.ENCODERS['tiny'] = encoders.Recipe(lambda *unused: network)
  encoders.load = lambda *unused: network
  feature_parts._PART_SIZE = 6
  extract.run(['extract', '--encoder=tiny', '--batch_size=4', *argv])


def _apply(params, images):
  import test_extract

  return test_extract.apply(params, images)


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
