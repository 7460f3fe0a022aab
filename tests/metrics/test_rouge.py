from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from mrnn_jax import metrics


def _longest_common(a, b):
  rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
  for i, x in enumerate(a):
    for j, y in enumerate(b):
      rows[i + 1][j + 1] = (
        rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
      )
  return rows[-1][-1]


def test_golden_values(golden_case):
  hypotheses, references, golden = golden_case
  result = metrics.rouge_l(hypotheses, references)
  assert result == pytest.approx(golden['rouge_l'], abs=1e-6)


def test_precision_and_recall_may_come_from_different_references():
  # Precision 1 from the first, recall 1 from the second.
  result = metrics.rouge_l(['a b'], [['a x b y', 'b']])
  assert result == pytest.approx([1.0])


_sentences = st.lists(st.sampled_from('abcd'), min_size=1, max_size=80)


@settings(deadline=None, max_examples=50)
@given(_sentences, st.lists(_sentences, min_size=1, max_size=3))
def test_is_the_formula_over_the_dynamic_programme(hypothesis, references):
  common = [_longest_common(hypothesis, other) for other in references]
  p = max(n / len(hypothesis) for n in common)
  r = max(n / len(x) for n, x in zip(common, references, strict=True))
  expected = 2.44 * p * r / (r + 1.44 * p) if p else 0.0
  result = metrics.rouge_l(
    [' '.join(hypothesis)], [[' '.join(other) for other in references]]
  )
  assert result == pytest.approx([expected])
