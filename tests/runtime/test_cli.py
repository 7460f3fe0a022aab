"""The command lines as people meet them: help, mistakes, messages."""

import subprocess
import sys

from absl import flags
from etils import epath
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax import main
from mrnn_jax.config import flags as config_flags
from mrnn_jax.runtime import cli


def command(*args, module='mrnn_jax.main'):
  return subprocess.run(
    [sys.executable, '-m', module, *args],
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_help_is_grouped_and_complete():
  result = command('--help')
  assert result.returncode == 0
  for group in config_lib.GROUPS:
    assert f'{group.heading}:' in result.stdout
  for name in vars(config_lib.Config()):
    assert f'--{name}=' in result.stdout or f'--[no]{name}' in result.stdout


def in_process(args, monkeypatch, capsys):
  """What the command says and its exit code, without its imports anew."""
  argv = ['main', *args]
  values = flags.FlagValues()
  config_flags.define_flags(values)
  monkeypatch.setattr(main.flags, 'FLAGS', values)
  monkeypatch.setattr(main.sys, 'argv', argv)
  with pytest.raises(SystemExit) as end:
    cli.run(main.main, '', {}, argv, values)
  return end.value.code, capsys.readouterr().err


def assert_one_sentence(code, said, message):
  assert code == 1
  assert 'Traceback' not in said
  lines = [x for x in said.splitlines() if x.startswith('error: ')]
  assert len(lines) == 1
  assert message in lines[0]


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--learning_rat=1'], 'did you mean --learning_rate?'),
    (['--batch_size=many'], '--batch_size'),
    (['--flagfile=no where.flags'], 'error: the flag file no where.flags'),
    (['--flagfile=nowhere.flags'], 'nowhere.flags'),
    (['--task=rank'], 'wants --photos=DIR'),
    (['--nbest=many'], '--nbest=many: it wants a whole number (see --help)'),
    (['--learning_rate=fast'], '--learning_rate=fast: it wants a number'),
    (['--sample=perhaps'], '--sample=perhaps: it wants true or false'),
    (['--task=score'], 'wants --score_input'),
    (['train'], '"train" is not a flag'),
    (['--task=fly'], 'choose one of'),
    (['--task=evaluate', '--shard=0/4'], '--shard is for --task=score'),
    (['--top_k=5'], '--top_k has no effect without --sample'),
    (['--dataset=flickr8k', '--data_dir=/nowhere'], 'data_prep.build'),
  ],
)
def test_mistakes_get_one_sentence(
  args, message, tmp_path, monkeypatch, capsys
):
  code, said = in_process([*args, f'--workdir={tmp_path}'], monkeypatch, capsys)
  assert_one_sentence(code, said, message)


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    # JAX's flags are defined beside ours only there.
    pytest.param(
      ['--learning_rat=1'],
      'did you mean --learning_rate?',
      marks=pytest.mark.slow,
    ),
    # XLA ends the process where it does not know a flag of --deterministic.
    (
      ['--dataset=flickr8k', '--data_dir=/nowhere', '--deterministic'],
      'data_prep.build',
    ),
  ],
)
def test_mistakes_of_the_command_itself(args, message, tmp_path):
  result = command(*args, f'--workdir={tmp_path}')
  assert_one_sentence(result.returncode, result.stderr, message)


def test_storage_whose_package_is_not_installed(monkeypatch):
  monkeypatch.setitem(sys.modules, 'gcsfs', None)
  with pytest.raises(ImportError) as raised:
    epath.Path('gs://bucket/run').exists()
  message, code = cli.explain(raised.value, cli.STOPPED)
  assert message.endswith(
    'gs://, which needs a package that is not installed: pip install gcsfs.'
  )
  assert code == 1
