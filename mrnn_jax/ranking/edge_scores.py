"""What a tree of prefixes scores, for one block of images after another.

Letters: S sentences, Q distinct pairs of a prefix and its next word ("edges"),
n images, D image feature.
"""

from collections.abc import Callable
import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from mrnn_jax.models import Model
from mrnn_jax.ranking import prefix_scores
from mrnn_jax.ranking.prefix_tree import PrefixTree, Tiles
from mrnn_jax.runtime import parallel

if TYPE_CHECKING:
  from mrnn_jax.ranking.ranker import Ranker

# Prefixes whose language path is run at a time, and those whose tiles a device
# takes in one call at most: both bound memory, neither changes a result but for
# rounding.
_PREFIX_BLOCK = 1024
_PREFIXES_PER_CALL = 320
# Edges that a tile has room for, per prefix.  Most prefixes have one; where a
# tile runs out of them, rows of logits stay empty: 4% with 2, 1% with 4.
_EDGES_PER_PREFIX = 4


def tiles_a_call(count: int, most: int) -> int:
  """Return how many tiles a device takes in one call.

  Few sentences have few tiles: a call of many would be of empty ones.  Numbers
  are rounded up, 2, 3, 4, 6, 8, 12 and so on, so that other sentences share a
  compiled program.  Not 1: a loop of a single step is compiled otherwise, and
  gives other bits.

  Args:
    count: tiles of the device, all calls together.
    most: in one call.
  """
  rounded = 2
  while rounded < count:
    power_of_two = rounded & (rounded - 1) == 0
    rounded += rounded // 2 if power_of_two else rounded // 3
  return min(rounded, most)


# Compiled once for each model, however many rank with it.
@functools.cache
def edges_fn(
  readout: Model, fused: bool, devices: tuple[jax.Device, ...]
) -> Callable[..., jax.Array]:
  """Return what computes tiles on devices.

  Args:
    readout: the model, with the type of its readout's operands.
    fused: whether by the kernel of ``models.fused_readout``.
    devices: local ones.

  Returns:
    Variables, images [n, J], contexts [C, ...], and of tiles on each device
    prefixes, edge_slot and edge_word as of ``Tiles``, all but the last three
    replicated -> log P(word | prefix, image) [devices, tiles, n, edges].
  """
  words = prefix_scores.words_of_images(readout, fused)

  def edges(variables, images, contexts, prefixes, edge_slot, edge_word):
    return jax.lax.map(
      lambda tile: words(variables, contexts[tile[0]], images, *tile[1:]),
      (prefixes, edge_slot, edge_word),
    )

  return parallel.pmap(edges, list(devices))


class EdgeScores:
  """A tree's contexts and tiles on the devices of a ranker."""

  def __init__(self, ranker: 'Ranker', tree: PrefixTree):
    """Run the language path of a tree, and cut it into tiles.

    Args:
      ranker: whose programs are run, on its devices.
      tree: S sentences.
    """
    self._ranker = ranker
    self._num_devices = len(ranker.devices)
    self._tree, contexts = tree.joined(
      prefix_scores.prefix_contexts(
        tree, ranker.language_step, ranker.initial_carry, _PREFIX_BLOCK
      )
    )
    self._num_edges = len(self._tree.edge_word)
    prefixes = ranker.tile_prefixes
    tiles = Tiles.cut(
      self._tree, prefixes, _EDGES_PER_PREFIX * prefixes, self._num_devices
    )
    self._tiles_per_call = self._num_devices * tiles_a_call(
      len(tiles.prefixes) // self._num_devices,
      max(1, _PREFIXES_PER_CALL // prefixes),
    )
    self._tiles = tiles.padded(self._num_edges, self._tiles_per_call)
    # Padded, so that trees of about one size share a compiled program.
    contexts = parallel.pad_rows(contexts, -(-len(contexts) // 4096) * 4096)
    self._contexts = parallel.replicate(contexts, ranker.devices)

  def scores(
    self,
    features: np.ndarray,
    progress: Callable[[float], None] | None = None,
    sentences: np.ndarray | None = None,
  ) -> np.ndarray:
    """Return log P(sentence | image) [s, n].

    Args:
      features: [n, D] raw features of a block of images.
      progress: called with the share that is done.
      sentences: [s] which of the tree; None: all.  Of some only the tiles are
        computed that hold a word of theirs, with the bits of all.
    """
    tiles = self._tiles
    if sentences is not None:
      edges, _ = self._tree.edges_of(sentences)
      tiles = tiles.holding(edges, self._num_edges, self._tiles_per_call)
    values = self._log_probs(tiles, features, progress)
    return self._tree.sum_edges(values, sentences)

  def _log_probs(
    self,
    tiles: Tiles,
    features: np.ndarray,
    progress: Callable[[float], None] | None,
  ) -> np.ndarray:
    """Return log P(word | prefix, image) [Q, n] of the edges of tiles."""
    ranker, count = self._ranker, len(features)
    images = parallel.replicate(
      ranker.image(parallel.pad_rows(np.asarray(features), ranker.image_block)),
      ranker.devices,
    )
    values = np.empty((self._num_edges + 1, count), np.float32)

    def collect(part, result):
      # [devices, tiles, images, edges] --> [tiles, edges, images]
      result = np.asarray(result)[..., :count, :]
      result = result.reshape(-1, *result.shape[2:]).swapaxes(1, 2)
      values[tiles.edge[part]] = result
      if progress:
        progress(part.stop / len(tiles.prefixes))

    step = self._tiles_per_call
    under_way: tuple[slice, Any] | None = None
    for start in range(0, len(tiles.prefixes), step):
      part = slice(start, start + step)
      rows = (
        tiles.prefixes[part],
        tiles.edge_slot[part],
        tiles.edge_word[part],
      )
      result = ranker.edges(
        ranker.variables,
        images,
        self._contexts,
        *parallel.split_rows(rows, self._num_devices),
      )
      # The host puts one call's results away while the next one is computed.
      if under_way:
        collect(*under_way)
      under_way = part, result
    if under_way:
      collect(*under_way)
    return values[:-1]
