"""Corpus BLEU (Papineni et al. 2002) by sacrebleu, on our own tokens."""

from collections.abc import Sequence
import math
from typing import Any

from mrnn_jax.metrics.captions import check_captions

MAX_ORDER = 4


def bleu(
  hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, list[float] | float]:
  """Compute BLEU-1 to BLEU-4 of a corpus (section 7.2 of the paper).

  No smoothing; the reference length of a hypothesis is that of the closest of
  its references, the shorter of two equally close ones.

  Args:
    hypotheses: [N] tokenised captions, words separated by spaces.
    references: [N] tokenised references of each hypothesis, any number each.

  Returns:
    Fractions: 'cumulative': [4] B-n = brevity penalty times the geometric mean
    of the first n precisions; 'precisions': [4] the single n-gram precisions;
    'brevity_penalty'.  Also 'references': the mean number of references.  A
    precision without an n-gram to count is 0, and so is B-n with a precision
    of 0.

  Raises:
    InputError: see ``check_captions``.
  """
  from sacrebleu.metrics import BLEU  # Late: nobody ranks or writes by it.

  check_captions(hypotheses, references)
  num_streams = max(map(len, references))
  # A missing reference must be None: '' would count as one of length 0.
  streams: list[Any] = [
    [texts[i] if i < len(texts) else None for texts in references]
    for i in range(num_streams)
  ]
  # `force` only silences the advice to detokenise.
  metric = BLEU(
    tokenize='none',
    smooth_method='none',
    max_ngram_order=MAX_ORDER,
    effective_order=False,
    force=True,
  )
  score = metric.corpus_score(list(hypotheses), streams)
  precisions = [
    correct / total if total else 0.0
    for correct, total in zip(score.counts, score.totals, strict=True)
  ]
  cumulative = []
  for n in range(1, MAX_ORDER + 1):
    # One pass gives all four: a lower maximum order counts the same n-grams.
    product = math.prod(precisions[:n])
    cumulative.append(float(score.bp * product ** (1 / n)))
  return {
    'cumulative': cumulative,
    'precisions': precisions,
    'brevity_penalty': float(score.bp),
    'references': sum(map(len, references)) / len(references),
  }
