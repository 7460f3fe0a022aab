"""Beam's workers score what shards by hand do, byte by byte."""

import importlib.util

import pytest
from scoring_jobs import names, read, run

from mrnn_jax import config as config_lib
from mrnn_jax.runtime import beam_engine
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring import beam_scoring, job


@pytest.fixture
def by_hand(folder, tmp_path):
  output = tmp_path / 'by_hand'
  for i in range(3):
    run(folder, output, shard=f'{i}/3')
  return output


def results(folder):
  return {
    name: (folder / name).read_bytes()
    for name in names(folder)
    if name.startswith(('scores', 'done'))
  }


def test_workers_score_shards(folder, tmp_path, by_hand, monkeypatch, capsys):
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: True)
  made = []
  make = job.make_scorer
  monkeypatch.setattr(job, 'make_scorer', lambda *x: made.append(1) or make(*x))
  beam_scoring._load.cache_clear()

  def in_turn(runner, options, jobs, work, left):
    assert (runner, options) == ('FlinkRunner', ('--a=1',))
    assert 'goes on' in left
    for shard in reversed(jobs):
      work(shard)
    work(jobs[0])  # An engine may do a job again.

  monkeypatch.setattr(beam_engine, 'run', in_turn)
  output = tmp_path / 'beam'
  capsys.readouterr()
  run(
    folder,
    output,
    beam_runner='FlinkRunner',
    beam_options='a=1',
    beam_shards=3,
  )
  assert results(output) == results(by_hand)
  assert made == [1]  # One model for all, compiled once.
  out = capsys.readouterr().out.splitlines()
  assert out[-2] == '3 of 3 shards are complete'
  assert '--merge' in out[-1]
  run(folder, output, merge=True, score_input='', features='', model_file='')
  assert len(read(output / 'scores.jsonl')) == 60


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'beam_runner': 'DirectRunner', 'shard': '0/3'}, 'by --beam_shards'),
    ({'beam_runner': 'Spark'}, 'choose one of'),
    ({'beam_runner': 'DirectRunner', 'beam_options': 'a b'}, 'name=value'),
    ({'beam_runner': 'DirectRunner', 'output': ''}, 'wants --output'),
  ],
)
def test_mistakes(folder, tmp_path, settings, message):
  with pytest.raises(InputError, match=message):
    run(folder, **{'output': tmp_path / 'x', **settings})


def test_flags_without_beam_have_no_effect():
  with pytest.raises(InputError, match='without --beam_runner'):
    config_lib.complete(
      config_lib.Given(
        {'task': 'score', 'beam_shards': 3}, frozenset(['beam_shards'])
      )
    )


@pytest.mark.slow
@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize(
  'options', ['', 'direct_num_workers=2,direct_running_mode=multi_processing']
)
def test_beam_scores_the_same_bytes(folder, tmp_path, by_hand, options):
  pytest.importorskip('apache_beam')
  output = tmp_path / 'beam'
  run(
    folder,
    output,
    beam_runner='DirectRunner',
    beam_options=options,
    beam_shards=3,
  )
  assert results(output) == results(by_hand)
