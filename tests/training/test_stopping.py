"""A signal at any moment: what was reached is saved, and goes on from there."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny_run

from mrnn_jax import config as config_lib
from mrnn_jax import stored_model, tasks
from mrnn_jax.evaluation import matrix_store
from mrnn_jax.ranking import edge_scores
from mrnn_jax.runtime import checkpoint, stopping
from mrnn_jax.training import loop


def test_the_first_signal_raises():
  with pytest.raises(stopping.Stopped), stopping.handled():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)
  assert not stopping.requested()


def test_a_deferred_signal_waits_until_the_end():
  reached = False
  with pytest.raises(stopping.Stopped), stopping.handled():
    with stopping.deferred():
      os.kill(os.getpid(), signal.SIGTERM)
      assert stopping.requested()
      reached = True
    pytest.fail('the signal was lost')
  assert reached


def test_handlers_are_put_back():
  before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
  with stopping.handled():
    pass
  after = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
  assert before == after


def test_a_second_signal_exits_at_once():
  # Work that never looks up, as the compiler is.
  code = (
    'from mrnn_jax.runtime import stopping\n'
    'import time\n'
    'with stopping.handled(), stopping.deferred():\n'
    '  print("ready", flush=True)\n'
    '  for _ in range(100): time.sleep(1)\n'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', code],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  process.stdout.readline()
  process.send_signal(signal.SIGTERM)
  time.sleep(2 * stopping._SAME_REQUEST_SECONDS)
  assert process.poll() is None
  process.send_signal(signal.SIGTERM)
  _, said = process.communicate(timeout=10)
  assert process.returncode == stopping.UNFINISHED
  assert said == 'stopped at once by a second signal.\n'


# Where a signal comes, the call that it comes with, and the step that is saved.
MOMENTS = [
  ('first_state', loop._Run, 1, None),
  ('doing', loop._Run, 6, 6),
  ('validate', loop._Run, 1, 8),
  ('save', checkpoint.Checkpoints, 1, 8),
  ('validate', loop._Run, 2, 16),
]


def test_stopped_and_taken_up_is_uninterrupted(
  tiny_data_dir, tiny_workdir, tmp_path, monkeypatch
):
  """One run, stopped time and again: at its beginning and at its very end."""
  config = tiny_run.config(tmp_path, tiny_data_dir, keep_checkpoints=9)

  def stop_at(name, owner, call):
    original, calls = getattr(owner, name), []

    def with_signal(*args, **options):
      calls.append(1)
      if len(calls) == call:
        os.kill(os.getpid(), signal.SIGTERM)
      return original(*args, **options)

    with monkeypatch.context() as patch:
      patch.setattr(owner, name, with_signal)
      with pytest.raises(stopping.Stopped) as stopped, stopping.handled():
        tasks.run(tiny_run.given(config))
    return str(stopped.value)

  for name, owner, call, saved in MOMENTS:
    said = stop_at(name, owner, call)
    step = checkpoint.Checkpoints(tmp_path).latest_step()
    assert step == saved, (name, said)
    if step is None:
      assert said == 'no step was taken; begin again.'
    else:
      assert f'step {step} of 16 is saved' in said
  tasks.run(tiny_run.given(config))
  assert tiny_run.last_state(tmp_path) == tiny_run.last_state(tiny_workdir)
  assert outcome(tmp_path) == outcome(tiny_workdir)


def outcome(workdir):
  """What a run has come to: read from its files alone, and as a model."""
  folder = workdir / checkpoint.FOLDER
  # Where it was stopped in between, that step is there too.
  steps = {x.name: x for x in folder.iterdir() if not int(x.name) % 4}
  metrics, progress = (
    {
      step: json.loads((path / name).read_text())
      for step, path in steps.items()
    }
    for name in ('metrics/metrics', 'progress/metadata')
  )
  last = progress[max(steps, key=int)]
  assert last['finished'] == 'all 16 steps are taken'
  best = min(metrics, key=lambda step: metrics[step]['validation_perplexity'])
  assert last['best_step'] == int(best)
  model = stored_model.read(workdir)
  assert model.description['step'] == int(best)
  lines = (workdir / 'log.jsonl').read_text().splitlines()
  perplexities = {
    x['step']: x['validation_perplexity']
    for x in map(json.loads, lines)
    if 'validation_perplexity' in x
  }
  assert min(perplexities, key=perplexities.get) == int(best)
  return metrics, progress, perplexities


@pytest.mark.parametrize(
  ('task', 'kept'),
  [
    ('train', 'goes on from the step that is saved'),
    ('retrieve', 'goes on from what is ranked'),
    ('score', 'what is scored is kept'),
    ('rank', 'nothing of it is kept; the same command begins again'),
    ('export', 'nothing of it is kept; the same command begins again'),
  ],
)
def test_a_stop_says_what_is_kept(tmp_path, monkeypatch, task, kept):
  def stop(config):
    raise stopping.Stopped

  monkeypatch.setitem(tasks.FUNCTIONS, task, stop)
  own = {'photos': 'p', 'sentences': 's'} if task == 'rank' else {}
  given = config_lib.Given({'task': task, 'workdir': str(tmp_path), **own})
  with pytest.raises(stopping.Stopped, match=kept):
    tasks.run(given)


def test_a_stopped_run_without_validation_is_no_model(tiny_data_dir, tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path)
  with checkpoints:
    checkpoints.save(tiny_run.checkpoint(3), None)
    assert checkpoints.latest_step() == 3
    assert checkpoints.best_step() is None
    checkpoints.save(tiny_run.checkpoint(4), 20.0)
    checkpoints.save(tiny_run.checkpoint(5), None)
    assert checkpoints.best_step() == 4


def test_a_broken_ranking_goes_on(
  tiny_data_dir, tmp_path, tiny_workdir, monkeypatch
):
  """Broken between a block and the word that it is there, and in a block."""
  config = tiny_run.config(
    tmp_path / 'broken', tiny_data_dir, task='retrieve', rank_image_block=5
  )
  left_alone = config.replace(workdir=str(tmp_path / 'whole'))
  for workdir in (config.workdir, left_alone.workdir):
    shutil.copytree(tiny_workdir, workdir)
  tasks.run(tiny_run.given(left_alone))

  class Broken(BaseException):
    pass

  def break_at(call, owner, name):
    original, calls = getattr(owner, name), []

    def broken(*args, **options):
      calls.append(1)
      if len(calls) == call:
        raise Broken
      return original(*args, **options)

    with monkeypatch.context() as patch, pytest.raises(Broken):
      patch.setattr(owner, name, broken)
      tasks.run(tiny_run.given(config))

  # The state is written once at the beginning, progress after every block.
  break_at(3, matrix_store.files, 'write_json')
  break_at(2, edge_scores.EdgeScores, 'scores')
  tasks.run(tiny_run.given(config))
  for name in (
    'retrieval.jsonl',
    'scores/test_images.npy',
    'scores/test_images.json',
    'scores/test_norm.npy',
  ):
    ends = [tmp_path / x / name for x in ('whole', 'broken')]
    assert ends[0].read_bytes() == ends[1].read_bytes()
