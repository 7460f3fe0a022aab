import json

import pytest

from mrnn_jax import metrics
from mrnn_jax.runtime.errors import InputError

REFERENCES = {
  'x.jpg': ['A dog runs .', 'The dog is running'],
  'y.jpg': ['Two cats sleep on a bed .'],
  'z.jpg': ['People walk', 'A crowd on the street', 'Some people'],
}
HYPOTHESES = {
  'z.jpg': 'People walk.',
  'x.jpg': 'A DOG, runs',
  'y.jpg': 'people walk',
}


def test_has_the_parts_of_the_evaluation_file():
  result = metrics.measure_captions(HYPOTHESES, REFERENCES, ['A dog runs!'])
  texts = ['people walk', 'a dog runs', 'people walk']
  others = [
    ['people walk', 'a crowd on the street', 'some people'],
    ['a dog runs', 'the dog is running'],
    ['two cats sleep on a bed'],
  ]
  assert result == {
    'bleu': metrics.bleu(texts, others),
    'cider_d': pytest.approx(metrics.cider_d(texts, others).mean()),
    'rouge_l': pytest.approx(metrics.rouge_l(texts, others).mean()),
    'captions': {
      'distinct': 2,
      'copied_from_training': pytest.approx(1 / 3),
      'mean_words': pytest.approx(7 / 3),
    },
  }
  assert json.loads(json.dumps(result)) == result


def test_order_does_not_matter():
  assert metrics.measure_captions(
    dict(sorted(HYPOTHESES.items())), REFERENCES
  ) == metrics.measure_captions(HYPOTHESES, REFERENCES)


def test_copies_are_unknown_without_training_captions():
  result = metrics.caption_statistics(['a dog', 'a cat'])
  assert result == {
    'distinct': 2,
    'copied_from_training': None,
    'mean_words': 2.0,
  }
  result = metrics.caption_statistics(['a dog', 'A Dog.', ''], iter(['a dog']))
  assert result == {
    'distinct': 2,
    'copied_from_training': pytest.approx(2 / 3),
    'mean_words': pytest.approx(4 / 3),
  }


@pytest.mark.parametrize(
  ('hypotheses', 'references', 'message'),
  [
    ({'a': 'x'}, {'a': ['x'], 'b': ['y']}, "Image 'b' has references, no"),
    ({'a': 'x', 'c': 'z'}, {'a': ['x']}, "Image 'c' has a hypothesis, no"),
    (
      {'a': 'x'},
      {'a': ['x'], 'd': ['y'], 'c': ['y'], 'e': ['y']},
      r"Image 'c' \(and 2 more\)",
    ),
    ({'a': 'x'}, {'a': []}, "Image 'a' has an empty list"),
    ({'a': 'x'}, {'a': ['x', '...']}, "Image 'a' has a reference without"),
    ({}, {}, 'no hypothesis'),
  ],
)
def test_refuses_what_cannot_be_measured(hypotheses, references, message):
  with pytest.raises(InputError, match=message):
    metrics.measure_captions(hypotheses, references)


@pytest.mark.parametrize(
  'measure', [metrics.bleu, metrics.cider_d, metrics.rouge_l]
)
@pytest.mark.parametrize(
  ('hypotheses', 'references', 'message'),
  [
    ([], [], 'no hypothesis'),
    (['a'], [['a'], ['b']], '1 hypotheses cannot .* references of 2'),
    (['a', 'b'], [['a'], []], 'Hypothesis 1 has no reference'),
    (['a', 'b'], [['a'], ['b', ' ']], 'Hypothesis 1 has a reference without'),
    (['a'], ['a'], 'not a list of strings'),
  ],
)
def test_every_measure_checks_its_input(
  measure, hypotheses, references, message
):
  with pytest.raises(InputError, match=message):
    measure(hypotheses, references)


def test_statistics_need_a_caption():
  with pytest.raises(InputError, match='no hypothesis'):
    metrics.caption_statistics([])
