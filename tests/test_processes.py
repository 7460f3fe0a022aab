"""Several processes: found by the environment, one result, one end."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_run

from mrnn_jax import logs, processes, tasks
from mrnn_jax.errors import InputError

SLURM = {
  'SLURM_JOB_ID': '4097',
  'SLURM_STEP_NODELIST': 'gpu[003-005,9],b1',
  'SLURM_STEP_NUM_TASKS': '8',
  'SLURM_PROCID': '5',
}


@pytest.mark.parametrize(
  ('environ', 'expected'),
  [
    ({}, None),
    (SLURM, ('gpu003:61441', 8, 5)),
    (SLURM | {'SLURM_STEP_NODELIST': 'a1,b2'}, ('a1:61441', 8, 5)),
    (SLURM | {'SLURM_STEP_NODELIST': 'n7'}, ('n7:61441', 8, 5)),
    # A task of an array on its own, and a shell of an allocation.
    (SLURM | {'SLURM_STEP_NUM_TASKS': '1', 'SLURM_PROCID': '0'}, None),
    ({'SLURM_JOB_ID': '4097', 'SLURM_NTASKS': '8'}, None),
    (
      {
        'OMPI_COMM_WORLD_SIZE': '4',
        'OMPI_COMM_WORLD_RANK': '3',
        'OMPI_MCA_orte_hnp_uri': '8192.0;tcp://10.1.2.3,10.9.9.9:34911',
      },
      ('10.1.2.3:61442', 4, 3),
    ),
    # An Indexed Job of Kubernetes, with processes that know each other or not.
    (
      {
        'JAX_COORDINATOR_ADDRESS': 'mrnn-worker-0-0.mrnn:8476',
        'JAX_NUM_PROCESSES': '2',
        'JOB_COMPLETION_INDEX': '1',
      },
      ('mrnn-worker-0-0.mrnn:8476', 2, 1),
    ),
    ({'JOB_COMPLETION_INDEX': '1'}, None),
    (
      {'TPU_WORKER_HOSTNAMES': 't0.s,t1.s', 'TPU_WORKER_ID': '1'},
      ('t0.s:8476', 2, 1),
    ),
    ({'TPU_WORKER_HOSTNAMES': 'localhost', 'TPU_WORKER_ID': '0'}, None),
  ],
)
def test_the_environment_tells_the_place(environ, expected):
  place = processes.find(environ=environ)
  if expected is None:
    assert place is None
  else:
    found = (place.coordinator, place.num_processes, place.process_id)
    assert found == expected


def test_flags_come_first():
  place = processes.find('h:1', 4, 2, SLURM)
  assert (place.coordinator, place.num_processes, place.process_id) == (
    'h:1',
    4,
    2,
  )
  assert processes.find('h:1', 0, -1, SLURM).process_id == 5
  assert processes.find('', 1, 0, {}) is None


@pytest.mark.parametrize(
  ('flags', 'environ', 'message'),
  [
    (('h:1', 0, -1), {}, '--num_processes and --process_id'),
    (('', 2, 0), {}, '--coordinator=HOST:PORT'),
    (('h:1', 2, 2), {}, 'no process 2 among 2'),
    # Open MPI 5 does not say where mpirun is.
    (
      ('', 0, -1),
      {'OMPI_COMM_WORLD_SIZE': '4', 'OMPI_COMM_WORLD_RANK': '3'},
      'Open MPI.*--coordinator',
    ),
    (('', 0, -1), SLURM | {'SLURM_PROCID': 'x'}, 'SLURM_PROCID'),
  ],
)
def test_what_is_not_enough_is_a_sentence(flags, environ, message):
  with pytest.raises(InputError, match=message):
    processes.find(*flags, environ)


class Job:
  """A run of several processes."""

  def __init__(
    self, workdir, data_dir, num_processes, num_devices, others=(), **changes
  ):
    """Start it; the processes after the first get the flags ``others`` too."""
    with socket.socket() as s:
      s.bind(('localhost', 0))
      port = s.getsockname()[1]
    changes |= {'num_devices': num_devices}
    if num_processes > 1:
      changes['num_processes'] = num_processes
      changes['coordinator'] = f'localhost:{port}'
    root = pathlib.Path(__file__).parents[1]
    environ = os.environ | {
      'PYTHONPATH': str(root),
      'JAX_PLATFORMS': 'cpu',
      'JAX_NUM_CPU_DEVICES': str(num_devices),
    }
    command = [sys.executable, '-m', 'mrnn_jax.main']
    command += tiny_run.flags(workdir, data_dir, **changes)
    self.processes = [
      subprocess.Popen(
        command
        + ([f'--process_id={p}'] if num_processes > 1 else [])
        + (list(others) if p else []),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
      )
      for p in range(num_processes)
    ]

  def wait(self):
    """Return exit codes, and what was said on stdout and stderr."""
    said = [process.communicate(timeout=300) for process in self.processes]
    return (
      [process.returncode for process in self.processes],
      [out for out, _ in said],
      [err for _, err in said],
    )


def costs(workdir):
  """The costs of the first 20 steps, and what validation gave."""
  lines = logs.read_log(workdir)
  return (
    [x['cost'] for x in lines if 'cost' in x][:20],
    [x['validation_perplexity'] for x in lines if 'validation_perplexity' in x],
  )


def results(workdir):
  """What evaluation has left in a workdir."""
  return {
    'evaluation': json.loads((workdir / 'evaluation.json').read_text()),
    'captions': [
      json.loads(line)
      for line in (workdir / 'captions.jsonl').read_text().splitlines()
    ],
    'retrieval': (workdir / 'retrieval.jsonl').read_bytes(),
    'images': np.load(workdir / 'scores/test_images.npy'),
    'norm': np.load(workdir / 'scores/test_norm.npy'),
  }


def assert_same_results(found, expected):
  """Perplexity to 1e-5; the same words and ranks, and the ranking's bits."""
  for name in ('images', 'norm'):
    np.testing.assert_array_equal(found[name], expected[name])
  assert found['retrieval'] == expected['retrieval']
  for one, other in zip(found['captions'], expected['captions'], strict=True):
    assert (one['image_id'], one['caption']) == (
      other['image_id'],
      other['caption'],
    )
  found, expected = found['evaluation'], expected['evaluation']
  np.testing.assert_allclose(
    list(found['perplexity'].values()),
    list(expected['perplexity'].values()),
    rtol=1e-5,
  )
  assert found == expected | {'perplexity': found['perplexity']}


OPTIONS = {'num_epochs': 6.0, 'log_every_steps': 1}
# Blocks and batches that 12 images and 24 captions fill unevenly.
EVALUATION = {
  'rank_image_block': 5,
  'rank_tile_rows': 20,
  'eval_batch_size': 3,
}


@pytest.fixture(scope='module')
def single(tiny_data_dir, tmp_path_factory):
  """One process with one device."""
  workdir = tmp_path_factory.mktemp('single')
  codes, _, err = Job(workdir, tiny_data_dir, 1, 1, **OPTIONS).wait()
  assert codes == [0], err
  return costs(workdir)


@pytest.mark.parametrize(
  ('num_processes', 'num_devices'),
  [
    (2, 2),
    pytest.param(1, 4, marks=pytest.mark.slow),
    pytest.param(4, 1, marks=pytest.mark.slow),
  ],
)
def test_any_topology_gives_the_same(
  tiny_data_dir, tmp_path, single, num_processes, num_devices
):
  options = {'task': 'train_and_evaluate', **OPTIONS, **EVALUATION}
  job = Job(tmp_path, tiny_data_dir, num_processes, num_devices, **options)
  codes, out, err = job.wait()
  assert codes == [0] * num_processes, err
  assert 'PPL' in out[0]
  assert all(text == '' for text in out[1:])
  assert all('ranking' not in text for text in err[1:])
  shared = results(tmp_path)
  shutil.rmtree(tmp_path / 'scores')
  options |= {'task': 'evaluate', 'num_devices': 1}
  tasks.run(tiny_run.config(tmp_path, tiny_data_dir, **options), set())
  assert_same_results(shared, results(tmp_path))
  found = costs(tmp_path)
  assert len(found[0]) == 20
  np.testing.assert_allclose(found[0], single[0], rtol=1e-5)
  np.testing.assert_allclose(found[1], single[1], rtol=1e-5)


@pytest.mark.slow
def test_one_is_stopped_all_stop_and_another_topology_goes_on(
  tiny_data_dir, tmp_path
):
  options = OPTIONS | {'num_epochs': 400.0}
  job = Job(tmp_path, tiny_data_dir, 2, 1, **options)
  while not logs.read_log(tmp_path):
    assert job.processes[0].poll() is None, job.wait()
    time.sleep(0.1)
  job.processes[1].send_signal(signal.SIGTERM)
  codes, _, err = job.wait()
  assert codes == [75, 75], err
  assert 'is saved in' in err[0]
  job = Job(tmp_path, tiny_data_dir, 1, 2, **options)
  for line in job.processes[0].stdout:
    if line.startswith('going on from step'):
      break
  else:
    pytest.fail(job.processes[0].stderr.read())
  job.processes[0].send_signal(signal.SIGTERM)
  assert job.wait()[0] == [75]


@pytest.mark.slow
def test_one_fails_all_end_with_its_message(tiny_data_dir, tmp_path):
  job = Job(tmp_path, tiny_data_dir, 2, 1, learning_rate=1e30, optimizer='sgd')
  codes, _, err = job.wait()
  assert codes == [1, 1]
  assert all('the cost is' in text for text in err), err


@pytest.mark.slow
def test_one_is_killed_all_end(tiny_data_dir, tmp_path):
  job = Job(tmp_path, tiny_data_dir, 2, 1, **(OPTIONS | {'num_epochs': 4000.0}))
  while not logs.read_log(tmp_path):
    assert job.processes[0].poll() is None, job.wait()
    time.sleep(0.1)
  job.processes[1].kill()
  begin = time.monotonic()
  codes, _, _ = job.wait()
  assert codes[0] != 0
  assert time.monotonic() - begin < 2 * processes._HEARTBEAT_SECONDS


@pytest.fixture(scope='module')
def trained(tiny_data_dir, tmp_path_factory):
  """The workdir of a trained model."""
  workdir = tmp_path_factory.mktemp('trained')
  tasks.run(tiny_run.config(workdir, tiny_data_dir), set())
  return workdir


@pytest.mark.slow
@pytest.mark.parametrize(
  'changes',
  [
    {'no_repeat_ngram': 2, 'nbest': 3},
    {'rerank_neighbors': 5, 'shortlist': 7},
    {'sample': True},
    {'length_protocol': 'reference', 'beam_size': 1, 'context_words': 1},
  ],
  ids=lambda changes: next(iter(changes)),
)
def test_one_model_is_measured_the_same_everywhere(
  tiny_data_dir, trained, tmp_path, changes
):
  options = {'task': 'evaluate', **EVALUATION, **changes}
  expected = None
  for num_processes, num_devices in ((1, 1), (1, 4), (2, 2), (4, 1)):
    workdir = tmp_path / f'{num_processes} x {num_devices}'
    shutil.copytree(trained, workdir)
    job = Job(workdir, tiny_data_dir, num_processes, num_devices, **options)
    codes, out, err = job.wait()
    assert codes == [0] * num_processes, err
    assert all(text == '' for text in out[1:])
    if 'length_protocol' in changes:
      name = 'captions_reference_length.jsonl'
      (workdir / name).rename(workdir / 'captions.jsonl')
    found = results(workdir)
    print(workdir.name, found['evaluation']['perplexity'])
    expected = expected or found
    assert_same_results(found, expected)


def retrieve(**changes):
  """Options for a ranking of many blocks."""
  options = {'task': 'retrieve', 'split': 'train', 'norm_images': 40}
  return options | {'rank_image_block': 1, **changes}


@pytest.mark.slow
def test_a_stopped_ranking_goes_on_with_other_processes(
  tiny_data_dir, trained, tmp_path
):
  whole, parts = tmp_path / 'whole', tmp_path / 'parts'
  for workdir in (whole, parts):
    shutil.copytree(trained, workdir)
  tasks.run(tiny_run.config(whole, tiny_data_dir, **retrieve()), set())
  done = 0
  for num_processes, stopped in ((2, 1), (3, 0), (1, 0)):
    job = Job(parts, tiny_data_dir, num_processes, 1, **retrieve())
    while blocks_done(parts) <= done:
      assert job.processes[0].poll() is None, job.wait()
      time.sleep(0.01)
    job.processes[stopped].send_signal(signal.SIGTERM)
    codes, _, err = job.wait()
    assert codes == [75] * num_processes, err
    assert 'stopped: the same command goes on' in err[stopped]
    assert blocks_done(parts) > done
    done = blocks_done(parts)
    print(f'{num_processes} processes: {done} of 80 blocks')
  job = Job(parts, tiny_data_dir, 2, 1, **retrieve())
  codes, _, err = job.wait()
  assert codes == [0, 0], err
  for name in (
    'retrieval_train.jsonl',
    'scores/train_images.npy',
    'scores/train_norm.npy',
  ):
    assert (parts / name).read_bytes() == (whole / name).read_bytes()


def blocks_done(workdir):
  """The blocks of both matrices that are there."""
  states = [
    workdir / f'scores/train_{name}.json' for name in ('images', 'norm')
  ]
  return sum(
    json.loads(x.read_text())['blocks_done'] for x in states if x.exists()
  )


@pytest.mark.slow
def test_processes_that_see_different_models(tiny_data_dir, trained, tmp_path):
  other = tmp_path / 'other'
  tasks.run(tiny_run.config(other, tiny_data_dir, seed=1), set())
  job = Job(
    trained, tiny_data_dir, 2, 1, others=[f'--workdir={other}'], **retrieve()
  )
  codes, _, err = job.wait()
  assert codes == [1, 1]
  assert all('find different models' in text for text in err)


@pytest.mark.slow
def test_own_features_are_ranked_and_captioned_together(
  tiny_data_dir, trained, tmp_path
):
  sentences = tmp_path / 'sentences.txt'
  sentences.write_text('A dog runs .\nThe cat sits .\n')
  for task in ('rank', 'caption'):
    said = []
    for num_processes in (1, 2):
      job = Job(
        trained,
        tiny_data_dir,
        num_processes,
        1,
        task=task,
        features=tiny_data_dir / 'f.npz',
        sentences=sentences,
        rank_image_block=10,
      )
      codes, out, err = job.wait()
      assert codes == [0] * num_processes, err
      assert all(text == '' for text in out[1:])
      said.append(out[0])
    assert said[0] == said[1] != ''
