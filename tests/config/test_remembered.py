"""A workdir alone is enough: it remembers what was chosen with its model."""

import json
import os
import pathlib

import pytest
import tiny_run

from mrnn_jax import tasks, trained
from mrnn_jax.config import Config


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
    num_epochs=1.0,
  )
  here = pathlib.Path.cwd()
  os.chdir(folder)
  try:
    tasks.run(config, set(tiny_run.OPTIONS) | {'beam_size', 'data_dir'})
  finally:
    os.chdir(here)
  return folder / 'W'


def evaluate(workdir, names_given=(), **options):
  config = Config(workdir=str(workdir), task='evaluate', **options)
  tasks.run(config, {'workdir', 'task', *names_given})
  return json.loads((workdir / 'evaluation.json').read_text())['convention']


def test_later_tasks_take_it_over(workdir, capsys):
  found = evaluate(workdir)
  assert (found['beam_size'], found['no_repeat_ngram']) == (4, 2)
  assert found['norm_images'] == 5
  note = capsys.readouterr().err
  assert f'note: as in {workdir}: --data_dir=/' in note
  assert '--beam_size=4 --no_repeat_ngram=2 --norm_images=5\n' in note


def test_flags_given_prevail(workdir):
  found = evaluate(workdir, {'beam_size', 'retrieval'}, retrieval=False)
  assert (found['beam_size'], found['no_repeat_ngram']) == (3, 2)


def test_results_of_another_workdirs_model_are_its_own(workdir, tmp_path):
  evaluate(workdir)
  before = (workdir / 'evaluation.json').read_bytes()
  found = evaluate(
    tmp_path, {'beam_size'}, model_file=str(workdir), beam_size=2
  )
  assert (found['beam_size'], found['no_repeat_ngram']) == (2, 2)
  assert (workdir / 'evaluation.json').read_bytes() == before


def test_a_file_takes_it_along_but_for_where_the_data_is(workdir, tmp_path):
  model = trained.TrainedModel.load(workdir)
  model.save(tmp_path / 'm.npz')
  there = trained.TrainedModel.load(tmp_path / 'm.npz').config
  assert model.config.data_dir != '' == there.data_dir
  assert there == model.config.replace(data_dir='')
  assert (there.beam_size, there.nbest) == (4, 1)
