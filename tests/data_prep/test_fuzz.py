"""Any bytes lead every reader to a result or to one sentence."""

import multiprocessing
import os
import pathlib
import resource
import signal
import sys
import time

import fuzz_kinds
import fuzzing
import pytest

from mrnn_jax.encoders import photos
from mrnn_jax.runtime import errors

# Inputs of each kind in the long run.
NUM_INPUTS = int(os.environ.get('FUZZ_INPUTS', '5000'))
_SECONDS, _BYTES = 5, 1 << 30
_RUN = {'os.system', 'os.exec', 'os.posix_spawn', 'subprocess.Popen', 'exec'}


def attempt(kind, path, data):
  """Read an input; return what is wrong with what comes of it, or ''."""
  path.write_bytes(data)
  try:
    kind.read(path)
  except (errors.InputError, photos.PhotoError) as error:
    if not fuzzing.is_plain(str(error)):
      return f'its message is {str(error)[:300]!r}'
  except Exception as error:
    return f'{type(error).__name__}: {str(error)[:300]}'
  return ''


@pytest.mark.parametrize('name', fuzz_kinds.KINDS)
@pytest.mark.filterwarnings('ignore:::PIL')
def test_some_inputs(name, tmp_path):
  kind = fuzz_kinds.KINDS[name]
  path = tmp_path / f'input{kind.suffix}'
  for number in range(25):
    data = fuzzing.make_input(name, kind, number)
    assert attempt(kind, path, data) == '', f'{name} {number}'


def test_sound_files_are_read(tmp_path):
  for name, kind in fuzz_kinds.KINDS.items():
    path = tmp_path / f'input{kind.suffix}'
    path.write_bytes(fuzzing.samples_of(name, kind)[0])
    assert kind.read(path) is not None


@pytest.mark.slow
@pytest.mark.parametrize('name', fuzz_kinds.KINDS)
def test_many_inputs(name, tmp_path):
  """In a child, whose end by a signal is told from its number."""
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(['test_fuzz'])
  at = context.Value('i', 0)
  findings, start = [], time.monotonic()
  while at.value < NUM_INPUTS and len(findings) < 20:
    queue = context.SimpleQueue()
    child = context.Process(target=_child, args=(name, tmp_path, at, queue))
    child.start()
    child.join()
    while not queue.empty():
      findings.append(queue.get())
    if child.exitcode:
      how = 'more than 5 s' if child.exitcode == -signal.SIGPROF else 'killed'
      findings.append((at.value, f'{how} ({child.exitcode})'))
      at.value += 1
  seconds = time.monotonic() - start
  print(f'{name}: {at.value:,} inputs in {seconds:.0f} s', flush=True)
  assert not findings, '\n'.join(f'{i}: {what}' for i, what in findings)


def _child(name, folder, at, queue):
  """Try inputs from a number on."""
  for descriptor in (1, 2):
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
  kind = fuzz_kinds.KINDS[name]
  path = pathlib.Path(folder) / f'input{kind.suffix}'
  # What is imported late runs code of its own.
  attempt(kind, path, fuzzing.samples_of(name, kind)[0])
  ran = []

  def watch(event, args):
    if event in _RUN and (event != 'exec' or _foreign(args[0])):
      ran.append(f'{event} {args}'[:300])

  sys.addaudithook(watch)
  photos.quiet()
  peak = _peak()
  while at.value < NUM_INPUTS:
    data = fuzzing.make_input(name, kind, at.value)
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    wrong = attempt(kind, path, data)
    signal.setitimer(signal.ITIMER_PROF, 0)
    wrong = wrong or ' '.join(ran)
    ran.clear()
    now = _peak()
    if now - peak > _BYTES:
      wrong = wrong or f'{now - peak:,} bytes of memory'
    peak = now
    if wrong:
      queue.put((at.value, wrong))
    at.value += 1


def _foreign(code) -> bool:
  """Whether code is none of a module's: imports run code too."""
  return not pathlib.Path(code.co_filename).exists()


def _peak() -> int:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
