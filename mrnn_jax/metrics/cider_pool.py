"""CIDEr-D against the captions of many documents, in arrays.

What ``cider.CiderD`` says of two texts, for a sentence and any captions of a
fixed collection: COCO's 617,000 take some hundred megabytes here.  An n-gram is
a number, found by bisection from that of its first n - 1 words and its last.

Letters: N documents, C captions, T n-grams of all captions, one after another.
"""

import array
from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import math

import numpy as np

from mrnn_jax.metrics.cider import MAX_ORDER, SIGMA


@dataclasses.dataclass(frozen=True)
class _Order:
  """The n-grams of one order.

  Attributes:
    keys: [U] ascending, of those that are distinct: number of the first n - 1
      words, times the number of words, plus the last word's.  Of single words
      the words themselves.
    idf: [U] their weights.
    offsets: [C + 1] where each caption begins in what follows.
    grams: those of the captions, each once a caption.
    counts: how often they stand there.
    norms: [C] of the captions.
  """

  keys: np.ndarray
  idf: np.ndarray
  offsets: np.ndarray
  grams: np.ndarray
  counts: np.ndarray
  norms: np.ndarray


class CiderPool:
  """Captions of documents, and how like them sentences are.

  Attributes:
    num_captions: [N] of each document.
  """

  def __init__(self, documents: Iterable[Sequence[str]]):
    """Count in how many documents each n-gram is.

    Args:
      documents: N, each some tokenised captions, words separated by spaces.
    """
    self._words: dict[str, int] = {}
    flat, lengths, counts = array.array('i'), [], []
    for texts in documents:
      counts.append(len(texts))
      for text in texts:
        words = text.split()
        flat.extend(self._words.setdefault(x, len(self._words)) for x in words)
        lengths.append(len(words))
    self.num_captions = np.asarray(counts, np.int64)
    self._first_caption = np.cumsum(self.num_captions) - self.num_captions
    self._lengths = np.asarray(lengths, np.int32)
    self._log_documents = math.log(max(1, len(counts)))
    self._orders = list(self._count(np.frombuffer(flat, np.int32)))

  def _count(self, tokens: np.ndarray) -> Iterator[_Order]:
    """Number the n-grams of all captions, order by order, and weigh them."""
    C, N, V = len(self._lengths), len(self.num_captions), len(self._words)
    caption = np.repeat(np.arange(C, dtype=np.int32), self._lengths)
    document = np.repeat(np.arange(N, dtype=np.int32), self.num_captions)
    numbers = tokens.astype(np.int64)
    for n in range(1, MAX_ORDER + 1):
      if n > 1:
        known = numbers[:-1] >= 0
        numbers = numbers[:-1] * V + tokens[n - 1 :]
        # It ends where its caption does.
        known &= caption[n - 1 :] == caption[: 1 - n]
        numbers[~known] = -1
      there = numbers >= 0
      keys, numbers[there] = np.unique(numbers[there], return_inverse=True)
      mine, own = numbers[there], caption[: len(numbers)][there]
      U = max(1, len(keys))
      frequency = np.bincount(
        np.unique(document[own] * np.int64(U) + mine) % U, minlength=len(keys)
      )
      idf = self._log_documents - np.log(np.maximum(1, frequency))
      found, counts = np.unique(own * np.int64(U) + mine, return_counts=True)
      del mine, own
      owner, grams = (found // U).astype(np.int32), (found % U).astype(np.int32)
      del found
      offsets = np.searchsorted(owner, np.arange(C + 1, dtype=np.int32))
      squares = np.bincount(owner, np.square(counts * idf[grams]), C)
      yield _Order(
        keys,
        idf,
        offsets.astype(np.int32),
        grams,
        counts.astype(np.int32),
        np.sqrt(squares),
      )

  def similarities(
    self, sentences: Sequence[str], documents: np.ndarray
  ) -> np.ndarray:
    """Return how like each sentence is to each caption of some documents.

    Args:
      sentences: S tokenised sentences.
      documents: their numbers.

    Returns:
      [S, captions] float64, 0 to 1 as ``CiderD.similarity``; captions in the
      order of the documents.
    """
    captions = _ranges(
      self._first_caption[documents], self.num_captions[documents]
    )
    own, norms, lengths = self._weigh(sentences)
    total = np.zeros((len(sentences), len(captions)))
    for n, order in enumerate(self._orders):
      total += _cosines(order, captions, [mine[n] for mine in own], norms[:, n])
    apart = lengths[:, None] - self._lengths[captions].astype(float)
    return total / MAX_ORDER * np.exp(-np.square(apart) / (2 * SIGMA**2))

  def _weigh(
    self, sentences: Sequence[str]
  ) -> tuple[list[list[dict[int, float]]], np.ndarray, np.ndarray]:
    """Return the weights of sentences' n-grams that are known, and of all.

    Returns:
      By number the weights of each sentence's known n-grams, for each order;
      [S, 4] the norms of all its n-grams; [S] words.
    """
    own = []
    norms = np.zeros((len(sentences), MAX_ORDER))
    lengths = np.zeros(len(sentences))
    for s, text in enumerate(sentences):
      words = text.split()
      lengths[s] = len(words)
      counts: dict[tuple[str, ...], int] = {}
      number: dict[tuple[str, ...], int] = {}
      for i in range(len(words)):
        known = 0
        for n in range(1, min(MAX_ORDER, len(words) - i) + 1):
          gram = tuple(words[i : i + n])
          counts[gram] = counts.get(gram, 0) + 1
          if gram not in number:
            number[gram] = self._find(known, words[i + n - 1], n)
          known = number[gram]
      mine: list[dict[int, float]] = [{} for _ in range(MAX_ORDER)]
      for gram, count in counts.items():
        # One of no document weighs as one of a single document.
        weight = count * self._log_documents
        n, at = len(gram) - 1, number[gram]
        if at >= 0:
          weight = mine[n][at] = float(count * self._orders[n].idf[at])
        norms[s, n] += weight**2
      own.append(mine)
    return own, np.sqrt(norms), lengths

  def _find(self, known: int, word: str, n: int) -> int:
    """Return the number of an n-gram among those of its order, -1 for none.

    Args:
      known: the number of its first n - 1 words; -1 for none.
      word: its last one.
      n: its order.
    """
    last = self._words.get(word, -1)
    if known < 0 or last < 0:
      return -1
    key = last if n == 1 else known * len(self._words) + last
    keys = self._orders[n - 1].keys
    at = int(np.searchsorted(keys, key))
    return at if at < len(keys) and keys[at] == key else -1


def _cosines(
  order: _Order,
  captions: np.ndarray,
  own: Sequence[dict[int, float]],
  norms: np.ndarray,
) -> np.ndarray:
  """Return the clipped cosines [S, R] of sentences and captions, of one order.

  Args:
    order: which.
    captions: [R] their numbers.
    own: weights of each sentence's n-grams, by number.
    norms: [S] of all its n-grams.
  """
  R, starts = len(captions), order.offsets[captions].astype(np.int64)
  sizes = order.offsets[captions + 1] - starts
  place = _ranges(starts, sizes)
  # Only what some sentence has, too.
  known = np.unique(np.asarray([x for mine in own for x in mine], np.int64))
  grams = order.grams[place]
  column = np.searchsorted(known, grams)
  common = np.flatnonzero(np.append(known, -1)[column] == grams)
  column = column[common]
  weights = order.counts[place[common]] * order.idf[grams[common]]
  row = np.repeat(np.arange(R), sizes)[common]
  cosines = np.zeros((len(own), R))
  for s, mine in enumerate(own):
    table = np.zeros(len(known))
    at = np.searchsorted(known, np.asarray(list(mine), np.int64))
    table[at] = list(mine.values())
    product = np.minimum(table[column], weights) * weights
    products = np.bincount(row, product, R).astype(float)
    # A product is 0 wherever a norm is.
    scale = norms[s] * order.norms[captions]
    np.divide(products, scale, out=cosines[s], where=products != 0)
  return cosines


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
  """Return the numbers from each start on, so many of each."""
  first = np.cumsum(sizes) - sizes
  return np.repeat(starts - first, sizes) + np.arange(sizes.sum())
