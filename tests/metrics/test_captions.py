import pytest

from mrnn_jax import metrics
from mrnn_jax.runtime.errors import InputError


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
