"""Runs training in children that may be killed, without importing each time.

A line of JSON on stdin is a run: ``data_dir``, ``workdir``, other settings, and
when to kill it: after ``seconds``, ``at`` a moment, or ``seconds`` after a
``block`` of a ranking is there.  A line on stdout says how it ended.
"""

import json
import os
import signal
import sys
import threading
import time

from array_record.python import array_record_data_source  # noqa: F401
import tensorboardX  # noqa: F401
import tensorflow_datasets  # noqa: F401
import tiny_run

from mrnn_jax import tasks
from mrnn_jax.evaluation import matrix_store
from mrnn_jax.runtime import checkpoint
from mrnn_jax.training import loop


def kill() -> None:
  os.kill(os.getpid(), signal.SIGKILL)


def kill_later(seconds: float) -> None:
  threading.Timer(seconds, kill).start()


def kill_at(moment: str) -> None:
  """Patch the program so that it is killed at a moment."""
  if moment == 'compile':
    original = loop.compile_train_step

    def compile_train_step(*args, **options):
      step_fn = original(*args, **options)

      def step(*step_args):
        kill_later(0.05)
        return step_fn(*step_args)

      return step

    loop.compile_train_step = compile_train_step
    return
  owner, name = {
    'validate': (loop._Run, 'validate'),
    'save': (checkpoint.Checkpoints, 'save'),
  }[moment]
  original, calls = getattr(owner, name), []

  def patched(*args, **options):
    calls.append(1)
    if len(calls) == 2:
      if moment == 'save':  # It goes on in the background.
        original(*args, **options)
      kill()
    return original(*args, **options)

  setattr(owner, name, patched)


def kill_after_block(number: int, seconds: float) -> None:
  """Patch ranking so that it is killed after its block of that number."""
  original, calls = matrix_store._File.put, []

  def put(*args):
    original(*args)
    calls.append(1)
    if len(calls) == number:
      kill_later(seconds)

  matrix_store._File.put = put


def run(order: dict) -> None:
  moment, seconds = order.pop('at', None), order.pop('seconds', None)
  if moment:
    kill_at(moment)
  if block := order.pop('block', None):
    kill_after_block(block, seconds)
  elif seconds is not None:
    kill_later(seconds)
  tasks.run(tiny_run.given(tiny_run.config(**order)))


def main() -> None:
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)
  for line in sys.stdin:
    begin = time.monotonic()
    child = os.fork()
    if not child:
      run(json.loads(line))
      sys.stdout.flush()
      os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - begin
    print(json.dumps({'code': code, 'seconds': seconds}), file=answers)
    answers.flush()


if __name__ == '__main__':
  main()
