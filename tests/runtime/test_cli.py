"""The command lines as people meet them: help, mistakes, messages."""

import subprocess
import sys

from etils import epath
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax.runtime import cli
from mrnn_jax.runtime.errors import InputError


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
  for heading in config_lib.GROUPS.values():
    assert f'{heading}:' in result.stdout
  for name in vars(config_lib.Config()):
    assert f'--{name}=' in result.stdout or f'--[no]{name}' in result.stdout


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--learning_rat=1'], 'did you mean --learning_rate?'),
    (['--batch_size=many'], '--batch_size'),
    (['--flagfile=no where.flags'], 'error: the flag file no where.flags'),
    (['--flagfile=nowhere.flags'], 'nowhere.flags'),
    (['--task=rank'], 'wants --photos=DIR'),
    (['--task=score'], 'wants --score_input'),
    (['train'], '"train" is not a flag'),
    (['--task=fly'], 'choose one of'),
    # XLA ends the process where it does not know a flag of --deterministic.
    (
      ['--dataset=flickr8k', '--data_dir=/nowhere', '--deterministic'],
      'data_prep.build',
    ),
  ],
)
def test_mistakes_get_one_sentence(args, message, tmp_path):
  result = command(*args, f'--workdir={tmp_path}')
  assert result.returncode == 1
  assert 'Traceback' not in result.stderr
  lines = [x for x in result.stderr.splitlines() if x.startswith('error: ')]
  assert len(lines) == 1
  assert message in lines[0]


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'batch_size': 0}, 'too small'),
    ({'word_dropout': 1.0}, 'too large'),
    ({'learning_rate': 0.0}, 'above 0'),
    ({'nbest': 5, 'beam_size': 3}, 'raise --beam_size'),
    ({'context_words': 2}, '--length_protocol=reference'),
    ({'learning_rate': float('nan')}, 'above 0'),
    ({'top_k': 5}, '--top_k is of sampling: add --sample'),
    ({'prefix': 'a dog', 'task': 'evaluate'}, 'is for --task=caption'),
    ({'score_input': 'x.csv', 'task': 'train'}, 'is for --task=score'),
    ({'rerank_neighbors': 60, 'beam_size': 1}, 'among hypotheses of a beam'),
    ({'rerank_neighbors': 60, 'sample': True}, 'among hypotheses of a beam'),
    ({'photos': 'a', 'features': 'b', 'task': 'caption'}, 'not both'),
  ],
)
def test_a_configuration_is_checked(values, message):
  with pytest.raises(InputError, match=message):
    config_lib.Config(**values)


def test_a_workdir_keeps_its_settings_and_refuses_others():
  there = config_lib.Config(
    embedding_size=7, beam_size=5, no_repeat_ngram=2, nbest=4, data_dir='/d'
  )
  stored = {'config': there.fixed(), 'remembered': there.remembered()}
  here = config_lib.Config(beam_size=9)
  taken = config_lib.with_stored(here, stored, {'beam_size'}, 'W')
  assert (taken.embedding_size, taken.beam_size) == (7, 9)
  assert (taken.no_repeat_ngram, taken.data_dir, taken.nbest) == (2, '/d', 1)
  with pytest.raises(InputError, match=r'--embedding_size=128 \(there: 7\)'):
    config_lib.with_stored(here, stored, {'embedding_size'}, 'W')
  # Of a file that was written before.
  del stored['remembered']
  assert config_lib.with_stored(here, stored, set(), 'W').no_repeat_ngram == 0


def test_storage_whose_package_is_not_installed(monkeypatch):
  monkeypatch.setitem(sys.modules, 'gcsfs', None)
  with pytest.raises(ImportError) as raised:
    epath.Path('gs://bucket/run').exists()
  message, code = cli.explain(raised.value, cli.STOPPED)
  assert message.endswith(
    'gs://, which needs a package that is not installed: pip install gcsfs.'
  )
  assert code == 1
