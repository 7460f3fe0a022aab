"""``kill -9`` at any moment: the end is that of a run that was left alone.

Short versions are in ``test_stopping.py``; ``test_checkpoint.py`` goes on from
what a kill leaves behind.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys

import jax
import pytest
import small_matrix
import tiny_run

from mrnn_jax.runtime import checkpoint


@pytest.fixture(scope='module')
def run(tmp_path_factory, tiny_data_dir):
  """Run a task in a child; return its exit code and its seconds."""
  folder = tmp_path_factory.mktemp('server')
  root = pathlib.Path(__file__).parents[2]
  said = (folder / 'said.txt').open('w+')
  environ = {
    'PYTHONPATH': str(root),
    'JAX_PLATFORMS': 'cpu',
    # As many as in this process, whose compiled programs are its too.
    'JAX_NUM_CPU_DEVICES': str(jax.local_device_count()),
    'PYTHONWARNINGS': 'ignore',
  }
  server = subprocess.Popen(
    [sys.executable, str(root / 'tests/helpers/run_server.py')],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=said,
    text=True,
    env=os.environ | environ,
  )

  def ask(workdir, **order):
    order |= {'workdir': str(workdir), 'data_dir': str(tiny_data_dir)}
    server.stdin.write(json.dumps(order) + '\n')
    server.stdin.flush()
    answer = json.loads(server.stdout.readline() or '{"code": 1}')
    if answer['code'] not in (0, -signal.SIGKILL):
      said.seek(0)
      pytest.fail(said.read())
    return answer['code'], answer['seconds']

  yield ask
  server.stdin.close()
  server.wait()
  server.stdout.close()
  said.close()


def reached(workdir):
  """The latest step that is saved, 0 for none."""
  folder = workdir / checkpoint.FOLDER
  names = [x.name for x in folder.iterdir()] if folder.exists() else []
  return max((int(name) for name in names if name.isdecimal()), default=0)


@pytest.mark.slow
def test_killed_at_three_moments(run, tiny_workdir, tmp_path):
  steps = [0]
  for moment in ('compile', 'save', 'validate'):
    code, _ = run(tmp_path / 'killed', at=moment)
    assert code == -signal.SIGKILL
    steps.append(reached(tmp_path / 'killed'))
  assert steps == sorted(steps) and steps[-1] > 0
  assert run(tmp_path / 'killed')[0] == 0
  whole = tiny_run.last_state(tiny_workdir)
  assert tiny_run.last_state(tmp_path / 'killed') == whole
  lines = (tmp_path / 'killed/log.jsonl').read_text().splitlines()
  logged = [json.loads(line) for line in lines]
  validated = [x['step'] for x in logged if 'validation_perplexity' in x]
  assert validated == [4, 8, 12, 16]


@pytest.mark.slow
def test_killed_at_25_random_moments(run, tmp_path):
  options = {'num_epochs': 60.0, 'log_every_steps': 20}
  code, seconds = run(tmp_path / 'whole', **options)
  assert code == 0
  rng = random.Random(2014)
  kills, step, rounds = 0, 0, 0
  # A run that ends before it is killed is begun anew in another folder.
  while kills < 25:
    workdir = tmp_path / f'killed-{rounds}'
    delay = rng.uniform(0, seconds)
    code, _ = run(workdir, seconds=delay, **options)
    kills += code == -signal.SIGKILL
    assert reached(workdir) >= step
    step = reached(workdir)
    print(f'{delay:.2f} s: exit {code}, step {step} is saved')
    if code == 0:
      rounds, step = rounds + 1, 0
  last = tmp_path / f'killed-{rounds}'
  assert run(last, **options)[0] == 0
  whole = tiny_run.last_state(tmp_path / 'whole')
  for workdir in tmp_path.glob('killed-*'):
    assert tiny_run.last_state(workdir) == whole


RANKED = (
  'retrieval_train.jsonl',
  'recall_curve_train.csv',
  'scores/train_images.npy',
  'scores/train_images.json',
  'scores/train_norm.npy',
  'scores/train_norm.json',
)


def blocks_done(workdir):
  """The blocks of both matrices that are there, an image each."""
  states = [workdir / name for name in RANKED if name.endswith('.json')]
  return sum(small_matrix.blocks_done(x, 1) for x in states)


@pytest.mark.slow
def test_a_ranking_killed_at_30_random_moments(run, tmp_path):
  assert run(tmp_path / 'trained')[0] == 0
  options = {'task': 'retrieve', 'split': 'train', 'norm_images': 40}
  options['rank_image_block'] = 1  # Many blocks: 40 of either matrix.
  whole = tmp_path / 'whole'
  for workdir in (tmp_path / 'warm', whole):
    shutil.copytree(tmp_path / 'trained', workdir)
    code, seconds = run(workdir, **options)
    assert code == 0
  rng = random.Random(2014)
  kills, rounds, between = 0, [], 0
  while kills < 30:
    if not rounds or code == 0:
      rounds.append(tmp_path / f'killed-{len(rounds)}')
      shutil.copytree(tmp_path / 'trained', rounds[-1])
    before = blocks_done(rounds[-1])
    # Anywhere, or while blocks come; a block takes some hundredths of a second.
    when = {'seconds': rng.uniform(0, seconds)}
    if rng.random() < 0.7:
      when = {'block': rng.randrange(1, 25), 'seconds': rng.uniform(0, 0.05)}
    code, _ = run(rounds[-1], **when, **options)
    done = blocks_done(rounds[-1])
    assert done >= before
    kills += code == -signal.SIGKILL
    between += code == -signal.SIGKILL and before < done < 80
    print(f'{when}: exit {code}, {done} of 80 blocks')
  assert run(rounds[-1], **options)[0] == 0
  print(f'{between} of {kills} came between blocks')
  for workdir in rounds:
    for name in RANKED:
      assert (workdir / name).read_bytes() == (whole / name).read_bytes()
