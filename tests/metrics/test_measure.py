import json
import math

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


def test_golden_values():
  """All measures of three captions, worked out by hand."""
  result = metrics.measure_captions(HYPOTHESES, REFERENCES, ['A dog runs!'])
  # Words that match: 2 of 2, 3 of 3, 0 of 2; the closest references have 2, 3
  # and 6 words.
  precisions = [5 / 7, 3 / 4, 1, 0]
  shortness = math.exp(1 - 11 / 7)
  # Of three documents: 'a' is in all and weighs nothing, 'the' in two.
  one, two = math.log(3), math.log(3 / 2)
  same_dog = 3 / 4  # As long as 4-grams are lacking.
  other_dog = one / math.sqrt(2) / math.sqrt(3 * one**2 + two**2) / 4
  dog = (same_dog + other_dog * math.exp(-1 / 72)) / 2
  people = (2 / 4 + 0 + 1 / 2 / 4) / 3
  assert result == {
    'bleu': {
      'cumulative': pytest.approx(
        [
          shortness * 5 / 7,
          shortness * math.sqrt(15 / 28),
          shortness * (15 / 28) ** (1 / 3),
          0,
        ]
      ),
      'precisions': pytest.approx(precisions),
      'brevity_penalty': pytest.approx(shortness),
      'references': 2.0,
    },
    'cider_d': pytest.approx(10 * (dog + people + 0) / 3),
    'rouge_l': pytest.approx(2 / 3),
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
    ({'a': 'x'}, {'a': ['x'], 'b': ['y'], 'c': ['y']}, r"'b' \(and 1 more\)"),
    ({'a': 'x'}, {'a': []}, "Image 'a' has an empty list"),
    ({'a': 'x', 'b': 'x'}, {'a': ['x'], 'b': []}, "Image 'b' has an empty"),
    ({'a': 'x', 'b': 'x'}, {'a': ['x'], 'b': ['!']}, "Image 'b' has a ref"),
    ({'a': 'x'}, {'a': ['x', '...']}, "Image 'a' has a reference without"),
    ({}, {}, 'no hypothesis'),
  ],
)
def test_refuses_what_cannot_be_measured(hypotheses, references, message):
  with pytest.raises(InputError, match=message):
    metrics.measure_captions(hypotheses, references)
