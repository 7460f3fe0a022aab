"""Perplexity ranking: log P(sentence | image) for sets of both (section 6).

The language path never sees the image, so a pool of S sentences and N images
costs far less than S x N sentences.  A context is what the language path gives
for a prefix; of models that look a few words back many are the same:

  language  once per distinct prefix: the sentences form a tree of prefixes
  image     once per image
  readout   once per (distinct context, image): the log-normaliser over the
            vocabulary, and beside it the logit of each word that follows the
            prefix in some sentence (again where more words follow than a tile
            has room for)

The readout goes in tiles of a few prefixes times a block of images, so small
that their logits stay in the cache; nothing larger is ever made.

Letters: S sentences, N images, P distinct prefixes, Q distinct pairs of a
prefix and its next word ("edges"), V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import functools

import jax
import numpy as np

from mrnn_jax.models import Model, Variables
from mrnn_jax.ranking import prefix_scores
from mrnn_jax.ranking.best_items import Block, Ranking, best_of_both
from mrnn_jax.ranking.prefix_tree import PrefixTree, Sentence, Tiles
from mrnn_jax.runtime import parallel

# Prefixes whose language path is run at a time, sentences of one tree, and
# tiles a device takes in one call: all bound memory, none changes a result but
# for rounding.
_PREFIX_BLOCK = 1024
_SENTENCE_BLOCK = 16384
_TILES_PER_CALL = 64
# Edges that a tile has room for, per prefix.  Most prefixes have one; where a
# tile runs out of them, rows of logits stay empty: 4% with 2, 1% with 4.
_EDGES_PER_PREFIX = 4

Progress = Callable[[int, int], None]


def log_mean_exp(log_probs: np.ndarray) -> np.ndarray:
  """Return log P(w) = log (1/K) sum_k P(w|I_k), [S] float32 (section 6).

  Args:
    log_probs: [S, K] log P(w|I_k) of K training images, natural logarithms.
  """
  total = np.logaddexp.reduce(log_probs.astype(np.float64), axis=1)
  return (total - np.log(log_probs.shape[1])).astype(np.float32)


def operand_dtype(dtype: str, devices: Sequence[jax.Device]) -> str:
  """Return the type of the readout's operands, 'float32' or 'bfloat16'.

  Args:
    dtype: one of these, or 'auto': the second on GPU and TPU, which are made
      for it.
    devices: where to compute.
  """
  if dtype != 'auto':
    return dtype
  return 'float32' if devices[0].platform == 'cpu' else 'bfloat16'


class Ranker:
  """Ranks with one model; compiled once, for any sentences and images.

  Attributes:
    tiling: how the work is cut; the same tiling gives the same bits.
  """

  # What progress is counted in.
  unit = 'prefix-image pairs'

  def __init__(
    self,
    model: Model,
    variables: Variables,
    devices: list[jax.Device] | None = None,
    image_block: int = 100,
    tile_rows: int = 500,
    dtype: str = 'auto',
  ):
    """Place a model on devices.

    Args:
      model: the model.
      variables: its variables.
      devices: which; all local ones by default.
      image_block: images taken at a time.
      tile_rows: rows of logits [tile_rows, V] that a device holds.
      dtype: of the operands of the readout, see ``operand_dtype``.
    """
    devices = devices or parallel.local_devices()
    dtype = operand_dtype(dtype, devices)
    # The readout is nearly all of the work; what it starts from stays exact.
    readout = model.clone(dtype=dtype)
    self.tiling = f'{image_block} x {tile_rows} {dtype}'
    if devices[0].platform != 'cpu':  # Where precision makes other bits.
      self.tiling += f' at {model.precision}'
    self._devices = devices
    self._image_block = image_block
    self._tile_prefixes = max(1, tile_rows // image_block)
    self._variables = parallel.replicate(variables, devices)

    def apply(variables, *args, method):
      part = readout if method == 'readout' else model
      return part.apply(variables, *args, method=method)

    # The same prefixes and images on every device: each then has all that its
    # tiles need.
    self._language_step = jax.jit(
      functools.partial(apply, variables, method='language_step')
    )
    self._initial_carry = model.apply(variables, 1, method='initial_carry')
    self._image = jax.jit(functools.partial(apply, variables, method='image'))

    def edges(variables, images, contexts, prefixes, edge_slot, edge_word):
      return jax.lax.map(
        lambda tile: jax.vmap(
          lambda image: prefix_scores.edge_log_probs(
            apply(variables, contexts[tile[0]], image, method='readout'),
            *tile[1:],
          )
        )(images),
        (prefixes, edge_slot, edge_word),
      )

    self._edges = parallel.pmap(edges, devices)

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

  def log_mean_probs(
    self,
    sentences: Sequence[Sequence[int]],
    features: np.ndarray,
    progress: Progress | None = None,
    everywhere: bool = False,
  ) -> np.ndarray:
    """Return log P(w), the mean over images of P(w|I) (section 6).

    The sum runs along as blocks come: no matrix is kept.

    Args:
      sentences: S sentences of word ids.
      features: [K, D] raw features of the images that P(w) is estimated from.
      progress: as for ``log_probs``.
      everywhere: as for ``blocks``.

    Returns:
      [S] float32.
    """
    total = np.full(len(sentences), -np.inf)
    blocks = self.blocks(sentences, features, progress, everywhere=everywhere)
    for rows, _, block in blocks:
      part = np.logaddexp.reduce(block.astype(np.float64), axis=1)
      total[rows] = np.logaddexp(total[rows], part)
    return (total - np.log(len(features))).astype(np.float32)

  def rank(
    self,
    sentences: Sequence[Sequence[int]],
    features: np.ndarray,
    normalizer: np.ndarray | None = None,
    top: int = 10,
    progress: Progress | None = None,
    everywhere: bool = False,
  ) -> Ranking:
    """Return the best sentences of each image and images of each sentence.

    Only the best are kept as blocks come: memory does not grow with S x N.

    Args:
      sentences: S sentences of word ids.
      features: [N, D] raw features, an array or what slices like one.
      normalizer: [S] log P(w) of each sentence: sentences are ranked by
        P(w|I) / P(w).  None: by perplexity, ascending.
      top: how many to return for each query, at most.
      progress: as for ``log_probs``.
      everywhere: as for ``blocks``.
    """
    lengths = np.asarray([len(s) - 1 for s in sentences], np.float32)

    def of_sentences(rows: np.ndarray, block: np.ndarray) -> np.ndarray:
      if normalizer is None:
        return block / lengths[rows, None]
      return block - normalizer[rows, None]

    return best_of_both(
      self.blocks(sentences, features, progress, everywhere=everywhere),
      len(sentences),
      len(features),
      top,
      of_sentences,
    )

  def rank_by_ratio(
    self,
    sentences: Sequence[Sequence[int]],
    features: np.ndarray,
    drawn: np.ndarray,
    top: int = 10,
    progress: Progress | None = None,
    everywhere: bool = False,
  ) -> Ranking:
    """Return what ``rank`` does, sentences by P(w|I) / P(w).

    Args:
      sentences: S sentences of word ids.
      features: [N, D] raw features.
      drawn: [K, D] of the images that P(w) is estimated from; none: sentences
        by perplexity.
      top: as for ``rank``.
      progress: called with thousandths of all work done, and 1000.
      everywhere: as for ``blocks``.
    """
    total = len(drawn) + len(features)

    def part(first: int, count: int):
      if progress is None:
        return None
      return lambda done, of: progress(
        int((first + count * done / of) * 1000 / total), 1000
      )

    normalizer = None
    if len(drawn):
      normalizer = self.log_mean_probs(
        sentences, drawn, part(0, len(drawn)), everywhere
      )
    told = part(len(drawn), len(features))
    return self.rank(sentences, features, normalizer, top, told, everywhere)

  def blocks(
    self,
    sentences: Sequence[Sentence],
    features: np.ndarray,
    progress: Progress | None = None,
    first: int = 0,
    everywhere: bool = False,
  ) -> Iterator[Block]:
    """Yield the matrix in blocks: sentence numbers, images, log-probabilities.

    Memory is bounded by the blocks, whatever S and N.  The blocks, their order
    and their bits are a function of the arguments and the tiling, not of
    devices and processes.

    Args:
      sentences: S sentences of word ids.
      features: [N, D] raw features, an array or what slices like one.
      progress: as for ``log_probs``.
      first: the number of blocks to leave out, which were done before.
      everywhere: all processes call this at the same time and share the
        blocks; each of them yields them all.
    """
    # Neighbours in alphabetical order share most prefixes.
    order = np.asarray(
      sorted(range(len(sentences)), key=lambda s: tuple(sentences[s])),
      dtype=np.int64,
    )
    trees = []
    for start in range(0, len(order), _SENTENCE_BLOCK):
      rows = order[start : start + _SENTENCE_BLOCK]
      trees.append((rows, PrefixTree.build([sentences[s] for s in rows])))
    size, N = self._image_block, len(features)
    images = [slice(i, min(i + size, N)) for i in range(0, N, size)]
    cuts = [(t, columns) for t in range(len(trees)) for columns in images]
    ends = np.cumsum(
      [trees[t][1].num_prefixes * (x.stop - x.start) for t, x in cuts]
    )
    turn = jax.process_count() if everywhere else 1
    edges: dict[int, _Edges] = {}

    def compute(number: int) -> np.ndarray:
      t, columns = cuts[number]
      tree = trees[t][1]
      if t not in edges:
        edges.clear()  # One tree's at a time: they are large.
        edges[t] = _Edges(self, tree)
      before = int(ends[number - 1]) if number else 0
      # The others of this turn are as far with theirs.
      after = int(ends[min(number + turn, len(cuts)) - 1])

      def tell(share: float) -> None:
        if progress:
          progress(before + int(share * (after - before)), int(ends[-1]))

      values = edges[t].log_probs(features[columns], tell)
      return edges[t].tree.sum_edges(values)

    def shape_of(number: int) -> tuple[int, int]:
      t, columns = cuts[number]
      return len(trees[t][0]), columns.stop - columns.start

    numbers = range(first, len(cuts))
    computed: Iterable[tuple[int, np.ndarray]]
    computed = ((number, compute(number)) for number in numbers)
    if everywhere:
      most = max((len(rows) for rows, _ in trees), default=0)
      computed = parallel.map_in_turns(
        compute, numbers, shape_of, (most, self._image_block)
      )
    for number, block in computed:
      t, columns = cuts[number]
      yield trees[t][0], columns, block


class _Edges:
  """A tree's contexts and tiles on the devices, for one block after another."""

  def __init__(self, ranker: Ranker, tree: PrefixTree):
    self._ranker = ranker
    self._num_devices = len(ranker._devices)
    self.tree, contexts = tree.joined(
      prefix_scores.prefix_contexts(
        tree, ranker._language_step, ranker._initial_carry, _PREFIX_BLOCK
      )
    )
    self._num_edges = len(self.tree.edge_word)
    prefixes = ranker._tile_prefixes
    self._tiles = Tiles.cut(
      self.tree,
      prefixes,
      _EDGES_PER_PREFIX * prefixes,
      self._num_devices * _TILES_PER_CALL,
    )
    # Padded, so that trees of about one size share a compiled program.
    contexts = parallel.pad_rows(contexts, -(-len(contexts) // 4096) * 4096)
    self._contexts = parallel.replicate(contexts, ranker._devices)

  def log_probs(
    self, features: np.ndarray, progress: Callable[[float], None]
  ) -> np.ndarray:
    """Return log P(word | prefix, image) [Q, n] for features [n, D]."""
    ranker, tiles = self._ranker, self._tiles
    count = len(features)
    images = parallel.replicate(
      ranker._image(
        parallel.pad_rows(np.asarray(features), ranker._image_block)
      ),
      ranker._devices,
    )
    values = np.empty((self._num_edges + 1, count), np.float32)

    def collect(part: slice, result: jax.Array) -> None:
      # [devices, tiles, images, edges] --> [tiles, edges, images]
      found = np.asarray(result)[..., :count, :]
      found = found.reshape(-1, *found.shape[2:]).swapaxes(1, 2)
      values[tiles.edge[part]] = found
      progress(part.stop / len(tiles.prefixes))

    step = self._num_devices * _TILES_PER_CALL
    under_way: list[tuple[slice, jax.Array]] = []
    for start in range(0, len(tiles.prefixes), step):
      part = slice(start, start + step)
      rows = (
        tiles.prefixes[part],
        tiles.edge_slot[part],
        tiles.edge_word[part],
      )
      result = ranker._edges(
        ranker._variables,
        images,
        self._contexts,
        *parallel.split_rows(rows, self._num_devices),
      )
      # The host puts one call's results away while the next one is computed.
      under_way.append((part, result))
      if len(under_way) > 1:
        collect(*under_way.pop(0))
    collect(*under_way.pop())
    return values[:-1]
