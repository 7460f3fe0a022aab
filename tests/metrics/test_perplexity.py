import numpy as np
import pytest

from mrnn_jax import metrics
from mrnn_jax.runtime.errors import InputError


def test_golden_values():
  # Two words and an end; one word and an end.
  result = metrics.perplexity(
    np.array([-6.0, -8.0]),
    np.array([3, 2]),
    np.array([-1.0, -2.0]),
    np.array([1, 0]),
  )
  assert result == pytest.approx(
    {
      'corpus': 2 ** (14 / 5),
      'geometric_mean': 2 ** ((6 / 3 + 8 / 2) / 2),
      'without_end': 2 ** ((5 + 6) / 3),
      'oov_rate': 1 / 3,
    },
    rel=1e-12,
  )
  assert all(type(value) is float for value in result.values())


def test_uniform_model_has_the_size_of_its_vocabulary():
  lengths = np.array([2, 5, 9])
  result = metrics.perplexity(
    -np.log2(100) * lengths, lengths, np.full(3, -np.log2(100)), np.zeros(3)
  )
  for name in ('corpus', 'geometric_mean', 'without_end'):
    assert result[name] == pytest.approx(100)


def test_sums_are_float64_whatever_the_input():
  n = 10**5
  result = metrics.perplexity(
    np.full(n, -30.1, np.float32),
    np.full(n, 10, np.int32),
    np.full(n, -0.1, np.float32),
    np.zeros(n, np.int32),
  )
  assert np.log2(result['corpus']) == pytest.approx(3.01, abs=1e-7)
  assert np.log2(result['without_end']) == pytest.approx(30 / 9, abs=1e-7)


@pytest.mark.parametrize(
  ('arrays', 'message'),
  [
    (([], [], [], []), 'no caption'),
    (([-1, -np.inf], [2, 2], [-1, -1], [0, 0]), 'caption 1 is not finite'),
    (([np.nan], [2], [-1], [0]), 'caption 0 is not finite'),
    (([-3], [2], [-np.inf], [0]), 'caption 0 is not finite'),
    (([-3], [1], [-3], [0]), 'no word'),
    (([-3, -3], [2, 0], [-1, -1], [0, 0]), 'Caption 1 cannot have 0 targets'),
    (([-3], [2], [-1], [2]), 'Caption 0 cannot have 2 targets'),
    (([-3], [2], [-1], [-1]), 'Caption 0 cannot have 2 targets'),
    (([-3], [np.nan], [-1], [0]), 'Caption 0 cannot have nan targets'),
    (([-1e5], [2], [-1], [0]), 'too large'),
    (([-3, -3], [2, 2], [-1], [0, 0]), 'four arrays'),
  ],
)
def test_is_an_error_never_a_number(arrays, message):
  with pytest.raises(InputError, match=message):
    metrics.perplexity(*map(np.array, arrays))
