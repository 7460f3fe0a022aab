"""One run at a time writes into a workdir: a lock file names its owner.

The file ``.lock`` holds host, process and time as JSON; its time of change is
a heartbeat.  A lock is stale when its process is gone, or, where that cannot
be seen from here, when its heart has stopped; then it is taken over.
"""

from collections.abc import Iterator
import contextlib
import datetime
import json
import math
import os
import pathlib
import socket
import sys
import threading
import time
from typing import Any

from mrnn_jax.runtime import files
from mrnn_jax.runtime.errors import InputError

FILE = '.lock'
# A heartbeat so old is none.
STALE_SECONDS = 300
_BEAT_SECONDS = 30
_LOOK_SECONDS = 5


@contextlib.contextmanager
def hold(workdir: str, what: str) -> Iterator[None]:
  """Hold the lock of a workdir, which is made if need be.

  Storage reached by a URL has no locks: runs of this machine are told apart by
  a local one, for others the user takes care.

  Args:
    workdir: the folder.
    what: the task, for those who find the lock.

  Raises:
    InputError: another run holds it.
  """
  path = pathlib.Path(files.local_folder(workdir)) / FILE
  if files.is_remote(workdir):
    print(
      f'note: {workdir} cannot be locked: see that no run on another machine '
      'writes there.',
      file=sys.stderr,
    )
  made = not path.parent.exists()
  path.parent.mkdir(parents=True, exist_ok=True)
  owner = {
    'host': socket.gethostname(),
    'pid': os.getpid(),
    'process': _process_identity(os.getpid()),
    'task': what,
    'since': datetime.datetime.now().astimezone().isoformat(' ', 'seconds'),
  }
  _take(path, owner)
  released = threading.Event()
  beat = threading.Thread(
    target=_beat, args=(path, owner, released), daemon=True
  )
  beat.start()
  try:
    yield
  finally:
    released.set()
    beat.join()
    with _guarded(path) as f:
      if _read(f) == owner:
        path.unlink()
    # A mistaken name leaves no folder.
    if made:
      with contextlib.suppress(OSError):
        path.parent.rmdir()


def _take(path: pathlib.Path, owner: dict[str, Any]) -> None:
  """Write ``owner`` into the lock, unless another run holds it."""
  waiting = False
  while True:
    with _guarded(path) as f:
      other = _read(f)
      silence = _silence(path, other) if other else math.inf
      if silence > STALE_SECONDS:
        f.seek(0)
        f.truncate()
        json.dump(owner, f)
        break
    name = f'{other["task"]} by process {other["pid"]} on {other["host"]}'
    if silence < 2 * _BEAT_SECONDS:
      raise InputError(
        f'{path.parent} is in use by another run ({name}, since '
        f'{other["since"]}): wait for it, stop it, or give another --workdir; '
        f'if there is no such run, delete {path}.'
      )
    if not waiting:
      waiting = True
      print(
        f'note: {path.parent} is locked ({name}), but for {silence:.0f} s it '
        f'has given no sign: waiting until it does, or {STALE_SECONDS} s are '
        'over.',
        file=sys.stderr,
        flush=True,
      )
    time.sleep(_LOOK_SECONDS)
  if other:
    name = f'{other["task"]} by process {other["pid"]} on {other["host"]}'
    why = (
      'that process is gone'
      if silence == math.inf
      else f'it has given no sign for {silence / 60:.0f} minutes'
    )
    print(
      f'note: the lock of {path.parent} ({name}) is taken over, since {why}.',
      file=sys.stderr,
    )


@contextlib.contextmanager
def _guarded(path: pathlib.Path) -> Iterator[Any]:
  """Open the lock file; nobody else looks at it in the meantime."""
  import fcntl  # Late: not everywhere.

  while True:
    with path.open('a+') as f:
      # File systems without such locks: a race of moments remains.
      with contextlib.suppress(OSError):
        fcntl.flock(f, fcntl.LOCK_EX)
      # Unless it was removed while we waited.
      try:
        same = os.path.samestat(os.fstat(f.fileno()), path.stat())
      except FileNotFoundError:
        same = False
      if same:
        yield f
        return


def _read(f: Any) -> dict[str, Any]:
  """Return the owner, {} for a lock that was never written whole."""
  f.seek(0)
  try:
    owner = json.load(f)
  except ValueError:
    return {}
  known = isinstance(owner, dict) and {'host', 'pid', 'task', 'since'} <= {
    *owner
  }
  return owner if known else {}


def _silence(path: pathlib.Path, owner: dict[str, Any]) -> float:
  """Return for how many seconds an owner has given no sign.

  Of this host's processes it is known: 0, or infinite.
  """
  if owner['host'] == socket.gethostname():
    identity = _process_identity(owner['pid'])
    gone = identity is None or identity != owner.get('process')
    return math.inf if gone else 0.0
  # Both times by the clock of the file system, whatever those of the hosts say.
  probe = path.with_name(f'{FILE}.{socket.gethostname()}.{os.getpid()}')
  probe.touch()
  seconds = probe.stat().st_mtime - path.stat().st_mtime
  probe.unlink()
  return seconds


def _process_identity(pid: int) -> str | None:
  """Return what no other process ever has; None where there is no process.

  Numbers of processes come again, soon in containers, where the first is 1.
  """
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return None
  except PermissionError:
    pass  # Somebody else's.
  try:
    boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    stat = pathlib.Path(f'/proc/{pid}/stat').read_text()
    # Field 22 is the start; field 2, in brackets, may hold anything.
    return f'{boot} {stat.rpartition(")")[2].split()[19]}'
  except (OSError, IndexError):
    return 'alive'


def _beat(
  path: pathlib.Path, owner: dict[str, Any], released: threading.Event
) -> None:
  """Show that the owner is alive until the lock is released."""
  while not released.wait(_BEAT_SECONDS):
    try:
      with path.open() as f:
        ours = _read(f) == owner
      if ours:
        os.utime(path)
    except OSError:
      ours = not isinstance(sys.exc_info()[1], FileNotFoundError)
    if not ours:
      print(
        f'error: {path.parent} was taken over by another run while this one '
        'gave no sign: it ends here, and the other goes on.',
        file=sys.stderr,
        flush=True,
      )
      os._exit(1)
