"""Training that begins from another model."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
import small_models
import tiny_run

from data_prep import build
import mrnn_jax
from mrnn_jax import models, stored_model, tasks
from mrnn_jax.config import FIELDS, Config, Given, begin_from, complete
from mrnn_jax.config.given import FINE_TUNING
from mrnn_jax.runtime.errors import InputError

FEW = {**tiny_run.OPTIONS, 'num_epochs': 1.0, 'warmup_steps': 0}


@pytest.fixture(scope='module')
def start(tiny_workdir):
  """A model of the tiny dataset."""
  return tiny_workdir


@pytest.fixture(scope='module')
def mine(tmp_path_factory, record_maker):
  """One's own dataset: the same kind of features, and some other words."""
  folder = tmp_path_factory.mktemp('mine')
  rows, ids, features = [], [], []
  for seed, split in enumerate(('train', 'validation', 'test')):
    for record in record_maker(12, seed=7 + seed):
      ids.append(f'{split}_{record["image_id"]}')
      features.append(record['feature'])
      rows += [(ids[-1], f'{x} zebra yak', split) for x in record['captions']]
  with (folder / 'captions.csv').open('w', newline='') as f:
    csv.writer(f).writerows([('image_id', 'caption', 'split'), *rows])
  for name, encoder in (('mine', {}), ('others', {'encoder': 'another'})):
    np.savez(
      folder / f'{name}.npz',
      ids=np.asarray(ids),
      features=np.stack(features),
      **encoder,
    )
    build.build(
      build.BuildConfig(
        dataset=name,
        captions=str(folder / 'captions.csv'),
        features=str(folder / f'{name}.npz'),
        data_dir=str(folder),
      )
    )
  return folder


def train(workdir, mine, start, by_hand=(), **changes):
  sizes = ('embedding_size', 'recurrent_size', 'multimodal_size')
  values = {n: x for n, x in FEW.items() if n not in (*sizes, 'learning_rate')}
  values |= {'task': 'train', 'dataset': 'mine', 'init_from': str(start)}
  values |= {'workdir': str(workdir), 'data_dir': str(mine)} | changes
  tasks.run(Given(values, frozenset(by_hand)))


@pytest.fixture(scope='module')
def tuned(tmp_path_factory, mine, start):
  workdir = tmp_path_factory.mktemp('tuned')
  train(workdir, mine, start)
  return workdir


def test_it_begins_with_what_the_start_is(tuned, start, mine):
  began, became = (stored_model.read(x) for x in (start, tuned))
  words = became.description['vocabulary']
  old = began.description['vocabulary']
  assert words[: len(old)] == old
  assert words[len(old) :] == ['yak', 'zebra']
  np.testing.assert_array_equal(
    became.variables['statistics']['mean'],
    began.variables['statistics']['mean'],
  )
  # The images of P(w) are its own.
  own = np.load(mine / 'mine.npz')['features'][:12]
  np.testing.assert_array_equal(
    np.sort(became.norm_features, axis=0), np.sort(own, axis=0)
  )
  config = became.description['config']
  assert (config['embedding_size'], config['recurrent_size']) == (4, 6)
  assert config['learning_rate'] == FINE_TUNING['learning_rate']
  record = became.description['start']
  assert record['identity'] == mrnn_jax.load(start).identity()
  assert (record['dataset'], record['new_words']) == ('tiny', 2)


def test_the_start_itself_is_validated_first(tuned):
  lines = (tuned / 'log.jsonl').read_text().splitlines()
  first = json.loads(lines[0])
  assert first['step'] == 0
  assert first['validation_perplexity'] > 1


def test_without_a_step_it_gives_what_the_start_gives(
  mine, start, tmp_path, capsys
):
  """A start that no step improves stays the best: its scores, plainly."""
  train(tmp_path / 'W', mine, start, learning_rate=3.0, clip_norm=0.0)
  assert 'learning rate 3, warm-up 0 steps' in capsys.readouterr().out
  model, began = mrnn_jax.load(tmp_path / 'W'), mrnn_jax.load(start)
  assert model.step == 0
  features = np.load(mine / 'mine.npz')['features'][:3]
  sentence = 'A dog runs in the park .'
  tokens = np.asarray([began.encode(sentence)])

  def logits(x):
    return small_models.apply(
      x.model,
      x.variables,
      tokens[:, :-1].repeat(3, 0),
      features[:, None],
    )

  np.testing.assert_allclose(
    logits(model)[..., : len(began.vocabulary)], logits(began), atol=1e-5
  )


def test_a_run_goes_on_without_its_start(mine, start, tmp_path, tuned):
  copy = tmp_path / 'start'
  shutil.copytree(start, copy)
  train(tmp_path / 'W', mine, copy, num_epochs=2.0)
  whole = tiny_run.last_state(tmp_path / 'W')
  shutil.copytree(tmp_path / 'W', tmp_path / 'again')
  step = whole[0]
  shutil.rmtree(tmp_path / 'again/checkpoints' / str(step))
  shutil.rmtree(copy)
  assert not copy.exists()
  train(tmp_path / 'again', mine, copy, num_epochs=2.0)
  assert tiny_run.last_state(tmp_path / 'again') == whole
  with pytest.raises(InputError, match='init_from'):
    train(tmp_path / 'again', mine, tuned, num_epochs=2.0)


def test_features_of_another_encoder(mine, start, tmp_path):
  with pytest.raises(InputError, match='trained on features of "unknown"'):
    train(tmp_path / 'W', mine, start, dataset='others')
  assert not (tmp_path / 'W/checkpoints').exists()


def test_no_such_start(mine, tmp_path):
  with pytest.raises(InputError, match='no trained model in .*nothing'):
    train(tmp_path / 'W', mine, tmp_path / 'nothing')


DESCRIPTION = {
  'config': {
    'model': 'm-rnn',
    'cell': 'gru',
    'image_dropout': 0.5,
    'learning_rate': 0.002,
    'num_epochs': 14.0,
  },
  'remembered': {'beam_size': 5, 'data_dir': '/theirs'},
}


def begun(by_hand=(), **values):
  return begin_from(Given(values, frozenset(by_hand)), DESCRIPTION, 'S').values


def test_options_are_the_starts_and_training_is_ones_own():
  found = begun(init_from='S', dataset='mine', image_dropout=0.2)
  assert (found['cell'], found['image_dropout']) == ('gru', 0.2)
  assert found['beam_size'] == 5
  assert not {'num_epochs', 'data_dir'} & set(found)
  assert found['learning_rate'] == FINE_TUNING['learning_rate']
  with pytest.raises(InputError, match=r'--cell=lstm \(there: gru\): leave'):
    begun(init_from='S', cell='lstm')
  with pytest.raises(InputError, match='--model=elman'):
    begun(init_from='S', model='elman')


def test_a_learning_rate_holds_where_it_stands_beside_the_start():
  low = FINE_TUNING['learning_rate']
  flags = {'init_from': 'S', 'learning_rate': 0.002}
  # Both in a flag file, or both by hand; not of a file that knows no start.
  assert begun(**flags)['learning_rate'] == 0.002
  assert begun(flags, **flags)['learning_rate'] == 0.002
  assert begun(['init_from'], **flags)['learning_rate'] == low


@pytest.mark.parametrize(
  'name', [name for name, kind in models.MODELS.items() if kind.fitted]
)
def test_what_is_fitted_begins_from_nothing(name):
  with pytest.raises(InputError, match=f'{name} is fitted at one go'):
    Config(model=name, init_from='x')
  start = {'config': {'model': name}}
  with pytest.raises(InputError, match=f'{name} is fitted at one go'):
    complete(begin_from(Given({'init_from': 'x'}), start, 'x'))


def test_only_training_alone_may_differ():
  """What a model is at inference has no dropout, and all else."""
  for name in models.MODELS:
    left_out = models.options_of(name) - models.structure_of(name)
    assert all(x.endswith('_dropout') for x in left_out)
    assert all(FIELDS[x].metadata['of_training'] for x in left_out)
    assert dataclasses.is_dataclass(models.MODELS[name])


def test_a_model_is_used_on_any_data(mine, start, tmp_path, record_maker):
  values = {
    'task': 'evaluate',
    'model_file': str(start),
    'workdir': str(tmp_path / 'W'),
    'dataset': 'mine',
    'data_dir': str(mine),
    'retrieval': False,
  }
  tasks.run(Given(values))
  result = json.loads((tmp_path / 'W/evaluation.json').read_text())
  assert result['dataset'] == 'mine'
  assert result['convention']['trained_on'] == 'tiny'
  assert result['captions']['copied_from_training'] is None
  model, bits, words = mrnn_jax.load(start), 0.0, 0
  for record in record_maker(12, seed=9):
    texts = [f'{text} zebra yak' for text in record['captions']]
    bits -= model.log_prob(record['feature'][None], texts).sum() / np.log(2)
    words += sum(len(model.encode(text)) - 1 for text in texts)
  assert result['perplexity']['corpus'] == pytest.approx(
    2 ** (bits / words), rel=1e-4
  )
  tasks.run(Given({**values, 'task': 'retrieve'}))
  assert (tmp_path / 'W/retrieval.jsonl').exists()
  with pytest.raises(InputError, match='trained on features of "unknown"'):
    tasks.run(Given({**values, 'dataset': 'others'}))
  # Its own workdir would lose its own results.
  del values['model_file']
  with pytest.raises(InputError, match='name it by --model_file and give a'):
    tasks.run(Given({**values, 'workdir': str(start)}))
