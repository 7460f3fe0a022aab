"""Readers tried on damaged files, few here or many in children."""

import os
import pathlib
import resource
import signal
import sys

import children
import fuzz_kinds
import fuzzing

from mrnn_jax.encoders import photos
from mrnn_jax.runtime import errors

# What reading one input may take.
_SECONDS, _BYTES = 5, 1 << 30
_RUN = {'os.system', 'os.exec', 'os.posix_spawn', 'subprocess.Popen', 'exec'}
_MAX_FINDINGS = 20


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


def try_many(name, folder, num_inputs):
  """Try inputs in children, whose end by a signal is told from its number.

  Args:
    name: a kind of ``fuzz_kinds.KINDS``.
    folder: where the inputs are written.
    num_inputs: how many.

  Returns:
    Number of an input, and what is wrong, of those that are not read well.
  """
  context = children.context()
  at = context.Value('i', 0)
  findings = []
  while at.value < num_inputs and len(findings) < _MAX_FINDINGS:
    queue = context.SimpleQueue()
    args = (name, folder, num_inputs, at, queue)
    child = context.Process(target=_child, args=args)
    child.start()
    child.join()
    while not queue.empty():
      findings.append(queue.get())
    if child.exitcode:
      late = child.exitcode == -signal.SIGPROF
      how = f'more than {_SECONDS} s' if late else 'killed'
      findings.append((at.value, f'{how} ({child.exitcode})'))
      at.value += 1
  return findings


def _child(name, folder, num_inputs, at, queue):
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
  while at.value < num_inputs:
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
