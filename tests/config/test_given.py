"""What is given and what a workdir remembers: merged first, checked then."""

import pytest

from mrnn_jax import PRETRAINED, stored_model
from mrnn_jax.config import Config, Given, complete
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import run_record

# What programs wrote before models declared their options.
OLD = {
  'dataset': 'flickr8k',
  'min_word_count': 5,
  'model': 'rnn-base',
  'embedding_size': 128,
  'recurrent_size': 256,
  'multimodal_size': 512,
  'embedding_activation': 'none',
  'embedding_bias': True,
  'multimodal_bias': False,
  'recurrent_scale': 0.9,
  'feature_scaling': 'standardize',
  'word_dropout': 0.5,
  'recurrent_dropout': 0.5,
  'multimodal_dropout': 0.5,
  'image_dropout': 0.3,
  'batch_size': 100,
  'num_epochs': 14.0,
  'optimizer': 'adamw',
  'learning_rate': 0.002,
  'momentum': 0.9,
  'schedule': 'cosine',
  'warmup_steps': 200,
  'final_learning_rate': 0.01,
  'decay_factor': 0.5,
  'decay_epochs': 4.0,
  'decay_patience': 1,
  'l2': 0.0,
  'weight_decay': 0.3,
  'clip_norm': 5.0,
  'eval_every_steps': 0,
  'patience': 4,
  'seed': 0,
  'captions_per_row': 2,
  'num_buckets': 4,
  'compute_dtype': 'float32',
}


def described(config=OLD, **remembered):
  return {'config': config, 'remembered': remembered}


def test_what_is_given_prevails_over_what_is_remembered():
  stored = described(beam_size=5, no_repeat_ngram=2, data_dir='/d')
  config = complete(Given({'beam_size': 9}), stored, 'W')
  assert (config.beam_size, config.no_repeat_ngram) == (9, 2)
  assert (config.data_dir, config.nbest) == ('/d', 1)
  # Of a file that was written before.
  config = complete(Given(), {'config': OLD}, 'W')
  assert (config.beam_size, config.no_repeat_ngram) == (3, 0)


def test_a_given_default_prevails_too():
  stored = described(beam_size=5)
  assert complete(Given({'beam_size': 3}), stored, 'W').beam_size == 3


def test_checks_see_the_remembered_values():
  """By default a beam of 3 keeps no 5, and no caption has 40 words."""
  config = complete(Given({'nbest': 5}), described(beam_size=5), 'W')
  assert (config.nbest, config.beam_size) == (5, 5)
  config = complete(Given({'min_words': 40}), described(max_words=50), 'W')
  assert (config.min_words, config.max_words) == (40, 50)
  with pytest.raises(InputError, match='--min_words=9 is above --max_words=8'):
    complete(Given({'max_words': 8}), described(min_words=9), 'W')


@pytest.mark.parametrize(
  ('asked', 'size'),
  [
    ({'nbest': 4}, 5),
    ({'nbest': 6}, 6),
    ({'beam_groups': 2}, 6),
    ({'beam_groups': 5, 'nbest': 2}, 5),
    ({'beam_groups': 3, 'nbest': 7}, 9),
    ({'sample': True, 'nbest': 9}, 5),
  ],
)
def test_the_beam_grows_to_what_is_asked_for(asked, size):
  given = Given({'task': 'caption', **asked})
  assert complete(given, described(beam_size=5), 'W').beam_size == size


@pytest.mark.parametrize(
  ('asked', 'message'),
  [
    ({'nbest': 5}, '--beam_size=4 keeps'),
    ({'beam_groups': 3}, '--beam_size=4 does not divide'),
  ],
)
def test_a_beam_given_by_hand_is_as_it_is_given(asked, message):
  given = Given({'task': 'caption', 'beam_size': 4, **asked}, {'beam_size'})
  with pytest.raises(InputError, match=message):
    complete(given, described(beam_size=2), 'W')


def test_the_pretrained_model_remembers_a_beam_of_5():
  description = stored_model.read(PRETRAINED).description
  given = Given({'task': 'caption', 'photos': 'p', 'nbest': 5})
  assert complete(given, description, PRETRAINED).beam_size == 5


def test_a_workdir_refuses_other_settings():
  with pytest.raises(
    InputError,
    match=r'^W holds a run with other settings than --embedding_size=64 '
    r'\(there: 128\), --seed=1 \(there: 0\): give another --workdir',
  ):
    complete(Given({'embedding_size': 64, 'seed': 1}), described(), 'W')
  same = complete(Given({'embedding_size': 128}), described(), 'W')
  assert (same.learning_rate, same.weight_decay) == (0.002, 0.3)


@pytest.mark.parametrize(
  ('name', 'value', 'default'),
  [('cell', 'gru', 'simple'), ('tie_softmax', True, False)],
)
def test_fields_that_came_later_have_their_defaults(name, value, default):
  """A workdir of before has no such field, and is no other run for it."""
  with pytest.raises(InputError, match=rf'--{name}={value} \(there: {default}'):
    complete(Given({'task': 'evaluate', name: value}), described(), 'W')
  given = Given({'task': 'evaluate', name: default})
  assert getattr(complete(given, described(), 'W'), name) == default


def test_another_model_is_refused():
  with pytest.raises(InputError, match=r'--model=m-rnn \(there: rnn-base\)'):
    complete(Given({'model': 'm-rnn'}), described(), 'W')
  with pytest.raises(InputError, match="W holds a model 'gpt', which"):
    complete(Given(), described(OLD | {'model': 'gpt'}), 'W')


def test_options_of_other_models_are_passed_over():
  # In a flag file; there, and in a workdir that an old program wrote.
  given = Given({'image_dropout': 0.5})
  config = complete(given, described(), 'W')
  assert 'image_dropout' not in config.fixed()
  assert config == complete(Given(), described(), 'W')
  given = Given({'image_dropout': 0.5, 'model': 'rnn-base'})
  assert complete(given) == Config(model='rnn-base')
  # The m-RNN has it, and holds it fast.
  with pytest.raises(InputError, match=r'image_dropout=0.5 \(there: 0.3\)'):
    complete(
      Given({'image_dropout': 0.5}), described(OLD | {'model': 'm-rnn'}), 'W'
    )


def test_what_the_task_does_not_use_is_left_out():
  """In a flag file; else what is unused might contradict what is used."""
  given = Given({'task': 'retrieve', 'nbest': 9, 'model_file': 'M'})
  assert given.values == {'task': 'retrieve', 'model_file': 'M'}
  assert given.get('nbest') == 1
  assert Given({'task': 'train', 'model_file': 'M'}).get('model_file') == ''


def test_values_are_checked_at_once():
  with pytest.raises(InputError, match='--beam_size=0 is too small'):
    Given({'beam_size': 0})


def check(stored, **wanted):
  dataset = {'name': 'flickr8k'}
  run_record.check_description(
    {'config': stored, 'dataset': dataset},
    {'config': Config(**wanted).fixed(), 'dataset': dataset},
    'W',
  )


def test_training_goes_on_with_what_an_old_program_began():
  run = {'num_epochs': 14.0, 'learning_rate': 0.002, 'weight_decay': 0.3}
  check(OLD, model='rnn-base', **run)
  with pytest.raises(InputError, match='seed is 1, there 0'):
    check(OLD, model='rnn-base', seed=1, **run)
  with pytest.raises(InputError, match='cell is gru, there simple'):
    check(OLD, model='rnn-base', cell='gru', **run)
  with pytest.raises(InputError, match=r'image_dropout is 0.0, there 0.3'):
    check(OLD | {'model': 'm-rnn'}, **run)
