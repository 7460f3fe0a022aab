"""log P(sentence | image) of given pairs: what they share is computed once.

Where not every sentence meets every image, the matrix of ``rank`` would be
mostly waste.  Of the pairs of a window only this is computed:

  language  once per distinct prefix of the sentences
  image     once per image
  readout   once per distinct (prefix, image), in tiles of a fixed shape

All rows of a tile are wanted, but in the window's last one and where a prefix
is followed by more words than a tile has room for.  Every shape is fixed, so
that the bits of a result depend on the window and the tile size alone, not on
the number of devices.

Letters: P distinct prefixes, N images, H distinct (prefix, image), T target
words of all pairs, D image feature, C what language gives, J what an image
gives.
"""

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from mrnn_jax.models import Model, Variables
from mrnn_jax.ranking import prefix_scores
from mrnn_jax.ranking.prefix_tree import PrefixTree, Tiles
from mrnn_jax.ranking.ranker import tile_rows_on
from mrnn_jax.runtime import parallel

# Rows that a device takes at a time: a level of the prefix tree is padded to a
# multiple of the first, a window's images to one of the second.
_LANGUAGE_ROWS = 256
_IMAGE_ROWS = 64
# Target words of a window: bounds the memory, whatever is to be scored.
_WINDOW_WORDS = 1 << 16


@dataclasses.dataclass(frozen=True)
class PairPlan:
  """What is to be computed for a window of pairs.

  Attributes:
    tree: the distinct prefixes of the sentences.
    row_prefix: [H] the prefix of each readout.
    row_image: [H] the image of each readout.
    edge_prefix: [Q] the readout that each needed logit is of, ascending.
    edge_word: [Q] the word of that logit.
    path: [T] which of the Q each target word is, one pair after another.
    tiles: the readouts in tiles; its "prefixes" are numbers of readouts.
  """

  tree: PrefixTree
  row_prefix: np.ndarray
  row_image: np.ndarray
  edge_prefix: np.ndarray
  edge_word: np.ndarray
  path: np.ndarray
  tiles: Tiles


# Compiled once for each model, however many score with it.
@functools.cache
def _part_fn(
  model: Model, method: str, devices: tuple[jax.Device, ...]
) -> Callable[..., Any]:
  def part(*args):
    return model.apply(*args, method=method)

  return parallel.pmap(part, list(devices))


class PairScorer:
  """Scores pairs with one model; compiled once, for any pairs."""

  def __init__(
    self,
    model: Model,
    variables: Variables,
    devices: list[jax.Device],
    tile_rows: int = 0,
    dtype: str = 'float32',
  ):
    """Place a model on devices.

    Args:
      model: the model.
      variables: its variables.
      devices: where to run.
      tile_rows: rows of logits [tile_rows, V] that a device holds; 0: see
        ``ranker.tile_rows_on``.
      dtype: of the operands of the readout, 'float32' or 'bfloat16'.
    """
    # As ``Ranker`` does: what the readout starts from stays exact.
    rounded = model.clone(dtype=dtype)
    self._initial_carry = model.apply(variables, 1, method='initial_carry')
    self._devices = devices
    self._tile_rows = tile_rows_on(tile_rows, devices)
    self._variables = parallel.replicate(variables, devices)

    self._language, self._image, self._readout = (
      _part_fn(used, method, tuple(devices))
      for used, method in (
        (model, 'language_step'),
        (model, 'image'),
        (rounded, 'word_log_probs'),
      )
    )

  def plan(
    self, sentences: Sequence[Sequence[int]], pairs: np.ndarray
  ) -> list[PairPlan]:
    """Find out what pairs share.  Host work, for another thread to do.

    Args:
      sentences: distinct sentences of word ids, ``##START##`` to ``##END##``.
      pairs: [pairs, 2] numbers of a sentence and an image.

    Returns:
      A plan for each window of pairs, in their order.
    """
    lengths = np.asarray([len(s) - 1 for s in sentences])[pairs[:, 0]]
    window = (np.cumsum(lengths) - 1) // _WINDOW_WORDS
    cuts = np.flatnonzero(np.diff(window)) + 1
    return [self._plan_window(sentences, x) for x in np.split(pairs, cuts)]

  def _plan_window(
    self, sentences: Sequence[Sequence[int]], pairs: np.ndarray
  ) -> PairPlan:
    chosen, place = np.unique(pairs[:, 0], return_inverse=True)
    tree = PrefixTree.build([sentences[s] for s in chosen])
    lengths = np.diff(tree.offsets)[place]
    first = np.cumsum(lengths) - lengths  # where each pair begins
    step = np.arange(lengths.sum()) - np.repeat(first, lengths)
    edges = tree.paths[np.repeat(tree.offsets[place], lengths) + step]  # [T]
    images = np.repeat(pairs[:, 1].astype(np.int64), lengths)
    N, V = int(pairs[:, 1].max()) + 1, int(tree.edge_word.max()) + 1
    keys, path = np.unique(
      (tree.edge_prefix[edges] * N + images) * V + tree.edge_word[edges],
      return_inverse=True,
    )
    rows, edge_prefix = np.unique(keys // V, return_inverse=True)
    cut = _Edges(edge_prefix, (keys % V).astype(np.int32))
    return PairPlan(
      tree=tree,
      row_prefix=rows // N,
      row_image=rows % N,
      edge_prefix=cut.edge_prefix,
      edge_word=cut.edge_word,
      path=path,
      tiles=Tiles.cut(
        cut, self._tile_rows, 2 * self._tile_rows, len(self._devices)
      ),
    )

  def word_log_probs(
    self, plans: Sequence[PairPlan], features: np.ndarray
  ) -> np.ndarray:
    """Return log P(word | words before, image), natural logarithms.

    Args:
      plans: of pairs.
      features: [N, D] raw features of the images.

    Returns:
      [T] float32, the target words of one pair after another.
    """
    images = self._image_vectors(features)
    return np.concatenate([self._score_window(x, images) for x in plans])

  def _score_window(self, plan: PairPlan, images: np.ndarray) -> np.ndarray:
    """Return the log-probabilities [T] of a window, for images [N, J]."""
    contexts = self._contexts(plan.tree)
    tiles, n = plan.tiles, len(self._devices)
    values = np.empty(len(plan.edge_word) + 1, np.float32)
    under_way: list[tuple[slice, jax.Array]] = []
    for start in range(0, len(tiles.prefixes), n):
      part = slice(start, start + n)
      rows = tiles.prefixes[part]  # [devices, tile rows]
      result = self._readout(
        self._variables,
        contexts[plan.row_prefix[rows]],
        images[plan.row_image[rows]],
        tiles.edge_slot[part],
        tiles.edge_word[part],
      )
      # The host puts one call's results away while the next one is computed.
      under_way.append((part, result))
      if len(under_way) > 1:
        before, result = under_way.pop(0)
        values[tiles.edge[before]] = result
    before, result = under_way.pop()
    values[tiles.edge[before]] = result
    return values[plan.path]

  def _contexts(self, tree: PrefixTree) -> np.ndarray:
    """Run the language path once per prefix, on all devices: [P, C]."""
    n = len(self._devices)

    def language_step(*rows):
      result = self._language(self._variables, *parallel.split_rows(rows, n))
      # [devices, rows, ...] --> [devices * rows, ...]
      return jax.tree.map(
        lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), result
      )

    return prefix_scores.prefix_contexts(
      tree, language_step, self._initial_carry, n * _LANGUAGE_ROWS
    )

  def _image_vectors(self, features: np.ndarray) -> np.ndarray:
    """Return what images give [N, J] of raw features [N, D]."""
    n = len(self._devices)
    step = n * _IMAGE_ROWS
    vectors = [
      np.asarray(
        self._image(
          self._variables,
          parallel.split_rows(
            parallel.pad_rows(features[i : i + step], step), n
          ),
        )
      ).reshape(step, -1)
      for i in range(0, len(features), step)
    ]
    return np.concatenate(vectors)[: len(features)]


@dataclasses.dataclass(frozen=True)
class _Edges:
  """What ``Tiles.cut`` asks of a tree: the readouts stand for its prefixes."""

  edge_prefix: np.ndarray
  edge_word: np.ndarray
