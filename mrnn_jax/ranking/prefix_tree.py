"""The distinct prefixes of a pool of sentences, and their cutting into tiles.

Letters: S sentences, P distinct prefixes, Q distinct pairs of a prefix and its
next word ("edges").
"""

from collections.abc import Sequence
import dataclasses
from typing import Protocol

import numpy as np

from mrnn_jax.data.vocabulary import START

# Word ids, ``##START##`` to ``##END##``.
Sentence = Sequence[int] | np.ndarray


@dataclasses.dataclass(frozen=True)
class PrefixTree:
  """The distinct prefixes of a set of sentences.

  Attributes:
    tokens: [P] the last word of each prefix; prefix 0 is ``##START##`` alone.
    parents: [P] the prefix one word shorter; 0 for prefix 0.
    levels: [depth + 1] where the prefixes of each length begin.
    edge_prefix: [Q] ascending.
    edge_word: [Q] a word that follows the prefix.
    paths: [sum of lengths] the edges of each sentence, one after another.
    offsets: [S + 1] where each sentence's edges begin in ``paths``.
  """

  tokens: np.ndarray
  parents: np.ndarray
  levels: np.ndarray
  edge_prefix: np.ndarray
  edge_word: np.ndarray
  paths: np.ndarray
  offsets: np.ndarray

  @classmethod
  def build(cls, sentences: Sequence[Sentence]) -> 'PrefixTree':
    """Build the tree of sentences of word ids, ``##START##`` to ``##END##``."""
    lengths = np.asarray([len(sentence) for sentence in sentences]) - 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    paths = np.empty(offsets[-1], np.int64)
    flat = np.concatenate([np.asarray(s[1:]) for s in sentences])
    node = np.zeros(len(sentences), np.int64)  # where each sentence stands
    tokens, parents, levels = [np.asarray([START])], [np.zeros(1, int)], [0, 1]
    edge_prefix, edge_word = [], []
    num_edges = 0
    base = int(flat.max()) + 1
    for t in range(int(lengths.max())):
      alive = np.flatnonzero(lengths > t)
      words = flat[offsets[alive] + t]
      keys, edge = np.unique(node[alive] * base + words, return_inverse=True)
      paths[offsets[alive] + t] = num_edges + edge
      num_edges += len(keys)
      edge_prefix.append(keys // base)
      edge_word.append(keys % base)
      # An edge that a sentence goes on from leads to a prefix of its own.
      goes_on = np.zeros(len(keys), bool)
      goes_on[edge[lengths[alive] > t + 1]] = True
      ids = levels[-1] + np.cumsum(goes_on) - 1
      node[alive] = ids[edge]
      tokens.append(keys[goes_on] % base)
      parents.append(keys[goes_on] // base)
      levels.append(levels[-1] + int(goes_on.sum()))
    return cls(
      tokens=np.concatenate(tokens).astype(np.int32),
      parents=np.concatenate(parents),
      levels=np.asarray(levels),
      edge_prefix=np.concatenate(edge_prefix),
      edge_word=np.concatenate(edge_word).astype(np.int32),
      paths=paths,
      offsets=offsets,
    )

  @property
  def num_prefixes(self) -> int:
    """P."""
    return len(self.tokens)

  def joined(self, contexts: np.ndarray) -> tuple['PrefixTree', np.ndarray]:
    """Let prefixes share what is computed after them, where it is the same.

    A model that looks a few words back gives the same for many prefixes.

    Args:
      contexts: [P, C] what language gives for each prefix.

    Returns:
      A tree whose edges are of the distinct contexts, which stand for its
      prefixes, and these contexts in the order of their first prefixes.  Where
      all differ nothing changes.
    """
    rows = np.ascontiguousarray(contexts)
    rows = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
    _, first, same = np.unique(rows, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty(len(first), np.int64)
    number[order] = np.arange(len(first))
    base = int(self.edge_word.max()) + 1
    keys, edge = np.unique(
      number[same][self.edge_prefix] * base + self.edge_word,
      return_inverse=True,
    )
    tree = dataclasses.replace(
      self,
      edge_prefix=keys // base,
      edge_word=(keys % base).astype(np.int32),
      paths=edge[self.paths],
    )
    return tree, contexts[first[order]]

  def edges_of(self, sentences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges of some sentences [s], one sentence after another.

    Returns:
      [sum of lengths] edges, and [s + 1] where each sentence's begin.
    """
    lengths = np.diff(self.offsets)[sentences]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    step = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    return self.paths[
      np.repeat(self.offsets[sentences], lengths) + step
    ], offsets

  def sum_edges(
    self, values: np.ndarray, sentences: np.ndarray | None = None
  ) -> np.ndarray:
    """Add values of edges [Q, ...] along each sentence: [S, ...].

    Args:
      values: of the edges.
      sentences: [s] which; None: all.
    """
    paths, offsets = self.paths, self.offsets
    if sentences is not None:
      paths, offsets = self.edges_of(sentences)
    return np.add.reduceat(values[paths], offsets[:-1], axis=0)


class Edges(Protocol):
  """What is cut into tiles: edges, by the prefix that they begin at.

  Attributes:
    edge_prefix: [Q] ascending.
    edge_word: [Q] a word that follows the prefix.
  """

  @property
  def edge_prefix(self) -> np.ndarray: ...  # noqa: D102

  @property
  def edge_word(self) -> np.ndarray: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class Tiles:
  """The edges of a tree in tiles of few prefixes, all of one shape.

  Attributes:
    prefixes: [tiles, prefixes a tile] numbers of prefixes.
    edge_slot: [tiles, edges a tile] which of the tile's prefixes.
    edge_word: [tiles, edges a tile] the word that follows it.
    edge: [tiles, edges a tile] the edge's number; Q for none.
  """

  prefixes: np.ndarray
  edge_slot: np.ndarray
  edge_word: np.ndarray
  edge: np.ndarray

  @classmethod
  def cut(
    cls, tree: Edges, num_prefixes: int, num_edges: int, multiple: int
  ) -> 'Tiles':
    """Cut a tree into tiles.

    A prefix with many edges stands in several tiles.

    Args:
      tree: the tree.
      num_prefixes: prefixes a tile.
      num_edges: edges a tile.
      multiple: the number of tiles is made a multiple of it.
    """
    Q = len(tree.edge_word)
    new = np.diff(tree.edge_prefix, prepend=-1) != 0
    rank = np.cumsum(new) - 1  # Of each edge's prefix, among those that occur.
    first = np.append(np.flatnonzero(new), [Q] * num_prefixes)
    # A tile ends where it is full of edges, or of prefixes.
    ends = np.minimum(np.arange(Q) + num_edges, first[rank + num_prefixes])
    following, begins, q = ends.tolist(), [], 0
    while q < Q:
      begins.append(q)
      q = following[q]
    starts = np.asarray(begins)
    tile = np.repeat(np.arange(len(starts)), np.diff(starts, append=Q))
    slot = rank - rank[starts[tile]]
    column = np.arange(Q) - starts[tile]
    count = -(-len(starts) // multiple) * multiple
    tiles = cls.empty(count, num_prefixes, num_edges, Q)
    tiles.prefixes[tile, slot] = tree.edge_prefix
    tiles.edge_slot[tile, column] = slot
    tiles.edge_word[tile, column] = tree.edge_word
    tiles.edge[tile, column] = np.arange(Q)
    return tiles

  @classmethod
  def empty(
    cls, count: int, num_prefixes: int, num_edges: int, Q: int
  ) -> 'Tiles':
    """Return tiles without any edge of Q."""
    return cls(
      prefixes=np.zeros((count, num_prefixes), np.int64),
      edge_slot=np.zeros((count, num_edges), np.int32),
      edge_word=np.zeros((count, num_edges), np.int32),
      edge=np.full((count, num_edges), Q),
    )

  def holding(self, edges: np.ndarray, Q: int, multiple: int) -> 'Tiles':
    """Return the tiles that hold some edges, as they are.

    Args:
      edges: numbers of edges.
      Q: how many edges there are.
      multiple: the number of tiles is made a multiple of it, by empty ones.
    """
    wanted = np.zeros(Q + 1, bool)
    wanted[edges] = True
    rows = np.flatnonzero(wanted[self.edge].any(axis=1))
    return self._of_rows(rows, Q, multiple)

  def padded(self, Q: int, multiple: int) -> 'Tiles':
    """Return these and empty ones, as ``holding`` does."""
    return self._of_rows(np.arange(len(self.prefixes)), Q, multiple)

  def _of_rows(self, rows: np.ndarray, Q: int, multiple: int) -> 'Tiles':
    count = -(-len(rows) // multiple) * multiple
    tiles = self.empty(count, self.prefixes.shape[1], self.edge.shape[1], Q)
    for field in dataclasses.fields(self):
      getattr(tiles, field.name)[: len(rows)] = getattr(self, field.name)[rows]
    return tiles
