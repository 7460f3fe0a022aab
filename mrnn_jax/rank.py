"""Perplexity ranking: log P(sentence | image) for sets of both (section 6).

The language path never sees the image, so a pool of S sentences and N images
costs far less than S x N sentences:

  language  once per distinct prefix: the sentences form a tree of prefixes
  image     once per image
  readout   once per (distinct prefix, image): the log-normaliser over the
            vocabulary, and beside it the logit of each word that follows the
            prefix in some sentence

The readout goes in tiles of a few prefixes times a block of images, so small
that their logits stay in the cache; nothing larger is ever made.

Letters: S sentences, N images, P distinct prefixes, Q distinct pairs of a
prefix and its next word ("edges"), M multimodal, V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses
import functools

import jax
import numpy as np

from mrnn_jax import parallel
from mrnn_jax.model import MRNN, Variables
from mrnn_jax.vocabulary import START

# Prefixes whose language path is run at a time, sentences of one tree, and
# tiles of one call: all bound memory, none changes a result.
_PREFIX_BLOCK = 1024
_SENTENCE_BLOCK = 16384
_TILES_PER_CALL = 64

Progress = Callable[[int, int], None]


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
  def build(cls, sentences: Sequence[Sequence[int]]) -> 'PrefixTree':
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

  def sum_edges(self, values: np.ndarray) -> np.ndarray:
    """Add values of edges [Q, ...] along each sentence: [S, ...]."""
    return np.add.reduceat(values[self.paths], self.offsets[:-1], axis=0)


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
    cls, tree: PrefixTree, num_prefixes: int, num_edges: int, multiple: int
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
    tile, slot = np.empty(Q, np.int64), np.empty(Q, np.int64)
    t = slots = edges = 0
    last = -1
    for q, prefix in enumerate(tree.edge_prefix.tolist()):
      new = prefix != last
      if edges == num_edges or (new and slots == num_prefixes):
        t, slots, edges, new = t + 1, 0, 0, True
      slots += new
      edges += 1
      last = prefix
      tile[q], slot[q] = t, slots - 1
    count = -(-(t + 1) // multiple) * multiple
    column = np.arange(Q) - np.searchsorted(tile, tile)
    tiles = cls(
      prefixes=np.zeros((count, num_prefixes), np.int64),
      edge_slot=np.zeros((count, num_edges), np.int32),
      edge_word=np.zeros((count, num_edges), np.int32),
      edge=np.full((count, num_edges), Q),
    )
    tiles.prefixes[tile, slot] = tree.edge_prefix
    tiles.edge_slot[tile, column] = slot
    tiles.edge_word[tile, column] = tree.edge_word
    tiles.edge[tile, column] = np.arange(Q)
    return tiles


def edge_log_probs(
  readout: Callable[[jax.Array], jax.Array],
  images: jax.Array,
  contexts: jax.Array,
  edge_slot: jax.Array,
  edge_word: jax.Array,
) -> jax.Array:
  """Return log P(word | prefix, image) of a tile's edges for all images.

  Args:
    readout: [..., M] --> logits [..., V].
    images: [N, M] the images' vectors.
    contexts: [prefixes, M] the prefixes' vectors.
    edge_slot: [edges] which prefix.
    edge_word: [edges] which word.

  Returns:
    [N, edges] natural logarithms.
  """

  def one_image(image):
    logits = readout(contexts + image)  # [prefixes, V]
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    return logits[edge_slot, edge_word] - normalizer[edge_slot]

  return jax.vmap(one_image)(images)


def log_mean_exp(log_probs: np.ndarray) -> np.ndarray:
  """Return log P(w) = log (1/K) sum_k P(w|I_k), [S] float32 (section 6).

  Args:
    log_probs: [S, K] log P(w|I_k) of K training images, natural logarithms.
  """
  total = np.logaddexp.reduce(log_probs.astype(np.float64), axis=1)
  return (total - np.log(log_probs.shape[1])).astype(np.float32)


class Ranker:
  """Ranks with one model; compiled once, for any sentences and images."""

  def __init__(
    self,
    model: MRNN,
    variables: Variables,
    devices: list[jax.Device] | None = None,
    image_block: int = 100,
    tile_rows: int = 2000,
  ):
    """Place a model on devices.

    Args:
      model: the model.
      variables: its variables.
      devices: which; all local ones by default.
      image_block: images a device takes at a time.
      tile_rows: rows of logits [tile_rows, V] that a device holds.
    """
    devices = devices or parallel.local_devices()
    self._devices = devices
    self._image_block = image_block
    self._tile_prefixes = max(1, tile_rows // image_block)
    self._model = model
    self._variables = parallel.replicate(variables, devices)

    def apply(variables, *args, method):
      return model.apply(variables, *args, method=method)

    # The same prefixes on every device: each then has all that it needs.
    self._language_step = jax.jit(
      functools.partial(apply, variables, method='language_step')
    )
    self._image = parallel.pmap(
      functools.partial(apply, method='image'), devices
    )

    def edges(variables, images, contexts, edge_slot, edge_word):
      return jax.lax.map(
        lambda tile: edge_log_probs(
          functools.partial(apply, variables, method='readout'), images, *tile
        ),
        (contexts, edge_slot, edge_word),
      )

    self._edges = parallel.pmap(
      edges, devices, in_axes=(0, 0, None, None, None)
    )

  def log_probs(
    self,
    sentences: Sequence[Sequence[int]],
    features: np.ndarray,
    progress: Progress | None = None,
  ) -> np.ndarray:
    """Return the matrix of log P(sentence | image), natural logarithms.

    Args:
      sentences: S sentences of word ids, ``##START##`` to ``##END##``.
      features: [N, D] raw features.
      progress: called with pairs of a prefix and an image done, and in all.

    Returns:
      [S, N] float32.
    """
    scores = np.empty((len(sentences), len(features)), np.float32)
    for rows, columns, block in self.blocks(sentences, features, progress):
      scores[rows, columns] = block
    return scores

  def blocks(
    self,
    sentences: Sequence[Sequence[int]],
    features: np.ndarray,
    progress: Progress | None = None,
    first: int = 0,
  ) -> Iterator[tuple[np.ndarray, slice, np.ndarray]]:
    """Yield the matrix in blocks: sentence numbers, images, log-probabilities.

    Memory is bounded by the blocks, whatever S and N.  The blocks and their
    order are a function of the arguments alone.

    Args:
      sentences: S sentences of word ids.
      features: [N, D] raw features.
      progress: as for ``log_probs``.
      first: the number of blocks to leave out, which were done before.
    """
    n = len(self._devices)
    width = n * self._image_block
    # Neighbours in alphabetical order share most prefixes.
    order = np.asarray(
      sorted(range(len(sentences)), key=lambda s: tuple(sentences[s])),
      dtype=np.int64,
    )
    trees = []
    for start in range(0, len(order), _SENTENCE_BLOCK):
      rows = order[start : start + _SENTENCE_BLOCK]
      trees.append((rows, PrefixTree.build([sentences[s] for s in rows])))
    total = sum(tree.num_prefixes for _, tree in trees) * len(features)
    done = number = 0
    for rows, tree in trees:
      contexts = None
      tiles = Tiles.cut(
        tree, self._tile_prefixes, 2 * self._tile_prefixes, _TILES_PER_CALL
      )
      for start in range(0, len(features), width):
        columns = slice(start, min(start + width, len(features)))
        count = columns.stop - columns.start
        number += 1
        if number <= first:
          done += tree.num_prefixes * count
          continue
        if contexts is None:
          contexts = self._contexts(tree)
        block = parallel.pad_rows(np.asarray(features[columns]), width)
        images = self._image(self._variables, parallel.split_rows(block, n))
        values = np.empty((len(tree.edge_word) + 1, count), np.float32)
        for call in range(0, len(tiles.prefixes), _TILES_PER_CALL):
          part = slice(call, call + _TILES_PER_CALL)
          result = self._edges(
            self._variables,
            images,
            contexts[tiles.prefixes[part]],
            tiles.edge_slot[part],
            tiles.edge_word[part],
          )  # [devices, tiles, images, edges]
          result = np.moveaxis(np.asarray(result), 0, 1)
          result = result.reshape(_TILES_PER_CALL, width, -1)[:, :count]
          values[tiles.edge[part]] = result.swapaxes(1, 2)
          if progress:
            share = min(1, (call + _TILES_PER_CALL) / len(tiles.prefixes))
            progress(done + int(share * tree.num_prefixes * count), total)
        done += tree.num_prefixes * count
        yield rows, columns, tree.sum_edges(values)

  def _contexts(self, tree: PrefixTree) -> np.ndarray:
    """Run the language path once per prefix, level by level: [P, M]."""
    R = self._model.recurrent_size
    carries = np.zeros((tree.num_prefixes, R), np.float32)
    contexts = np.empty(
      (tree.num_prefixes, self._model.multimodal_size), np.float32
    )
    for start, stop in zip(tree.levels, tree.levels[1:], strict=False):
      for first in range(start, stop, _PREFIX_BLOCK):
        part = slice(first, min(first + _PREFIX_BLOCK, stop))
        carry, tokens = parallel.pad_rows(
          (carries[tree.parents[part]], tree.tokens[part]), _PREFIX_BLOCK
        )
        carry, context = self._language_step(carry, tokens)
        carries[part] = carry[: part.stop - part.start]
        contexts[part] = context[: part.stop - part.start]
    return contexts
