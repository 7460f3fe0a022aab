"""n-gram probabilities from counts: Katz back-off, interpolated Kneser-Ney.

Both give, for each n-gram that is kept, the probability of its last word, and
for each context the weight of the shorter one:

  p(w | h) = the probability of h w,       where h w is kept
           = weight(h) p(w | h shortened)  else

Captions begin with ``##START##``, which is never predicted, and end with
``##END##``, which is; no n-gram goes beyond a caption.

All is plain NumPy.  Letters: G n-grams of an order, V vocabulary.
"""

from collections.abc import Callable, Sequence
import dataclasses
import warnings

import numpy as np

from mrnn_jax.data.vocabulary import PAD, START

# Counts up to this are discounted by Good and Turing's formula.
_DISCOUNTED = 5
# From this order on, n-grams that were seen once are left to shorter contexts.
_FIRST_WITHOUT_SINGLETONS = 3
_TINY = 1e-9


@dataclasses.dataclass(frozen=True)
class Level:
  """The n-grams of one order that are kept, sorted; of order 1 all V words.

  Attributes:
    parents: [G] the number of the n-gram without its last word, among those of
      the order below; 0 for order 1.
    words: [G] the last word, ascending among those of one parent.
    probs: [G] of the last word after the others.
    weights: [G] of the shorter context, where this one is the context.
  """

  parents: np.ndarray
  words: np.ndarray
  probs: np.ndarray
  weights: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Grams:
  """All n-grams of one order that were seen, sorted; of order 1 all V words.

  Attributes:
    counts: [G] how often.
    begins: [G] whether it begins with ``##START##``.
    words: [G] the last word.
    parents: [G] the number of all words but the last, in the order below.
    suffixes: [G] the number of all words but the first, in the order below.
  """

  counts: np.ndarray
  begins: np.ndarray
  words: np.ndarray
  parents: np.ndarray
  suffixes: np.ndarray


def _count(
  tokens: np.ndarray, offsets: np.ndarray, order: int, num_words: int
) -> list[_Grams]:
  """Count the n-grams of captions, of order 1 up to the model's."""
  tokens = np.asarray(tokens, np.int64)
  place = np.arange(len(tokens)) - np.repeat(offsets[:-1], np.diff(offsets))
  words = np.arange(num_words)
  nothing = np.zeros(num_words, np.int64)
  counts = np.bincount(tokens, minlength=num_words)
  found = [_Grams(counts, words == START, words, nothing, nothing)]
  # [tokens] the number of the n-gram that ends with each word.
  number = tokens
  for n in range(2, order + 1):
    ends = np.flatnonzero(place >= n - 1)
    keys, first, inverse, counts = np.unique(
      number[ends - 1] * num_words + tokens[ends],
      return_index=True,
      return_inverse=True,
      return_counts=True,
    )
    found.append(
      _Grams(
        counts=counts,
        begins=place[ends[first]] == n - 1,
        words=keys % num_words,
        parents=keys // num_words,
        suffixes=number[ends[first]],
      )
    )
    number = number.copy()
    number[ends] = inverse
  return found


def _sums(groups: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
  """Return [size] sums of values [G] by group [G]."""
  return np.bincount(groups, weights=values, minlength=size)


def _predictable(num_words: int) -> np.ndarray:
  """Return [V] which words may be predicted."""
  return ~np.isin(np.arange(num_words), (PAD, START))


def good_turing(counts: np.ndarray, what: str) -> np.ndarray:
  """Return what counts of 0 to 5 are multiplied by (Katz 1987).

  Where the formula gives nothing that can be relied on a count stays as it is,
  and a warning says so.

  Args:
    counts: [G] of the n-grams that were seen.
    what: the name of these.
  """
  number = np.bincount(counts, minlength=_DISCOUNTED + 2).astype(np.float64)
  factors = np.ones(_DISCOUNTED + 1)
  largest = _DISCOUNTED
  while largest and not number[largest + 1]:
    largest -= 1
  doubtful = list(range(largest + 1, _DISCOUNTED + 1))
  common = (largest + 1) * number[largest + 1] / max(number[1], 1)
  for r in range(1, largest + 1):
    share = (r + 1) * number[r + 1] / max(r * number[r], 1)
    factor = (share - common) / (1 - common) if common < 1 else 0.0
    if number[r] and _TINY < factor <= 1:
      factors[r] = factor
    else:
      doubtful.append(r)
  doubtful = [r for r in doubtful if number[r]]
  if doubtful:
    warnings.warn(
      f'Good and Turing give no sound discount for {what} that were seen '
      f'{" or ".join(map(str, sorted(doubtful)))} times: these counts stay.',
      stacklevel=2,
    )
  return factors


def katz(
  tokens: np.ndarray, offsets: np.ndarray, order: int, num_words: int
) -> list[Level]:
  """Return a back-off model with Good and Turing's discounts (Katz 1987).

  Counts up to 5 are discounted, and from order 3 on what was seen once is left
  to the shorter context.

  Args:
    tokens: all captions, ``##START##`` to ``##END##``, one after another.
    offsets: [C + 1] where each caption begins in ``tokens``.
    order: of the longest n-grams.
    num_words: V.

  Returns:
    The levels of order 1 up.
  """
  seen = _count(tokens, offsets, order, num_words)
  counts = np.where(_predictable(num_words), seen[0].counts, 0).astype(
    np.float64
  )
  # What never was seen is as likely as what was seen least.
  least = counts[counts > 0].min()
  counts[_predictable(num_words) & (counts == 0)] = least
  levels = [
    Level(
      seen[0].parents,
      seen[0].words,
      counts / counts.sum(),
      np.ones(num_words),
    )
  ]
  # [G] the number of each n-gram of the order below among those kept there.
  place = np.arange(num_words)
  for n in range(2, order + 1):
    grams, below = seen[n - 1], levels[-1]
    factors = good_turing(grams.counts, f'{n}-grams')
    if n >= _FIRST_WITHOUT_SINGLETONS:
      factors[1] = 0.0
    factor = np.where(
      grams.counts > _DISCOUNTED,
      1.0,
      factors[np.minimum(grams.counts, _DISCOUNTED)],
    )
    keep = factor > 0
    size = len(below.probs)
    total = _sums(place[grams.parents], grams.counts, size)
    parents, mass = place[grams.parents[keep]], grams.counts * factor
    mass = mass[keep]
    shorter = below.probs[place[grams.suffixes[keep]]]
    rest_below = 1 - _sums(parents, shorter, size)
    # Where nothing would be left for what was not seen, something is.
    left = total - _sums(parents, mass, size)
    total += (left < _TINY) & (rest_below > _TINY) & (total > 0)
    probs = mass / total[parents]
    left = 1 - _sums(parents, probs, size)
    weights = np.where(
      (total > 0) & (rest_below > _TINY),
      left / np.maximum(rest_below, _TINY),
      1.0,
    )
    levels[-1] = dataclasses.replace(below, weights=weights)
    levels.append(Level(parents, grams.words[keep], probs, np.ones(len(probs))))
    place = np.cumsum(keep) - 1
  return levels


def discounts(counts: np.ndarray, what: str) -> np.ndarray:
  """Return D of counts of 0, 1, 2, 3 and more (Chen & Goodman 1998).

  Args:
    counts: [G] of the n-grams.
    what: the name of these, for a warning where there are too few for the
      formula; then one discount serves all.
  """
  n1, n2, n3, n4 = np.bincount(counts, minlength=5)[1:5].astype(np.float64)
  if n1 and n2 and n3 and n4:
    share = n1 / (n1 + 2 * n2)
    found = np.asarray(
      [
        0.0,
        1 - 2 * share * n2 / n1,
        2 - 3 * share * n3 / n2,
        3 - 4 * share * n4 / n3,
      ]
    )
    if (found[1:] > 0).all():
      return found
  single = n1 / (n1 + 2 * n2) if n1 and n2 else 0.5
  warnings.warn(
    f'{what} are too few for discounts by their counts: {single:.3f} for all.',
    stacklevel=2,
  )
  return np.asarray([0.0, single, single, single])


def kneser_ney(
  tokens: np.ndarray, offsets: np.ndarray, order: int, num_words: int
) -> list[Level]:
  """Return an interpolated Kneser-Ney model, modified (Chen & Goodman 1998).

  n-grams below the longest count by how many words they were seen after; what
  begins with ``##START##``, which follows nothing, by how often it was seen.

  Args:
    tokens: see ``katz``.
    offsets: see ``katz``.
    order: see ``katz``.
    num_words: see ``katz``.

  Returns:
    The levels of order 1 up.
  """
  seen = _count(tokens, offsets, order, num_words)
  predicted = _predictable(num_words)
  levels: list[Level] = []
  for n, grams in enumerate(seen, 1):
    counts = grams.counts
    if n < order:
      after = np.bincount(seen[n].suffixes, minlength=len(counts))
      counts = np.where(grams.begins, counts, after)
    if n == 1:
      counts = np.where(predicted, counts, 0)
      size, shorter = 1, predicted / predicted.sum()
    else:
      size, shorter = len(levels[-1].probs), levels[-1].probs[grams.suffixes]
    discount = discounts(counts, f'{n}-grams')[np.minimum(counts, 3)]
    total = _sums(grams.parents, counts, size)
    freed = _sums(grams.parents, discount, size)
    weights = np.where(total > 0, freed / np.maximum(total, 1), 1.0)
    share = (counts - discount) / np.maximum(total, 1)[grams.parents]
    probs = share + weights[grams.parents] * shorter
    if levels:
      levels[-1] = dataclasses.replace(levels[-1], weights=weights)
    levels.append(Level(grams.parents, grams.words, probs, np.ones(len(probs))))
  return levels


# Ways to estimate: tokens, offsets, order, V -> levels.
SMOOTHINGS: dict[str, Callable[..., list[Level]]] = {
  'kneser-ney': kneser_ney,
  'katz': katz,
}


def probabilities(
  levels: Sequence[Level], context: Sequence[int]
) -> np.ndarray:
  """Return p(w | context) [V], float64, the plain way: a table a level.

  Args:
    levels: of order 1 up.
    context: word ids, the last one nearest; longer than needed will do.
  """
  row = levels[0].probs.copy()
  context = list(context)[max(0, len(context) - len(levels) + 1) :]
  for length in range(1, len(context) + 1):
    number: int | None = 0
    for depth, word in enumerate(context[len(context) - length :]):
      level = levels[depth]
      here = np.flatnonzero((level.parents == number) & (level.words == word))
      if not len(here):
        number = None
        break
      number = int(here[0])
    if number is None:
      break
    row *= levels[length - 1].weights[number]
    children = levels[length].parents == number
    row[levels[length].words[children]] = levels[length].probs[children]
  return row
