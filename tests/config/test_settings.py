"""What ``Config`` consists of: groups, models' options, tasks."""

import dataclasses

import pytest

from mrnn_jax import config as config_lib
from mrnn_jax import tasks
from mrnn_jax.config import model_fields
from mrnn_jax.config.settings import fixed_names
from mrnn_jax.models import contract
from mrnn_jax.runtime.errors import InputError

Config, FIELDS = config_lib.Config, config_lib.FIELDS


def test_every_field_is_in_one_group():
  names = [name for group in config_lib.GROUPS for name in group.names()]
  assert names == list(FIELDS)
  # A model's option of the name of another field would hide it.
  assert len(set(names)) == len(names)


def test_fields_are_for_tasks_that_there_are():
  for name, field in FIELDS.items():
    assert set(field.metadata['tasks']) <= set(config_lib.TASKS), name
    assert field.metadata['help'].strip(), name


def test_what_is_remembered_is_chosen_with_the_model():
  assert config_lib.REMEMBERED == (
    'data_dir',
    'eval_views',
    'beam_size',
    'length_penalty',
    'max_words',
    'min_words',
    'no_repeat_ngram',
    'norm_images',
    'first_caption_only',
    'shortlist',
  )
  for name in config_lib.REMEMBERED:
    assert {'train', 'train_and_evaluate'} <= set(
      FIELDS[name].metadata['tasks']
    )


def test_each_task_has_its_function_and_its_facts():
  assert list(tasks.FUNCTIONS) == list(config_lib.TASKS)
  facts = config_lib.TASKS.items()
  assert {name for name, task in facts if not task.shared} == {'report'}
  assert {name for name, task in facts if task.writes_workdir} == {
    'train_and_evaluate',
    'train',
    'evaluate',
    'caption',
    'retrieve',
    'calibrate',
  }
  assert FIELDS['task'].metadata['help'] == (
    'train; or, with the best model: evaluate (perplexity, BLEU, CIDEr-D, '
    'ROUGE-L, retrieval); caption; retrieve; rank (photos and sentences of '
    'your own); calibrate (how sure its captions are, by the validation '
    'split); score (files of pairs); report (a page of what was written); '
    'export (one file). train_and_evaluate does both.'
  )


def test_a_model_brings_its_options():
  @dataclasses.dataclass
  class NewModel:
    depth: int = contract.option(2, 'Layers.', low=1, high=9)
    kind: str = contract.option('a', 'Which.', choices=('a', 'b'))

  options = {field.name: field for field in dataclasses.fields(NewModel)}
  fields = model_fields.make(('old', 'new'), options)
  made = {field.name: field for field in dataclasses.fields(fields)}
  assert list(made) == ['model', 'depth', 'kind']
  assert made['model'].metadata['choices'] == ('old', 'new')
  assert (made['depth'].type, made['depth'].default) == (int, 2)
  depth = made['depth'].metadata
  assert (depth['help'], depth['low'], depth['high']) == ('Layers.', 1, 9)
  assert made['kind'].metadata['choices'] == ('a', 'b')
  # Those of the model's class are its own.
  assert options['depth'] is not made['depth']
  assert 'tasks' not in options['depth'].metadata


def test_a_workdir_holds_the_options_of_its_model_alone(monkeypatch):
  fixed = Config(model='rnn-base', image_dropout=0.3).fixed()
  assert fixed['model'] == 'rnn-base'
  assert fixed['recurrent_size'] == 256
  assert not {'image_dropout', 'feature_scaling'} & set(fixed)
  assert Config(image_dropout=0.3).fixed()['image_dropout'] == 0.3
  # A further model in front of the others, with an option of its own.
  before = fixed_names('m-rnn')
  new = type('New', (contract.Model,), {'__annotations__': {}})
  models = {'new': new, **model_fields.models.MODELS}
  monkeypatch.setattr(model_fields.models, 'MODELS', models)
  assert fixed_names('m-rnn') == before


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'batch_size': 0}, 'too small'),
    ({'word_dropout': 1.0}, 'too large'),
    ({'learning_rate': 0.0}, 'above 0'),
    ({'learning_rate': float('nan')}, 'above 0'),
    ({'model': 'gpt'}, 'choose one of m-rnn, rnn-base'),
    ({'nbest': 5, 'beam_size': 3}, 'raise --beam_size'),
    ({'context_words': 2}, '--length_protocol=reference'),
    ({'rerank_neighbors': 60, 'beam_size': 1}, 'among hypotheses of a beam'),
    ({'rerank_neighbors': 60, 'sample': True}, 'among hypotheses of a beam'),
    ({'photos': 'a', 'features': 'b', 'task': 'caption'}, 'not both'),
    ({'min_words': 9, 'max_words': 8}, 'is above --max_words=8'),
  ],
)
def test_a_configuration_is_checked(values, message):
  with pytest.raises(InputError, match=message):
    Config(**values)


def test_unused_values_are_nobodys_mistake_in_python():
  config = Config(
    task='evaluate', top_k=5, prefix='a dog', momentum=0.5, shard='0/4'
  )
  assert (config.top_k, config.prefix) == (5, 'a dog')
