"""Results that are not what reports read of them: one sentence each."""

import json

import pytest

from mrnn_jax.reports import evaluation_file, gallery, tables
from mrnn_jax.runtime.errors import InputError

RANKS = {'r@1': 1.0, 'r@5': 2.0, 'r@10': 3.0, 'median_rank': 4}
CURVE = {'percent': [1, 100], 'true_items': [1, 5.0], 'share': [0.2, 1]}


def evaluation():
  return {
    'dataset': 'scenes',
    'split': 'test',
    'model': 'm-rnn',
    'step': 3,
    'convention': {
      'encoder': {'name': 'a', 'weights': ''},
      'beam_size': None,
      'target_end': True,
    },
    'perplexity': {'corpus': 5.0, 'oov_rate': 0},
    'bleu': {'cumulative': [0.5, 0.4, 0.3, 0.2]},
    'captions': {'distinct': 3, 'mean_words': 5.5},
    'retrieval': {
      'image_to_text': RANKS,
      'norm_images': {'10': RANKS},
      'recall_curve': {'image_to_text': CURVE, 'text_to_image': CURVE},
    },
    'chance': {'image_to_text': RANKS},
  }


def read(tmp_path, value):
  path = tmp_path / 'evaluation.json'
  path.write_text(json.dumps(value))
  return evaluation_file.read(path, 'a command')


def test_a_sound_one_is_read(tmp_path):
  result = read(tmp_path, evaluation())
  assert result == evaluation()
  assert 'R@10' in tables.format_evaluation(result)
  read(tmp_path, {**evaluation(), 'retrieval': None, 'chance': None})


@pytest.mark.parametrize(
  ('place', 'value', 'message'),
  [
    (['step'], '3', 'has \'3\' as "step"'),
    (['dataset'], ['x'], 'has a list as "dataset"'),
    (['convention', 'seed'], [1], 'has a list as "convention.seed"'),
    (['perplexity'], 3, 'has 3 as "perplexity"'),
    (['perplexity', 'corpus'], 'low', '"perplexity.corpus"'),
    (['bleu', 'cumulative'], 'abcd', '"bleu.cumulative"'),
    (['bleu', 'cumulative'], [{}], '"bleu.cumulative[0]"'),
    (['captions', 'distinct'], 3.5, 'has 3.5 as "captions.distinct"'),
    (['cider_d'], [], '"cider_d"'),
    (['retrieval', 'image_to_text'], 3, '"retrieval.image_to_text"'),
    (['retrieval', 'image_to_text'], {'r@1': []}, 'image_to_text.r@1"'),
    (
      ['retrieval', 'norm_images', '10'],
      {},
      'lacks "retrieval.norm_images.10.',
    ),
    (['retrieval', 'recall_curve'], {'image_to_text': CURVE}, 'lacks "retri'),
    (
      ['retrieval', 'recall_curve', 'text_to_image'],
      {**CURVE, 'percent': [1]},
      'has no curve as "text_to_image"',
    ),
    (
      ['retrieval', 'recall_curve', 'text_to_image'],
      {**CURVE, 'percent': [1, 0]},
      'ends at 0',
    ),
    (['chance'], 3, 'has 3 as "chance"'),
  ],
)
def test_what_is_not_sound(tmp_path, place, value, message):
  result = evaluation()
  # Its parts are shared by the module.
  inner = result = json.loads(json.dumps(result))
  for key in place[:-1]:
    inner = inner[key]
  inner[place[-1]] = value
  with pytest.raises(InputError) as error:
    read(tmp_path, result)
  assert message in str(error.value)
  assert str(error.value).endswith(': make it again by "a command".')


FOUND = {'image_id': 'b', 'score': 1.0}


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ({'query': 'image', 'top': [FOUND]}, 'lacks "top[0].caption"'),
    ({'query': 'sentence', 'top': [FOUND]}, 'lacks "caption"'),
    ({'query': 'sentence', 'top': 3}, 'lacks "caption"'),
    ({'query': 'image', 'top': [3]}, 'has 3 as "top[0]"'),
    ({'query': ['x'], 'top': [FOUND]}, 'has a list as "query"'),
  ],
)
def test_queries(tmp_path, line, message):
  path = tmp_path / 'retrieval.jsonl'
  path.write_text(json.dumps({'image_id': 'a', 'rank': 1, **line}))
  with pytest.raises(InputError) as error:
    gallery.read_queries(path)
  assert f'retrieval.jsonl:1 {message}' in str(error.value)
