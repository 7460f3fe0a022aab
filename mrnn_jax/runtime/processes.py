"""A job of several processes: how they find each other, and end together.

One of them coordinates; the others know its address by flags, or by what the
surroundings say (SLURM, Open MPI, Kubernetes, TPU hosts).  Whatever ends one
process ends the job, with its message: none waits for ever.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import json
import os
import re
import sys
import threading
import time
import traceback

import jax

from mrnn_jax.runtime import jax_private, stopping
from mrnn_jax.runtime.errors import InputError

# JAX finds out by itself, as on the hosts of a TPU slice.
AUTO = 'auto'
_PORT = 8476
# A process that gives no sign so long is taken for dead.
_HEARTBEAT_SECONDS = 60
_CONNECT_SECONDS = 300
_LOOK_SECONDS = 0.5
_LEAVE_SECONDS = 15
# EX_SOFTWARE of sysexits.h: not the user's mistake, another try may do.
_BROKEN = 70
_END = 'mrnn_jax/end'
_DONE = 'mrnn_jax/done'
_GONE = 'mrnn_jax/gone'


@dataclasses.dataclass(frozen=True)
class Place:
  """The place of a process in a job.

  Attributes:
    coordinator: ``host:port`` of process 0, or ``AUTO``.
    num_processes: of the job.
    process_id: from 0.
    source: what says so.
  """

  coordinator: str
  num_processes: int
  process_id: int
  source: str


def find(
  coordinator: str = '',
  num_processes: int = 0,
  process_id: int = -1,
  environ: Mapping[str, str] = os.environ,
) -> Place | None:
  """Return this process's place, by flags or else by the environment.

  Args:
    coordinator: ``host:port``, ``AUTO`` or ''.
    num_processes: 0 where it is not given.
    process_id: -1 where it is not given.
    environ: the environment.

  Returns:
    None for a process on its own.

  Raises:
    InputError: what is said is not enough, or makes no sense.
  """
  if coordinator == AUTO:
    return Place(AUTO, num_processes, process_id, '--coordinator=auto')
  found = None
  for source in (_of_jax, _of_slurm, _of_open_mpi, _of_tpu_hosts):
    if found := source(environ):
      break
  given = coordinator or num_processes or process_id >= 0
  if not given and found is None:
    return None
  found = found or Place('', 0, -1, 'flags')
  place = dataclasses.replace(
    found,
    coordinator=coordinator or found.coordinator,
    num_processes=num_processes or found.num_processes,
    process_id=process_id if process_id >= 0 else found.process_id,
    source='flags' if given else found.source,
  )
  if place.num_processes == 1:
    return None
  missing = [
    name
    for name, there in (
      ('--coordinator=HOST:PORT', ':' in place.coordinator),
      ('--num_processes', place.num_processes > 0),
      ('--process_id', place.process_id >= 0),
    )
    if not there
  ]
  if missing:
    raise InputError(
      f'a job of several processes ({place.source}) is not told '
      f'{" and ".join(missing)}: give it.'
    )
  if place.process_id >= place.num_processes:
    raise InputError(
      f'there is no process {place.process_id} among {place.num_processes} '
      f'({place.source}): they count from 0.'
    )
  return place


def _number(environ: Mapping[str, str], name: str) -> int:
  value = environ.get(name, '')
  if not value.isdecimal():
    raise InputError(f'the environment says {name}={value!r}: not a number.')
  return int(value)


def _of_jax(environ: Mapping[str, str]) -> Place | None:
  """Read what our launch files set, in Kubernetes with the pod's index."""
  if not environ.get('JAX_COORDINATOR_ADDRESS'):
    return None
  index = next(
    (x for x in ('JAX_PROCESS_ID', 'JOB_COMPLETION_INDEX') if x in environ),
    'JAX_PROCESS_ID',
  )
  return Place(
    environ['JAX_COORDINATOR_ADDRESS'],
    _number(environ, 'JAX_NUM_PROCESSES'),
    _number(environ, index),
    'JAX_COORDINATOR_ADDRESS',
  )


def _of_slurm(environ: Mapping[str, str]) -> Place | None:
  """Read what ``srun`` tells the tasks of a step."""
  nodes = environ.get('SLURM_STEP_NODELIST')
  if not nodes or environ.get('SLURM_STEP_NUM_TASKS', '1') == '1':
    return None
  # The first of 'a1', 'a1,b2', 'a[1-3,7],b2'.
  first = re.match(r'([^,\[]+)(?:\[([^,\-\]]+))?', nodes)
  if not first:
    raise InputError(f'SLURM_STEP_NODELIST={nodes} names no node.')
  port = 61440 + _number(environ, 'SLURM_JOB_ID') % 4096
  return Place(
    f'{first[1]}{first[2] or ""}:{port}',
    _number(environ, 'SLURM_STEP_NUM_TASKS'),
    _number(environ, 'SLURM_PROCID'),
    'SLURM',
  )


def _of_open_mpi(environ: Mapping[str, str]) -> Place | None:
  """Read what ``mpirun`` tells; the coordinator only up to version 4."""
  if environ.get('OMPI_COMM_WORLD_SIZE', '1') == '1':
    return None
  # Jobid.rank;tcp://address,...:port of mpirun, on the first node.
  uri = environ.get('OMPI_MCA_orte_hnp_uri', '')
  match = re.match(r'(\d+)\.\d+;tcp://([^,:]+)', uri)
  address = ''
  if match:
    address = f'{match[2]}:{61440 + int(match[1]) // 4096 % 4096}'
  return Place(
    address,
    _number(environ, 'OMPI_COMM_WORLD_SIZE'),
    _number(environ, 'OMPI_COMM_WORLD_RANK'),
    'Open MPI',
  )


def _of_tpu_hosts(environ: Mapping[str, str]) -> Place | None:
  """Read what Google's Kubernetes tells the pods of a TPU slice."""
  hosts = environ.get('TPU_WORKER_HOSTNAMES', '').split(',')
  if len(hosts) == 1:
    return None
  return Place(
    f'{hosts[0]}:{_PORT}',
    len(hosts),
    _number(environ, 'TPU_WORKER_ID'),
    'TPU_WORKER_HOSTNAMES',
  )


@contextlib.contextmanager
def joined(
  place: Place | None, explain: Callable[[BaseException], tuple[str, int]]
) -> Iterator[None]:
  """Be a process of a job inside, and end together with the others.

  Only process 0 says anything on stdout.  An error inside ends the process, at
  once and not by an exception: nothing that others hold up is waited for.

  Args:
    place: of this process; None for one on its own, for which nothing happens.
    explain: turns an error into a message and an exit code.

  Raises:
    InputError: the others are not to be found.
  """
  if place is None:
    yield
    return
  _connect(place)
  if jax.process_count() == 1:
    yield
    return
  _take_stdout()
  threading.Thread(target=_watch, daemon=True).start()
  try:
    yield
    _finish()
  except BaseException as error:
    _fail(error, explain)
  jax.distributed.shutdown()


def _connect(place: Place) -> None:
  # It would take SIGTERM for itself; our processes agree by themselves.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    if place.coordinator == AUTO:
      jax.distributed.initialize(heartbeat_timeout_seconds=_HEARTBEAT_SECONDS)
    else:
      # Which devices a process has is the launcher's affair.
      jax.distributed.initialize(
        place.coordinator,
        place.num_processes,
        place.process_id,
        cluster_detection_method='deactivate',
        initialization_timeout=_CONNECT_SECONDS,
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
      )
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f'process {place.process_id} of {place.num_processes} ({place.source}) '
      f'does not find the others at {place.coordinator} '
      f'({str(error).splitlines()[0]}): see that all are started, and that '
      'they reach that address.'
    ) from error


def _take_stdout() -> None:
  """Leave stdout to what process 0 prints in Python.

  Gloo in C++ writes there too, which a reader of results must not see.
  """
  if jax.process_index():
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return
  sys.stdout.flush()
  sys.stdout = open(  # noqa: SIM115  (until the process ends)
    os.dup(1),
    'w',
    buffering=1,  # A line is out before whatever ends the process.
    encoding=sys.stdout.encoding,
    errors=sys.stdout.errors,
  )
  os.dup2(2, 1)


def _get(key: str) -> str | None:
  """Return what some process has published, None where none has yet."""
  try:
    return jax_private.coordination_client().key_value_try_get(key)
  except (RuntimeError, AttributeError):  # Not there, or we are going down.
    return None


def _publish(key: str, value: str) -> None:
  # Another was faster, or nobody is left to hear it.
  with contextlib.suppress(RuntimeError):
    jax_private.coordination_client().key_value_set(key, value)


def _watch() -> None:
  """End this process when another one has ended the job."""
  while jax_private.coordination_client() is not None:
    if text := _get(_END):
      end = json.loads(text)
      if end['process'] == jax.process_index():
        return
      # Time for what this one is about to say itself.
      time.sleep(2 * _LOOK_SECONDS)
      if end['code'] != stopping.UNFINISHED:
        _say(f'ended by process {end["process"]}: {end["message"]}')
      _leave(end['code'])
    time.sleep(_LOOK_SECONDS)


def _finish() -> None:
  """Wait until process 0 is done, which does what is not shared out."""
  if jax.process_index() == 0:
    _publish(_DONE, 'done')
  while not _get(_DONE):
    time.sleep(_LOOK_SECONDS)


def _fail(
  error: BaseException, explain: Callable[[BaseException], tuple[str, int]]
) -> None:
  """Say what happened, tell the others, and end."""
  message, code = explain(error)
  unexpected = not message
  if unexpected:
    message = f'{type(error).__name__}: {str(error)[:500]}'
    code = _BROKEN
  if unexpected or (code == stopping.UNFINISHED and jax.process_index()):
    # Likely the consequence of what another is about to tell.
    until = time.monotonic() + 8 * _LOOK_SECONDS
    while time.monotonic() < until:
      time.sleep(_LOOK_SECONDS)  # _watch ends us.
  if unexpected:
    traceback.print_exception(error)
  else:
    _say(message)
  end = {'process': jax.process_index(), 'code': code, 'message': message}
  _publish(_END, json.dumps(end))
  _leave(code)


def _leave(code: int) -> None:
  """End this process; the coordinator last, for JAX aborts without it."""
  if jax.process_index():
    _publish(f'{_GONE}/{jax.process_index()}', 'gone')
    os._exit(code)
  until = time.monotonic() + _LEAVE_SECONDS
  others = range(1, jax.process_count())
  while time.monotonic() < until:
    if all(_get(f'{_GONE}/{process}') for process in others):
      break
    time.sleep(_LOOK_SECONDS)
  os._exit(code)


def _say(message: str) -> None:
  print(message, file=sys.stderr, flush=True)
