"""One run at a time writes into a workdir: a lock file names its owner.

The file ``.lock`` holds host, process and time as JSON; its time of change is
a heartbeat.  A lock is stale when its process is certainly gone, or, where that
cannot be seen from here, when its heart has stopped; then it is taken over.
Containers may share the name of a host and the numbers of processes: only what
was started on the same boot in the same PID namespace is seen from here.
"""

from collections.abc import Iterator
import contextlib
import datetime
import json
import os
import pathlib
import socket
import sys
import threading
import time
from typing import Any

from mrnn_jax.runtime import files, json_files, json_forms
from mrnn_jax.runtime.errors import InputError, printable

FILE = '.lock'
# A heartbeat so old is none.
STALE_SECONDS = 300
_BEAT_SECONDS = 30
_LOOK_SECONDS = 5
_MAX_CHARACTERS = 10_000
_OWNER = {
  'host': str,
  'pid': int,
  'task': str,
  'since': str,
  'process?': json_forms.OrNull(str),
  'namespace?': str,
}
# Of a process that is there, but tells us nothing more.
_HIDDEN = 'alive'


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
  made = [x for x in (path.parent, *path.parent.parents) if not x.exists()]
  path.parent.mkdir(parents=True, exist_ok=True)
  owner = {
    'host': socket.gethostname(),
    'pid': os.getpid(),
    'process': _process_identity(os.getpid()),
    'namespace': _namespace(),
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
    with contextlib.suppress(OSError):
      for folder in made:
        folder.rmdir()


def _take(path: pathlib.Path, owner: dict[str, Any]) -> None:
  """Write ``owner`` into the lock, unless another run holds it."""
  first_beat = None
  while True:
    with _guarded(path) as f:
      other = _read(f)
      alive = _is_alive(other) if other else False
      beat = path.stat().st_mtime_ns
      silence = _silence(path) if alive is None else 0.0
      if alive is False or silence > STALE_SECONDS:
        f.seek(0)
        f.truncate()
        json.dump(owner, f)
        break
    if alive or first_beat not in (None, beat):
      raise InputError(
        f'{path.parent} is in use by another run ({_named(other)}, since '
        f'{printable(other["since"])}): wait for it, stop it, or give another '
        f'--workdir; if there is no such run, delete {path}.'
      )
    if first_beat is None:
      # A run that was killed a moment ago has left a young lock, too.
      first_beat = beat
      print(
        f'note: {path.parent} is locked ({_named(other)}), whose last sign of '
        f'life is {silence:.0f} s old: waiting for the next, until it is '
        f'{STALE_SECONDS} s old.',
        file=sys.stderr,
        flush=True,
      )
    time.sleep(_LOOK_SECONDS)
  if other:
    why = (
      'that process is gone'
      if alive is False
      else f'it has given no sign for {silence / 60:.0f} minutes'
    )
    print(
      f'note: the lock of {path.parent} ({_named(other)}) is taken over, since '
      f'{why}.',
      file=sys.stderr,
    )


def _named(owner: dict[str, Any]) -> str:
  task, host = printable(owner['task']), printable(owner['host'])
  return f'{task} by process {owner["pid"]} on {host}'


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
    owner = json_files.parse(f.read(_MAX_CHARACTERS))
  except ValueError:
    return {}
  known = not json_forms.misfit(owner, _OWNER) and 0 < owner['pid'] < 2**31
  return owner if known else {}


def _is_alive(owner: dict[str, Any]) -> bool | None:
  """Say whether an owner is alive, None where that is not seen from here."""
  if not owner.get('namespace') or owner['namespace'] != _namespace():
    return None
  identity = _process_identity(owner['pid'])
  return None if identity == _HIDDEN else identity == owner.get('process')


def _silence(path: pathlib.Path) -> float:
  """Return for how many seconds the owner of a lock has given no sign."""
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
    return _HIDDEN


def _namespace() -> str:
  """Return what processes that see each other have in common, '' if unknown.

  A number that comes again is that of a namespace whose processes are all gone.
  """
  try:
    boot = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text().strip()
    return f'{boot} {os.stat("/proc/self/ns/pid").st_ino}'
  except OSError:
    return ''


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
