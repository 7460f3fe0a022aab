import math

import pytest
import sacrebleu

from mrnn_jax import metrics


def test_golden_values(golden_case):
  hypotheses, references, golden = golden_case
  result = metrics.bleu(hypotheses, references)
  for name in ('cumulative', 'precisions', 'brevity_penalty'):
    assert result[name] == pytest.approx(golden[name], abs=1e-6)
  assert result['references'] == pytest.approx(
    sum(map(len, references)) / len(references)
  )


@pytest.mark.parametrize('n', [1, 2, 3, 4])
def test_cumulative_is_sacrebleu_of_that_order(golden, n):
  references = [texts[:1] for texts in golden['references']]
  metric = sacrebleu.BLEU(
    tokenize='none', smooth_method='none', max_ngram_order=n
  )
  score = metric.corpus_score(
    golden['hypotheses'], [[texts[0] for texts in references]]
  )
  result = metrics.bleu(golden['hypotheses'], references)
  assert result['cumulative'][n - 1] == pytest.approx(score.score / 100)
  assert result['precisions'][:n] == pytest.approx(
    [p / 100 for p in score.precisions]
  )


@pytest.mark.parametrize(
  ('hypothesis', 'lengths', 'closest'),
  [
    (3, (2, 4), 2),
    (3, (4, 2), 2),
    (3, (1, 4), 4),
    (3, (5, 4, 9), 4),
    (5, (6, 4, 5), 5),
  ],
)
def test_reference_length_is_the_closest_the_shorter_of_two(
  hypothesis, lengths, closest
):
  result = metrics.bleu(
    [' '.join('a' * hypothesis)], [[' '.join('a' * n) for n in lengths]]
  )
  expected = min(1.0, math.exp(1 - closest / hypothesis))
  assert result['brevity_penalty'] == pytest.approx(expected)


def test_missing_references_are_no_empty_ones():
  # An empty reference of the first caption would be closer than four words.
  result = metrics.bleu(['a', 'a b'], [['a b c d'], ['a b', 'a']])
  assert result['brevity_penalty'] == pytest.approx(math.exp(1 - 6 / 3))
  assert result['references'] == 1.5


def test_without_matches_or_words_it_is_zero_and_silent(caplog, capfd):
  result = metrics.bleu(['a b c d', 'e f'], [['a b x y'], ['z']])
  assert result['precisions'] == pytest.approx([2 / 6, 1 / 4, 0, 0])
  assert result['cumulative'] == pytest.approx([1 / 3, math.sqrt(1 / 12), 0, 0])
  result = metrics.bleu(['', ''], [['a'], ['b c']])
  assert result['cumulative'] == result['precisions'] == [0.0] * 4
  assert result['brevity_penalty'] == 0.0
  assert metrics.bleu(['', 'a b'], [['a'], ['a b']])['precisions'] == [
    1.0,
    1.0,
    0.0,
    0.0,
  ]
  metrics.bleu(['a .'] * 200, [['a .']] * 200)
  assert not caplog.records
  assert capfd.readouterr() == ('', '')
