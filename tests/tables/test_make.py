"""The command whole, on a tiny dataset: runs, files, stops, flags."""

import json
import shlex

from absl import flags
import pytest
import tiny_run

from mrnn_jax import tasks
from mrnn_jax.config import Given
from mrnn_jax.config import flags as config_flags
from mrnn_jax.runtime import stopping
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.tables import __main__ as command
from mrnn_jax.tables import make, plan
from mrnn_jax.tables.runs import Protocol, Run
from mrnn_jax.tables.systems import SYSTEMS

PROTOCOL = Protocol(context_words=2, shortlist=5)
SYSTEMS_RUN = ['gt2', 'm-rnn', 'cca']


@pytest.fixture(autouse=True)
def quick_product(monkeypatch):
  monkeypatch.setattr(plan, 'measure_speed', lambda: 1.0)


def given(workdir, data_dir, **changes):
  values = {
    **tiny_run.OPTIONS,
    'num_epochs': 2.0,
    'beam_size': 1,
    'workdir': str(workdir),
    'data_dir': str(data_dir),
    **changes,
  }
  return Given(values)


def read(workdir):
  found = json.loads((workdir / 'tables.json').read_text())
  return {row.get('key', row['name']): row for row in found['rows']}


@pytest.fixture(scope='module')
def made(tiny_data_dir, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('all tables')
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(plan, 'measure_speed', lambda: 1.0)
    make.make(given(workdir, tiny_data_dir), SYSTEMS_RUN, PROTOCOL)
  return workdir


def test_rows_are_what_the_runs_left(made):
  rows = read(made)
  assert set(rows) == {*SYSTEMS_RUN, 'random'}
  evaluation = json.loads((made / 'm-rnn/seed0/evaluation.json').read_text())
  row = rows['m-rnn']
  assert row['perplexity'] == evaluation['perplexity']['corpus']
  assert row['bleu'] == evaluation['bleu']['cumulative']
  assert row['convention'] == evaluation['convention']
  for direction in ('image_to_text', 'text_to_image'):
    assert row['retrieval'][direction] == evaluation['retrieval'][direction], (
      direction
    )
  assert evaluation['convention']['shortlist'] == 0
  by_reference = json.loads(
    (made / 'm-rnn/seed0/context/evaluation.json').read_text()
  )
  assert by_reference['convention']['context_words'] == 2
  assert row['context']['bleu'] == by_reference['bleu']['cumulative']
  assert row['context']['perplexity'] == by_reference['perplexity']['corpus']
  assert row['reference']['perplexity'] == row['perplexity']


def test_the_shortlist_is_that_of_the_paper(made, tiny_data_dir):
  """As a run that ranks by shortlist measures it itself."""
  folder = made / 'm-rnn/seed0'
  tasks.run(
    Given(
      {
        'task': 'retrieve',
        'workdir': str(folder),
        'data_dir': str(tiny_data_dir),
        'shortlist': 5,
      }
    )
  )
  queries = [
    json.loads(line)
    for line in (folder / 'retrieval.jsonl').read_text().splitlines()
  ]
  ranks = [x['rank'] for x in queries if x['query'] == 'image']
  assert len(ranks) == 12
  row = read(made)['m-rnn']
  measured = row['retrieval_shortlist']['image_to_text']
  assert measured['mean_rank'] == pytest.approx(sum(ranks) / 12)
  assert measured != row['retrieval']['image_to_text']


def test_a_rows_commands_give_its_figures(made, tiny_data_dir, tmp_path):
  row = read(made)['cca']
  commands = row['command'].replace(str(made), str(tmp_path)).split(' && ')
  assert len(commands) == 2
  for line in commands:
    values = flags.FlagValues()
    config_flags.define_flags(values)
    words = shlex.split(line)
    assert words[:3] == ['python', '-m', 'mrnn_jax.main']
    assert values(words[2:]) == ['mrnn_jax.main']
    tasks.run(config_flags.read(values, words[2:]))
  # What the commands leave is the tables' own run, to the settings.
  runs_of = plan.make_runs(
    given(tmp_path, tiny_data_dir), ['cca'], 1, 1, PROTOCOL, ''
  )
  tasks.run(runs_of[0].steps()['evaluate'])
  result = json.loads((tmp_path / 'cca/seed0/evaluation.json').read_text())
  for direction, found in row['retrieval'].items():
    assert result['retrieval'][direction] == found


def test_differences_are_to_the_mrnn(made):
  rows = read(made)
  assert set(rows['cca']['difference']) == {
    'image_to_text_r@1',
    'text_to_image_r@1',
  }
  assert set(rows['gt2']['difference']) == {'bleu_4', 'cider_d'}
  found = rows['cca']['difference']['text_to_image_r@1']
  assert found['difference'] == pytest.approx(
    rows['cca']['retrieval']['text_to_image']['r@1']
    - rows['m-rnn']['retrieval']['text_to_image']['r@1']
  )
  found = rows['gt2']['difference']
  for name, value in (('bleu_4', lambda x: x['bleu'][3]),
                      ('cider_d', lambda x: x['cider_d'])):  # fmt: skip
    assert found[name]['difference'] == pytest.approx(
      value(rows['gt2']) - value(rows['m-rnn'])
    ), name


def test_there_is_something_to_look_at(made):
  text = (made / 'tables.md').read_text()
  assert '| m-RNN ' in text
  assert 'Random' in text
  assert (made / 'figure3.png').read_bytes().startswith(b'\x89PNG')
  page = (made / 'tables.html').read_text()
  assert page.count('<polyline') == 2 * 3  # Two systems and chance.


def test_what_is_done_is_not_done_again(made, tiny_data_dir, monkeypatch):
  before = read(made)
  monkeypatch.setattr(Run, 'run', None)
  make.make(given(made, tiny_data_dir), SYSTEMS_RUN, PROTOCOL)
  assert read(made) == before
  # Other seeds are other runs, and none of them is done.
  make.make(
    given(made, tiny_data_dir), SYSTEMS_RUN, PROTOCOL, num_seeds=3, run=False
  )
  assert read(made) == before
  with pytest.raises(InputError, match='nothing is measured in .*only_print'):
    make.make(
      given(made, tiny_data_dir, seed=9), ['m-rnn'], PROTOCOL, run=False
    )


def test_stopped_and_resumed_is_uninterrupted(
  made, tiny_data_dir, tmp_path, monkeypatch
):
  run, calls = tasks.run, []

  def stops(given):
    calls.append(given.get('task'))
    if len(calls) == 3:
      raise stopping.Stopped('enough')
    run(given)

  monkeypatch.setattr(tasks, 'run', stops)
  names = ['bow', 'cca']
  with pytest.raises(stopping.Stopped):
    make.make(given(tmp_path, tiny_data_dir), names, PROTOCOL)
  assert not (tmp_path / 'tables.json').exists()
  make.make(given(tmp_path, tiny_data_dir), names, PROTOCOL)
  # The first system is not run again.
  assert calls == ['train', 'evaluate', 'train', 'train', 'evaluate']
  resumed, whole = read(tmp_path)['cca'], read(made)['cca']
  for name in ('retrieval', 'retrieval_shortlist', 'recall_curve'):
    assert resumed[name] == whole[name]


def test_runs_come_seed_by_seed_and_only_what_is_random_again():
  runs = plan.make_runs(
    Given({'workdir': 'w', 'num_epochs': 4.0, 'seed': 5}),
    ['kn3', 'mlbl-f', 'cca'],
    num_seeds=2,
    num_ranked=1,
    protocol=PROTOCOL,
    fingerprint='',
  )
  assert [(x.system.key, x.seed, x.ranked) for x in runs] == [
    ('kn3', 5, False),
    ('mlbl-f', 5, True),
    ('cca', 5, True),
    ('mlbl-f', 6, False),
  ]
  # Of fewer passes than a system is tuned to no more.
  assert runs[1].values['num_epochs'] == 4
  assert runs[1].values['weight_decay'] == SYSTEMS['mlbl-f'].flags[
    'weight_decay'
  ]  # fmt: skip


def test_estimates_by_hand():
  # 1e6 words twice at half of 13,000 words/s; V as where that was measured.
  size = plan.Size(
    words=1_000_000,
    test_words=0,
    test_images=100,
    test_sentences=500,
    vocab_size=2539,
    speed=0.5,
  )
  (run,) = plan.make_runs(
    Given({'workdir': 'w', 'num_epochs': 2.0, 'beam_size': 1,
           'norm_images': 100}),
    ['m-rnn'], 1, 1, Protocol(context_words=0), '',
  )  # fmt: skip
  system = SYSTEMS['m-rnn']
  training = 2e6 / (0.5 * system.words_per_second)
  ranking = 200 * 500 / (0.5 * system.pairs_per_second)
  assert plan.seconds(run, size, run.steps()) == pytest.approx(
    3 * 12 + training + ranking
  )
  assert plan.seconds(run, size, ['reference']) == 12
  # Nine tenths of the vocabulary less: 80 % of the cost is by words of it.
  small = plan.Size(1_000_000, 0, 100, 500, 254, 0.5)
  assert plan.seconds(run, small, run.steps()) - 36 == pytest.approx(
    0.28 * (training + ranking), rel=1e-3
  )


def parsed(*words):
  values = flags.FlagValues()
  command.define_flags(values)
  argv = ['tables', *words]
  values(argv)
  return command.read(values, argv)


@pytest.mark.parametrize(
  ('flag', 'text'),
  [
    ('--model=lbl', '--model is not for tables: choose systems by --rows'),
    ('--split=validation', '--split is not for tables: the tables decide it'),
    ('--num_processes=2', 'made by one process'),
    ('--num_seeds=0', '--num_seeds=0 is too small: at least 1'),
    ('--num_ranked=-1', '--num_ranked=-1 is too small: at least 0'),
  ],
)
def test_flags_that_are_not_for_tables(flag, text):
  with pytest.raises(InputError, match=text):
    parsed(flag)


def test_flags_hold_for_all_runs():
  found = parsed('--beam_size=7', '--shortlist=50')
  assert found.get('beam_size') == 7
  assert found.get('workdir') == 'runs/tables'
  assert command.names('') == list(SYSTEMS)
  assert command.names('cca, gt2') == ['gt2', 'cca']
  with pytest.raises(InputError, match="no system 'mlblf': did you mean mlbl"):
    command.names('mlblf')
  with pytest.raises(InputError, match='there are gt2, gt3'):
    command.names('zzz')
