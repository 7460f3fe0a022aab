"""A benchmark of two sides that get different results is a failure."""

import dataclasses

import numpy as np
import pytest

from mrnn_jax.runtime.errors import InputError
from tests.benchmarks import decode, harness, rank, run, tables, work

SCORES = np.linspace(-150, -20, 12, dtype=np.float32).reshape(4, 3)


def test_scores_may_differ_by_rounding():
  theirs = SCORES[:, :2] * (1 + 1e-6)
  said = rank.agreement((SCORES, False), theirs)
  assert '8 log-probabilities' in said
  # Of operands with 8 bits, a hundredth.
  rank.agreement((SCORES * 1.01, True), theirs)


@pytest.mark.parametrize(
  ('rounded', 'wrong'),
  [
    (False, SCORES * 1.001),  # Operands of fewer bits than are said.
    (False, SCORES + 0.01),
    (True, SCORES * 1.1),  # A word of ten left out.
    (True, -SCORES),
    (False, np.where(SCORES < -140, np.nan, SCORES)),
  ],
)
def test_scores_that_differ_by_more_do_not_agree(rounded, wrong):
  with pytest.raises(harness.DisagreementError, match='largest difference'):
    rank.agreement((wrong, rounded), SCORES)


def test_one_caption_of_fifty_may_differ():
  ours = [[4, i] for i in range(100)]
  theirs = [*ours[:98], [4, 0], [4]]
  assert decode.agreement(ours, theirs).startswith('98 of 100 captions')
  theirs[0] = [5]
  with pytest.raises(harness.DisagreementError, match='97 of 100'):
    decode.agreement(ours, theirs)


class Counting(work.Work):
  """Counts to a number."""

  framework = 'torch'
  unit = 'numbers'

  def __init__(self, number: int):
    self._number = number

  def run(self):
    return work.Done(self._number)

  def answer(self):
    return self._number


def must_be_equal(ours, theirs):
  if ours != theirs:
    raise harness.DisagreementError(f'{ours} is not {theirs}')
  return 'equal'


@pytest.mark.parametrize(('theirs', 'agrees'), [(3, True), (4, False)])
def test_what_differs_is_told_and_ends_the_command(monkeypatch, theirs, agrees):
  monkeypatch.setattr(work.machine, 'describe', lambda framework: {})
  ours, theirs = (
    work.Task('tests.benchmarks.test_agreement:Counting', {'number': n})
    for n in (3, theirs)
  )
  comparison = harness.Comparison(
    'counting',
    ours,
    theirs,
    check='tests.benchmarks.test_agreement:must_be_equal',
  )
  result = harness.compare(comparison, harness.Options(repeats=1), work.Bench)
  assert result.agrees == agrees
  results = {'suites': {'one': {'comparisons': [result.as_json()]}}}
  text = tables.format_result(result)
  if agrees:
    assert 'results: equal' in text
    run.refuse_disagreement(results)
    return
  assert 'results are NOT the same: 3 is not 4' in text
  with pytest.raises(InputError, match=r'counting: .* \(3 is not 4\)'):
    run.refuse_disagreement(results)
  # Nobody to compare with, nothing to disagree with.
  alone = dataclasses.replace(comparison, theirs=None)
  assert harness.compare(alone, harness.Options(repeats=1), work.Bench).agrees
