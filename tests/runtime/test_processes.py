"""Several processes: found by the environment, one result, one end."""

import contextlib
import shutil
import signal
import time

import jobs
from jobs import Job
import numpy as np
import pytest
import quick
import tiny_run

from mrnn_jax import tasks
from mrnn_jax.runtime import processes
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import log

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


def costs(workdir):
  """The costs of the steps, and what validation gave."""
  lines = log.read_log(workdir)
  return (
    [x['cost'] for x in lines if 'cost' in x],
    [x['validation_perplexity'] for x in lines if 'validation_perplexity' in x],
  )


OPTIONS = {'log_every_steps': 1}


@pytest.mark.parametrize(
  ('num_processes', 'num_devices'),
  [
    (2, 1),
    *(
      pytest.param(*x, marks=pytest.mark.slow) for x in ((2, 2), (1, 4), (4, 1))
    ),
  ],
)
def test_any_topology_gives_the_same(
  request, tiny_data_dir, tiny_workdir, tmp_path, num_processes, num_devices
):
  options = {'task': 'train_and_evaluate', **OPTIONS, **jobs.EVALUATION}
  # The slow ones are compiled as for users, here as there.
  slow = request.node.get_closest_marker('slow')
  compiler = quick.users_compiler() if slow else contextlib.nullcontext()
  if not slow:
    options |= {'beam_size': 2, 'max_words': 8, 'eval_every_steps': 8}
  job = Job(
    tmp_path,
    tiny_data_dir,
    num_processes,
    num_devices,
    xla_flags=quick.users_flags() if slow else None,
    **options,
  )
  codes, out, err = job.wait()
  assert codes == [0] * num_processes, err
  assert 'chance' in out[0]  # The table of measures.
  assert all(text == '' for text in out[1:])
  assert all('ranking' not in text for text in err[1:])
  shared = jobs.results(tmp_path)
  shutil.rmtree(tmp_path / 'scores')
  options |= {'task': 'evaluate', 'num_devices': 1}
  with compiler:
    tasks.run(
      tiny_run.given(tiny_run.config(tmp_path, tiny_data_dir, **options))
    )
  jobs.assert_same_results(shared, jobs.results(tmp_path))
  # Of one process with one device, which validates every 4 steps.
  found, single = costs(tmp_path), costs(tiny_workdir)
  assert len(found[0]) == 16 and len(found[1]) == (4 if slow else 2)
  np.testing.assert_allclose(found[0], single[0], rtol=1e-5)
  every = 4 // len(found[1])
  validated = single[1][every - 1 :: every]
  np.testing.assert_allclose(found[1], validated, rtol=1e-5)


@pytest.mark.slow
def test_one_is_stopped_all_stop_and_another_topology_goes_on(
  tiny_data_dir, tmp_path
):
  options = OPTIONS | {'num_epochs': 400.0}
  job = Job(tmp_path, tiny_data_dir, 2, 1, **options)
  while not log.read_log(tmp_path):
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
  while not log.read_log(tmp_path):
    assert job.processes[0].poll() is None, job.wait()
    time.sleep(0.1)
  job.processes[1].kill()
  begin = time.monotonic()
  codes, _, _ = job.wait()
  assert codes[0] != 0
  assert time.monotonic() - begin < 2 * processes._HEARTBEAT_SECONDS
