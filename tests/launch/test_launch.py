"""The launch files: what they print can be parsed, their numbers agree."""

import pathlib
import shlex
import shutil
import subprocess
import sys

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


def fake(tmp_path, name, script):
  """Put a script in the place of a program; return the environment for it."""
  path = tmp_path / name
  path.write_text(f'#!/bin/sh\ncd "{tmp_path}"\n{script}')
  path.chmod(0o755)
  return {
    'PATH': f'{tmp_path}:/usr/bin:/bin',
    'PYTHON': str(tmp_path / 'python'),
    'PORT': '1',
  }


# The job and its exit code; what local.sh makes of them.
@pytest.mark.parametrize(
  ('codes', 'expected'),
  [((0, 0), 0), ((0, 1), 1), ((75, 1), 1), ((70, 75), 70)],
)
def test_local_ends_with_the_worst_code(tmp_path, codes, expected):
  environ = fake(
    tmp_path,
    'python',
    'for flag; do case $flag in\n'
    f'  --process_id=0) exit {codes[0]} ;;\n'
    f'  --process_id=1) exit {codes[1]} ;;\n'
    'esac; done\n',
  )
  result = subprocess.run(['sh', LAUNCH / 'local.sh', '2'], env=environ)
  assert result.returncode == expected


@pytest.mark.parametrize(
  ('name', 'program', 'args', 'starts'),
  [
    ('local.sh', 'python', ['2'], 2),
    ('tpu_vm.sh', 'gcloud', ['NAME', 'ZONE', '--task=train'], 1),
  ],
)
@pytest.mark.parametrize(('first', 'code'), [(75, 0), (143, 1)])
def test_what_is_stopped_by_itself_is_started_again(
  tmp_path, name, program, args, starts, code, first
):
  environ = fake(
    tmp_path,
    program,
    'echo x >> started\n'
    f'[ "$(wc -l < started)" -gt {starts} ] || {{ sleep 0.2; exit {first}; }}\n'
    f'exit {code}\n',
  )
  result = subprocess.run(
    ['sh', LAUNCH / name, *args], env=environ, stderr=subprocess.PIPE, text=True
  )
  assert result.returncode == code
  assert result.stderr.count('unfinished (exit 75): starting again') == 1
  assert (tmp_path / 'started').read_text() == 'x\n' * 2 * starts


def stopped_by_signal(command, environ, tmp_path, starts):
  with subprocess.Popen(
    ['sh', *command], env=environ, stdout=subprocess.PIPE
  ) as process:
    for _ in range(starts):
      process.stdout.readline()
    process.terminate()
    assert process.wait(timeout=30) == 75
  assert (tmp_path / 'saved').read_text() == 'x\n' * starts


# It takes a while to save.
SAVES = (
  'trap "sleep 0.3; echo x >> saved; exit 75" TERM\n'
  'echo ready\n'
  'while :; do sleep 0.05; done\n'
)


def test_local_passes_a_signal_on_and_waits(tmp_path):
  environ = fake(tmp_path, 'python', SAVES)
  stopped_by_signal([LAUNCH / 'local.sh', '2'], environ, tmp_path, 2)


def test_tpu_vm_passes_a_signal_on_to_the_hosts(tmp_path):
  """What gcloud has begun on a host does not hear of a signal to gcloud."""
  environ = fake(
    tmp_path,
    'gcloud',
    'case "$*" in *"pkill -TERM -f \'mrnn_jax[.]main\'"*)\n'
    '  kill -TERM "$(cat pid)"; exit ;;\n'
    'esac\n'
    f'echo $$ > pid\n{SAVES}',
  )
  command = [LAUNCH / 'tpu_vm.sh', 'NAME', 'ZONE', '--task=train']
  stopped_by_signal(command, environ, tmp_path, 1)


@pytest.mark.parametrize(
  ('visible', 'expected'),
  [
    (None, ['0', '1']),
    ('4,5', ['4', '5']),
    ('7,GPU-1a,3', ['7', 'GPU-1a']),
    ('', ['', '']),
    ('-1', ['-1', '-1']),
  ],
)
def test_local_gives_each_process_a_gpu(tmp_path, visible, expected):
  environ = fake(
    tmp_path,
    'python',
    'echo "$CUDA_VISIBLE_DEVICES" > "$(echo "$*" | sed s/.*process_id=//)"\n',
  )
  if visible is not None:
    environ['CUDA_VISIBLE_DEVICES'] = visible
  subprocess.run(['sh', LAUNCH / 'local.sh', '2'], env=environ, check=True)
  given = [(tmp_path / name).read_text().strip() for name in '01']
  assert given == expected
  printed = subprocess.run(
    ['sh', LAUNCH / 'local.sh', '--dry_run', '2'],
    env=environ,
    capture_output=True,
    text=True,
    check=True,
  ).stdout.splitlines()
  assert [line.split()[0] for line in printed[:2]] == [
    f'CUDA_VISIBLE_DEVICES={gpu}' for gpu in expected
  ]


def test_local_wants_a_gpu_for_each_process(tmp_path):
  environ = fake(tmp_path, 'python', 'touch started\n')
  result = subprocess.run(
    ['sh', LAUNCH / 'local.sh', '3'],
    env={**environ, 'CUDA_VISIBLE_DEVICES': '4,5'},
    capture_output=True,
    text=True,
  )
  assert result.returncode == 2
  assert '3 processes want a GPU each' in result.stderr
  assert 'CUDA_VISIBLE_DEVICES=4,5 names 2' in result.stderr
  assert not (tmp_path / 'started').exists()


def test_local_keeps_a_signal_that_comes_before_all_are_started(tmp_path):
  # The first one has the signal sent while the others are being started.
  environ = fake(
    tmp_path,
    'python',
    'trap "exit 75" TERM\n'
    'case "$*" in *process_id=0*) kill -TERM "$PPID";; esac\n'
    'for _ in $(seq 200); do sleep 0.05; done\n',
  )
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
  # By pip it lies beside the interpreter.
  beside = pathlib.Path(sys.executable).with_name('shellcheck')
  program = str(beside) if beside.exists() else shutil.which('shellcheck')
  if not program:
    pytest.skip('shellcheck is not installed')
  subprocess.run([program, LAUNCH / name], check=True)
