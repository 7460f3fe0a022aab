"""The launch files: what they print can be parsed, their numbers agree."""

import pathlib
import shlex
import shutil
import subprocess

from absl import flags
import pytest
import yaml

from mrnn_jax import config as config_lib
from mrnn_jax.config import flags as config_flags

LAUNCH = pathlib.Path(__file__).parents[2] / 'launch'
FLAGS = ['--workdir=a b', '--task=caption', "--prefix=the dog's $HOME"]


def dry_run(name, *args):
  shell = 'sh' if name.endswith('.sh') else 'bash'
  result = subprocess.run(
    [shell, LAUNCH / name, '--dry_run', *args],
    capture_output=True,
    text=True,
    check=True,
  )
  return result.stdout.splitlines()


def parse(words):
  """Read a command's flags as the program does."""
  values = flags.FlagValues()
  config_flags.define_flags(values)
  flags.DEFINE_multi_string('flagfile', None, '', flag_values=values)
  argv = ['main', *[w for w in words if not w.startswith('--flagfile')]]
  values(argv)
  return config_lib.complete(config_flags.read(values, argv))


def after_module(line):
  words = shlex.split(line)
  return words[words.index('mrnn_jax.main') + 1 :]


def test_local_prints_each_process():
  *lines, last = dry_run('local.sh', '3', *FLAGS)
  assert last == 'wait'
  configs = [parse(after_module(line.removesuffix(' &'))) for line in lines]
  assert [c.process_id for c in configs] == [0, 1, 2]
  assert {c.num_processes for c in configs} == {3}
  assert len({c.coordinator for c in configs}) == 1
  assert {(c.workdir, c.prefix) for c in configs} == {
    ('a b', "the dog's $HOME")
  }


@pytest.mark.parametrize('args', [[], ['0'], ['x'], ['--flag']])
def test_local_wants_a_number(args):
  result = subprocess.run(
    ['sh', LAUNCH / 'local.sh', *args], capture_output=True, text=True
  )
  assert result.returncode == 2 and result.stderr.startswith('usage: ')


@pytest.mark.parametrize(
  'name', ['slurm.sbatch', 'slurm_score_array.sbatch', 'tpu_vm.sh']
)
def test_flags_arrive(name):
  before = ['NAME', 'ZONE'] if name == 'tpu_vm.sh' else []
  given = ['--workdir=a b', '--num_devices=7']
  (line,) = dry_run(name, *before, *given)
  if before:
    line = shlex.split(line)[-1].removeprefix('--command=')
  config = parse(after_module(line))
  assert (config.workdir, config.num_devices) == ('a b', 7)
  if 'score' in name:
    assert (config.task, config.shard) == ('score', 'auto')


# The job and its exit code; what local.sh makes of them.
@pytest.mark.parametrize(
  ('codes', 'expected'),
  [((0, 0), 0), ((75, 75), 75), ((0, 75), 75), ((75, 1), 1), ((70, 75), 70)],
)
def test_local_ends_with_the_worst_code(tmp_path, codes, expected):
  fake = tmp_path / 'python'
  fake.write_text(
    '#!/bin/sh\n'
    'for flag; do case $flag in\n'
    f'  --process_id=0) exit {codes[0]} ;;\n'
    f'  --process_id=1) exit {codes[1]} ;;\n'
    'esac; done\n'
  )
  fake.chmod(0o755)
  environ = {'PATH': '/usr/bin:/bin', 'PYTHON': str(fake), 'PORT': '1'}
  result = subprocess.run(['sh', LAUNCH / 'local.sh', '2'], env=environ)
  assert result.returncode == expected


def test_local_passes_a_signal_on_and_waits(tmp_path):
  fake = tmp_path / 'python'
  # It takes a while to save.
  fake.write_text(
    '#!/bin/sh\n'
    'trap "sleep 0.3; exit 75" TERM\n'
    'echo ready\n'
    'while :; do sleep 0.05; done\n'
  )
  fake.chmod(0o755)
  environ = {'PATH': '/usr/bin:/bin', 'PYTHON': str(fake), 'PORT': '1'}
  with subprocess.Popen(
    ['sh', LAUNCH / 'local.sh', '2'], env=environ, stdout=subprocess.PIPE
  ) as process:
    for _ in range(2):
      process.stdout.readline()
    process.terminate()
    assert process.wait(timeout=30) == 75


def test_local_keeps_a_signal_that_comes_before_all_are_started(tmp_path):
  fake = tmp_path / 'python'
  # The first one has the signal sent while the others are being started.
  fake.write_text(
    '#!/bin/sh\n'
    'trap "exit 75" TERM\n'
    'case "$*" in *process_id=0*) kill -TERM "$PPID";; esac\n'
    'for _ in $(seq 200); do sleep 0.05; done\n'
  )
  fake.chmod(0o755)
  environ = {'PATH': '/usr/bin:/bin', 'PYTHON': str(fake), 'PORT': '1'}
  result = subprocess.run(
    ['sh', LAUNCH / 'local.sh', '30'], env=environ, timeout=30
  )
  assert result.returncode == 75


def jobs(name):
  """Each Job of a file, and its container."""
  for document in yaml.safe_load_all((LAUNCH / name).read_text()):
    spec = document['spec']
    for job in spec.get('replicatedJobs', [{'template': document}]):
      job_spec = job['template']['spec']
      (container,) = job_spec['template']['spec']['containers']
      yield document, job, job_spec, container


def test_training_in_kubernetes():
  documents = list(jobs('gke_jobset.yaml'))
  assert len(documents) == 2
  for document, job, spec, container in documents:
    assert spec['completions'] == spec['parallelism']
    assert spec['completionMode'] == 'Indexed'
    assert parse(container['args']).task == 'train_and_evaluate'
    environ = {x['name']: x['value'] for x in container.get('env', [])}
    if not environ:  # GKE tells the pods of a TPU slice.
      assert 'google.com/tpu' in container['resources']['limits']
      continue
    assert environ['JAX_NUM_PROCESSES'] == str(spec['completions'])
    host = f'{document["metadata"]["name"]}-{job["name"]}-0-0'
    subdomain = document['spec']['network']['subdomain']
    address = environ['JAX_COORDINATOR_ADDRESS']
    assert address.split(':')[0] == f'{host}.{subdomain}'


def test_scoring_in_kubernetes():
  ((_, _, spec, container),) = jobs('k8s_score_indexed_job.yaml')
  config = parse(container['args'])
  assert config.task == 'score'
  assert config.shard == f'auto/{spec["completions"]}'


@pytest.mark.parametrize(
  'name', ['local.sh', 'tpu_vm.sh', 'slurm.sbatch', 'slurm_score_array.sbatch']
)
def test_shellcheck(name):
  if not shutil.which('shellcheck'):
    pytest.skip('shellcheck is not installed')
  subprocess.run(['shellcheck', LAUNCH / name], check=True)
