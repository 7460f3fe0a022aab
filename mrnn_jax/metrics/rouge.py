"""ROUGE-L (Lin 2004) as the COCO caption evaluation computes it."""

from collections.abc import Sequence

import numpy as np

from mrnn_jax.metrics.captions import check_captions

BETA = 1.2


def rouge_l(
  hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> np.ndarray:
  """Compute the ROUGE-L of each hypothesis; the mean is the corpus's.

  From the length of the longest common subsequence, precision p and recall r,
  each the largest over the references taken separately:
  (1 + beta^2) p r / (r + beta^2 p), beta = 1.2.

  Args:
    hypotheses: [N] tokenised captions, words separated by spaces.
    references: [N] tokenised references of each hypothesis, any number each.

  Returns:
    [N] float64, 0 to 1; 0 for a hypothesis without words.

  Raises:
    InputError: see ``check_captions``.
  """
  check_captions(hypotheses, references)
  scores = np.zeros(len(hypotheses))
  for i, (hypothesis, texts) in enumerate(
    zip(hypotheses, references, strict=True)
  ):
    words = hypothesis.split()
    others = [text.split() for text in texts]
    common = [_common_length(words, other) for other in others]
    if not any(common):
      continue
    precision = max(common) / len(words)
    recall = max(
      n / len(other) for n, other in zip(common, others, strict=True)
    )
    scores[i] = (
      (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
    )
  return scores


def _common_length(a: Sequence[str], b: Sequence[str]) -> int:
  """Return the length of the longest common subsequence of two sentences.

  One row of the dynamic programme lies in the bits of one integer: a bit is 0
  where the length grows by one (Hyyro 2004), so that a word costs a few
  operations.
  """
  places: dict[str, int] = {}
  for i, word in enumerate(a):
    places[word] = places.get(word, 0) | 1 << i
  full = (1 << len(a)) - 1
  row = full
  for word in b:
    matches = row & places.get(word, 0)
    row = ((row + matches) | (row - matches)) & full
  return len(a) - row.bit_count()
