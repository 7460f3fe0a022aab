"""Perplexity ranking: log P(sentence | image) for sets of both (section 6).

The language path never sees the image, so a pool of S sentences and N images
costs far less than S x N sentences.  A context is what the language path gives
for a prefix; of models that look a few words back many are the same:

  language  once per distinct prefix: the sentences form a tree of prefixes
  image     once per image
  readout   once per (distinct context, image): the log-normaliser over the
            vocabulary, and beside it the logit of each word that follows it in
            some sentence (again where more follow than a tile has room for)

The readout goes in tiles of a few prefixes times a block of images, so small
that their logits stay in the cache; nothing larger is ever made.  On GPUs a
kernel keeps them in registers.

Letters: S sentences, N images, P distinct prefixes, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import functools

import jax
import numpy as np

from mrnn_jax.models import Model, Variables, compiled, fused_readout
from mrnn_jax.ranking.best_items import Block, Ranking, Vectors, best_of_both
from mrnn_jax.ranking.edge_scores import EdgeScores, edges_fn
from mrnn_jax.ranking.prefix_tree import Sentence
from mrnn_jax.ranking.sentence_pool import SentencePool
from mrnn_jax.runtime import parallel

# Sentences of one tree: bounds memory, and changes no result but for rounding.
_SENTENCE_BLOCK = 16384
_CPU_TILE_ROWS, _TILE_ROWS = 500, 16384  # of logits, by device.

Progress = Callable[[int, int], None]
_Numbered = Iterable[tuple[int, np.ndarray]]  # Blocks, or parts of them.


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


def tile_rows_on(tile_rows: int, devices: Sequence[jax.Device]) -> int:
  """Return how many rows of logits a tile has.

  Args:
    tile_rows: so many; 0: as suits.  On CPUs logits shall stay in the cache,
      accelerators want large products.
    devices: where to compute.
  """
  usual = _CPU_TILE_ROWS if devices[0].platform == 'cpu' else _TILE_ROWS
  return tile_rows or usual


class Ranker:
  """Ranks with one model; compiled once, for any sentences and images.

  Attributes:
    arithmetic: in what numbers it computes; others give other scores.
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
    tile_rows: int = 0,
    dtype: str = 'auto',
    fused: str = 'auto',
  ):
    """Place a model on devices.

    Args:
      model: the model.
      variables: its variables.
      devices: which; all local ones by default.
      image_block: images taken at a time.
      tile_rows: rows of logits [tile_rows, V] that a device holds; 0: see
        ``tile_rows_on``.
      dtype: of the operands of the readout, see ``operand_dtype``.
      fused: see ``fused_readout.is_used``.
    """
    devices = devices or parallel.local_devices()
    dtype = operand_dtype(dtype, devices)
    tile_rows = tile_rows_on(tile_rows, devices)
    # The readout is nearly all of the work; what it starts from stays exact.
    readout = model.clone(dtype=dtype)
    self.tiling = f'{image_block} x {tile_rows}'
    self.arithmetic = dtype
    if devices[0].platform != 'cpu':  # Where precision makes other bits.
      self.arithmetic += f' at {model.precision}'
    by_kernel = fused_readout.is_used(fused, devices[0], model.ends_in_product)
    if by_kernel:
      self.arithmetic += ', fused'
    self.devices = devices
    self.image_block = image_block
    self.tile_prefixes = max(1, tile_rows // image_block)
    self.variables = parallel.replicate(variables, devices)

    # The same prefixes and images on every device: each then has all that its
    # tiles need.
    placed = jax.device_put(variables)
    self.language_step, self.image = (
      functools.partial(compiled.part(model, method), placed)
      for method in ('language_step', 'image')
    )
    self.initial_carry = model.apply(variables, 1, method='initial_carry')
    self.edges = edges_fn(readout, by_kernel, tuple(devices))

  def log_probs(
    self,
    sentences: Sequence[Sentence],
    features: Vectors,
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
    sentences: Sequence[Sentence],
    features: Vectors,
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
    sentences: Sequence[Sentence],
    features: Vectors,
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
    sentences: Sequence[Sentence],
    features: Vectors,
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
    features: Vectors,
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
    pool = SentencePool(sentences, _SENTENCE_BLOCK)
    cuts = self._cuts(pool, len(features))
    ends = np.cumsum(
      [pool.num_prefixes[t] * (x.stop - x.start) for t, x in cuts]
    )
    turn = jax.process_count() if everywhere else 1
    trees = _Trees(self, pool)

    def compute(number: int) -> np.ndarray:
      t, columns = cuts[number]
      before = int(ends[number - 1]) if number else 0
      # The others of this turn are as far with theirs.
      after = int(ends[min(number + turn, len(cuts)) - 1])

      def tell(share: float) -> None:
        if progress:
          progress(before + int(share * (after - before)), int(ends[-1]))

      return trees[t].scores(features[columns], progress and tell)

    def shape_of(number: int) -> tuple[int, int]:
      t, columns = cuts[number]
      return len(pool.parts[t]), columns.stop - columns.start

    numbers = range(first, len(cuts))
    computed: _Numbered = ((number, compute(number)) for number in numbers)
    if everywhere:
      rows = max(map(len, pool.parts), default=0)
      computed = parallel.map_in_turns(
        compute, numbers, shape_of, (rows, self.image_block)
      )
    for number, block in computed:
      t, columns = cuts[number]
      yield pool.parts[t], columns, block

  def num_blocks(self, S: int, N: int) -> int:
    """Return how many blocks S sentences and N images make."""
    return -(-S // _SENTENCE_BLOCK) * -(-N // self.image_block)

  def true_scores(
    self,
    sentences: Sequence[Sentence],
    features: Vectors,
    owner: np.ndarray,
    progress: Progress | None = None,
    everywhere: bool = False,
  ) -> np.ndarray:
    """Return log P of each sentence for one image, with the bits of ``blocks``.

    A tile's bits depend on all that is in it, so whole tiles are computed: all
    those that hold a word of a sentence, with the images of its image's block.

    Args:
      sentences: S sentences of word ids.
      features: [N, D] raw features, an array or what slices like one.
      owner: [S] the image of each sentence.
      progress: called with the sentences done, and S.
      everywhere: as for ``blocks``.

    Returns:
      [S] float32.
    """
    pool = SentencePool(sentences, _SENTENCE_BLOCK)
    block_of = owner // self.image_block
    trees, jobs = _Trees(self, pool), []
    for t, columns in self._cuts(pool, len(features)):
      mine = block_of[pool.parts[t]] == columns.start // self.image_block
      if mine.any():
        jobs.append((t, columns, np.flatnonzero(mine)))

    def compute(number: int) -> np.ndarray:
      t, columns, mine = jobs[number]
      scores = trees[t].scores(features[columns], None, mine)
      own = owner[pool.parts[t][mine]] - columns.start
      return scores[np.arange(len(mine)), own]

    numbers = range(len(jobs))
    computed: _Numbered = ((number, compute(number)) for number in numbers)
    if everywhere:
      most = max((len(mine) for _, _, mine in jobs), default=0)
      computed = parallel.map_in_turns(
        compute, numbers, lambda x: (len(jobs[x][2]),), (most,)
      )
    true, done = np.empty(len(sentences), np.float32), 0
    for number, values in computed:
      t, _, mine = jobs[number]
      true[pool.parts[t][mine]] = values
      done += len(mine)
      if progress:
        progress(done, len(sentences))
    return true

  def _cuts(self, pool: SentencePool, N: int) -> list[tuple[int, slice]]:
    """Return the blocks: parts of the pool, and images of each."""
    size = self.image_block
    images = [slice(i, min(i + size, N)) for i in range(0, N, size)]
    return [(t, columns) for t in range(len(pool.parts)) for columns in images]


class _Trees:
  """What is computed of the trees of a pool, one at a time: they are large."""

  def __init__(self, ranker: Ranker, pool: SentencePool):
    self._ranker, self._pool = ranker, pool
    self._there: dict[int, EdgeScores] = {}

  def __getitem__(self, part: int) -> EdgeScores:
    if part not in self._there:
      self._there.clear()
      self._there[part] = EdgeScores(self._ranker, self._pool.tree(part))
    return self._there[part]
