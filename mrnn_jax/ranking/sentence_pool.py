"""A pool of sentences, in parts whose prefixes make a tree each."""

from collections.abc import Sequence

import numpy as np

from mrnn_jax.ranking.prefix_tree import PrefixTree, Sentence

# Sentences that are compared with their neighbours at a time.
_COMPARED = 4096


class SentencePool:
  """Sentences in alphabetical order, in which neighbours share prefixes.

  A part's tree is built when it is asked for: of a large pool they would take
  far more memory than the sentences.

  Attributes:
    parts: of each part the numbers of its sentences.
    num_prefixes: [parts] distinct prefixes of each.
  """

  def __init__(self, sentences: Sequence[Sentence], size: int):
    """Order the sentences.

    Args:
      sentences: S sentences of word ids, ``##START##`` to ``##END##``.
      size: sentences a part.
    """
    self._sentences = sentences
    # Bytes that compare as the lists of ids do.
    keys = [np.asarray(x, '>u4').tobytes() for x in sentences]
    order = np.asarray(
      sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64
    )
    self.parts = [
      order[start : start + size] for start in range(0, len(order), size)
    ]
    self.num_prefixes = np.asarray(
      [self._count(rows) for rows in self.parts], np.int64
    )

  def tree(self, part: int) -> PrefixTree:
    """Build the tree of a part."""
    return PrefixTree.build([self._sentences[s] for s in self.parts[part]])

  def _count(self, rows: np.ndarray) -> int:
    """Return how many distinct prefixes sentences in order have.

    A sentence brings those that are longer than what it begins with alike the
    one before it.
    """
    total = 0
    for start in range(0, len(rows), _COMPARED):
      # With the last one of the block before.
      block = [
        self._sentences[s] for s in rows[max(start - 1, 0) : start + _COMPARED]
      ]
      lengths = np.asarray([len(x) - 1 for x in block])  # Without ##END##.
      tokens = np.full((len(block), lengths.max()), -1)
      for row, sentence, length in zip(tokens, block, lengths, strict=True):
        row[:length] = sentence[:length]
      same = (tokens[1:] == tokens[:-1]) & (tokens[1:] >= 0)
      shared = np.logical_and.accumulate(same, axis=1).sum()
      total += lengths[1 if start else 0 :].sum() - shared
    return int(total)
