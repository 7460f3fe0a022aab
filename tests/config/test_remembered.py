"""A workdir alone is enough: it remembers what was chosen with its model."""

import json
import os
import pathlib

import pytest
import tiny_run

from mrnn_jax import main, tasks, trained
from mrnn_jax.config import Given
from mrnn_jax.config import flags as config_flags
from mrnn_jax.runtime import checkpoint
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import run_record


@pytest.fixture(scope='module')
def workdir(tiny_data_dir, tmp_path_factory):
  """A run that was told where the data is from its own folder."""
  folder = tmp_path_factory.mktemp('remembered')
  config = tiny_run.config(
    folder / 'W',
    os.path.relpath(tiny_data_dir, folder),
    beam_size=4,
    no_repeat_ngram=2,
    nbest=2,
  )
  here = pathlib.Path.cwd()
  os.chdir(folder)
  try:
    tasks.run(tiny_run.given(config))
  finally:
    os.chdir(here)
  return folder / 'W'


def evaluate(workdir, **options):
  values = {'workdir': str(workdir), 'task': 'evaluate', **options}
  tasks.run(Given(values))
  return json.loads((workdir / 'evaluation.json').read_text())['convention']


def test_later_tasks_take_it_over(workdir, capsys):
  found = evaluate(workdir)
  assert (found['beam_size'], found['no_repeat_ngram']) == (4, 2)
  assert found['norm_images'] == 5
  note = capsys.readouterr().err
  assert f'note: as in {workdir}: --data_dir=/' in note
  assert '--beam_size=4 --no_repeat_ngram=2 --norm_images=5\n' in note


@pytest.fixture
def configuration(monkeypatch):
  """Return what gives the configuration that a task would run with."""

  def of(task, **values):
    seen = []
    with monkeypatch.context() as patch:
      patch.setitem(tasks.FUNCTIONS, task, seen.append)
      tasks.run(Given({'task': task, **values}))
    [config] = seen
    return config

  return of


def test_flags_given_prevail(workdir, configuration):
  found = configuration('evaluate', workdir=str(workdir), beam_size=3)
  assert (found.beam_size, found.no_repeat_ngram) == (3, 2)


def test_as_many_captions_as_the_remembered_beam_keeps(
  workdir, configuration, capsys
):
  """By default a beam keeps 3."""
  values = {'workdir': str(workdir), 'task': 'caption', 'nbest': 4}
  tasks.run(Given(values))
  lines = (workdir / 'captions.jsonl').read_text().splitlines()
  assert {len(json.loads(line)['nbest']) for line in lines} == {4}
  # What captions do not need is no news.
  assert '--norm_images' not in capsys.readouterr().err
  found = configuration(**{**values, 'nbest': 5})
  note = capsys.readouterr().err
  assert 'note: --beam_size=5, for --nbest=5 in --beam_groups=1' in note
  assert (found.beam_size, found.nbest) == (5, 5)


def test_fewer_training_images_than_asked_for(workdir, tmp_path, capsys):
  model = trained.TrainedModel.load(workdir)
  assert model.num_norm_images() == 40
  assert model.num_norm_images(7) == 7
  assert capsys.readouterr().err == ''
  assert model.num_norm_images(41) == 40
  note = 'note: the model carries 40 training images for P(w), fewer than'
  assert capsys.readouterr().err == f'{note} --norm_images=41: all are taken.\n'
  values = {'workdir': str(workdir), 'norm_images': 50}
  for task, more in {
    'evaluate': {},
    'retrieve': {},
    'export': {'output': str(tmp_path / 'm.npz')},
  }.items():
    tasks.run(Given({**values, 'task': task, **more}))
    assert capsys.readouterr().err.count(f'{note} --norm_images=50') == 1, task
  found = json.loads((workdir / 'evaluation.json').read_text())
  assert found['convention']['norm_images'] == 40


def test_results_of_another_workdirs_model_are_its_own(workdir, tmp_path):
  evaluate(workdir)
  before = (workdir / 'evaluation.json').read_bytes()
  found = evaluate(tmp_path, model_file=str(workdir), retrieval=False)
  assert (found['beam_size'], found['no_repeat_ngram']) == (4, 2)
  assert (workdir / 'evaluation.json').read_bytes() == before


def test_a_file_takes_it_along_but_for_where_the_data_is(workdir, tmp_path):
  model = trained.TrainedModel.load(workdir)
  model.save(tmp_path / 'm.npz')
  there = trained.TrainedModel.load(tmp_path / 'm.npz').config
  assert model.config.data_dir != '' == there.data_dir
  assert there == model.config.replace(data_dir='')
  assert (there.beam_size, there.nbest) == (4, 1)


def test_a_workdir_of_an_old_program(tiny_data_dir, tmp_path, monkeypatch):
  """It has all options there were, and none of those that came later."""
  describe = run_record.describe
  later = {'cell', 'tie_softmax', 'objective'}

  def as_then(*args):
    description = describe(*args)
    old = {'feature_scaling': 'standardize', 'image_dropout': 0.3}
    fixed = {**description['config'], **old}
    assert later <= fixed.keys()
    for name in later:
      del fixed[name]
    return {**description, 'config': fixed}

  workdir, options = tmp_path / 'W', {'model': 'rnn-base', 'num_epochs': 1.0}
  config = tiny_run.config(workdir, tiny_data_dir, **options)
  with monkeypatch.context() as patch:
    patch.setattr(run_record, 'describe', as_then)
    tasks.run(tiny_run.given(config))
  with checkpoint.Checkpoints(workdir) as checkpoints:
    stored, _ = checkpoints.describe(checkpoints.latest_step())
  assert stored['config']['image_dropout'] == 0.3
  assert not later & stored['config'].keys()
  # Trained on, opened, measured.
  tasks.run(tiny_run.given(config))
  loaded = trained.TrainedModel.load(workdir).config
  assert loaded.model == 'rnn-base' and 'image_dropout' not in loaded.fixed()
  evaluate(workdir, beam_size=1)
  with pytest.raises(InputError, match=r'--cell=gru \(there: simple\)'):
    evaluate(workdir, cell='gru')
  loaded_again = trained.TrainedModel.load(workdir)
  loaded_again.save(tmp_path / 'm.npz')
  assert (
    trained.TrainedModel.load(tmp_path / 'm.npz').config.model == 'rnn-base'
  )


def test_the_command_gives_what_its_flags_say(monkeypatch, tmp_path):
  """From argv to the task: a file's flags are not by hand."""
  (tmp_path / 'x.flags').write_text('--task=caption\n--prefix=the dog\n')
  argv = ['main', f'--flagfile={tmp_path / "x.flags"}', '--workdir=W']
  argv.append('--nocompilation_cache')
  values = config_flags.flags.FlagValues()
  config_flags.define_flags(values)
  values(argv)
  seen = []
  monkeypatch.setattr(main.flags, 'FLAGS', values)
  monkeypatch.setattr(main.sys, 'argv', argv)
  monkeypatch.setattr(tasks, 'run', seen.append)
  main.main()
  assert seen == [
    Given(
      {
        'task': 'caption',
        'prefix': 'the dog',
        'workdir': 'W',
        'compilation_cache': False,
      },
      frozenset({'workdir', 'compilation_cache'}),
    )
  ]
