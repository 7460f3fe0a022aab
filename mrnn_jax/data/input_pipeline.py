"""Splits -> batches, by Grain.

Batches are planned, not drawn: which captions step n holds is a function of
the seed and n alone.  So the position in the data is the step number, and a
run resumes at any step on any number of devices and processes.

A row of a batch holds G = ``captions_per_row`` captions one after another,
short ones with long ones: the sums of their lengths vary much less than the
lengths, so that a few row lengths ("buckets") waste next to nothing.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
import functools
from typing import Protocol

import grain
import numpy as np

from mrnn_jax.data.datasets import CaptionSplit
from mrnn_jax.data.vocabulary import PAD, tokenize

Batch = dict[str, np.ndarray]
DrawViews = Callable[[np.ndarray], np.ndarray]
# Of what is mirrored these do not hold.
_SIDES = {'left', 'right'}
# Beside the seed, of what is drawn for views: the order of captions has none.
_VIEWS = 0x71E3
# Batches that a thread fills one after another: handing on one costs Grain as
# much as filling it.
_TOGETHER = 4


class OpenBatches(Iterator[Batch], Protocol):
  """Batches that are filled ahead until they are closed."""

  def close(self) -> None: ...  # noqa: D102


def choose_buckets(lengths: np.ndarray, num_buckets: int) -> list[int]:
  """Choose at most ``num_buckets`` lengths that waste least.

  Each of ``lengths`` is padded to the next bucket; the sum is least, by
  dynamic programming over the distinct lengths.
  """
  values, counts = np.unique(lengths, return_counts=True)
  total = np.concatenate([[0], np.cumsum(counts)])
  n = len(values)
  # cost[j]: least sum for the first j values; one more bucket each round.
  cost = np.full(n + 1, np.inf)
  cost[0] = 0
  choices = []
  for _ in range(min(num_buckets, n)):
    table = np.full((n + 1, n + 1), np.inf)
    for j in range(1, n + 1):
      table[j, :j] = cost[:j] + (total[j] - total[:j]) * values[j - 1]
    choices.append(table.argmin(1))
    cost = table.min(1)
  buckets, j = [], n
  for choice in reversed(choices):
    if j > 0:
      buckets.append(int(values[j - 1]))
      j = int(choice[j])
  return buckets[::-1]


def fill_rows(
  lengths: np.ndarray, captions_per_row: int, rng: np.random.Generator | None
) -> np.ndarray:
  """Lay captions in rows, short ones with long ones.

  Args:
    lengths: [C].
    captions_per_row: G.
    rng: shuffles captions of equal length; None keeps them in order.

  Returns:
    [ceil(C / G), G] caption numbers, -1 for none, each caption once.
  """
  order = np.arange(len(lengths))
  if rng is not None:
    rng.shuffle(order)
  order = order[np.argsort(lengths[order], kind='stable')]
  num_rows = -(-len(order) // captions_per_row)
  padded = np.full(num_rows * captions_per_row, -1)
  # The empty places come first, as the shortest captions would.
  padded[len(padded) - len(order) :] = order
  columns = padded.reshape(captions_per_row, num_rows)
  # Every other quantile runs backwards: long with short.
  columns[1::2] = columns[1::2, ::-1]
  return columns.T


def plan_batches(
  lengths: np.ndarray,
  buckets: Sequence[int],
  batch_size: int,
  captions_per_row: int,
  rng: np.random.Generator | None,
) -> list[tuple[int, np.ndarray]]:
  """Plan one pass over captions, in full batches.

  Rows that fill no batch of their bucket move up to the next, so that only
  the last batch can be short.

  Returns:
    Pairs of a row length T and [rows, G] caption numbers, -1 for none.
  """
  rows_per_batch = max(1, batch_size // captions_per_row)
  rows = fill_rows(lengths, captions_per_row, rng)
  sums = np.where(rows >= 0, lengths[rows], 0).sum(1)
  bucket_of = np.searchsorted(buckets, sums)
  batches, waiting = [], rows[:0]
  for b, length in enumerate(buckets):
    mine = rows[bucket_of == b]
    if rng is not None:
      rng.shuffle(mine)
    # Rows moved up go first: they must not move on and on.
    mine = np.concatenate([waiting, mine])
    last = b == len(buckets) - 1
    stop = len(mine) if last else len(mine) - len(mine) % rows_per_batch
    batches += [
      (length, mine[i : i + rows_per_batch])
      for i in range(0, stop, rows_per_batch)
    ]
    waiting = mine[stop:]
  if rng is not None:
    rng.shuffle(batches)
  return batches


def fill_batch(
  split: CaptionSplit,
  length: int,
  rows: np.ndarray,
  num_rows: int,
  draw_views: DrawViews | None = None,
) -> Batch:
  """Fill a batch from the rows of a plan.

  Args:
    split: where the captions are.
    length: T.
    rows: [<= num_rows, G] caption numbers, -1 for none.
    num_rows: B; rows of padding make up the number.
    draw_views: captions [B, G] -> a view of each one's image; by default what
      the split takes for its feature.

  Returns:
    tokens and targets [B, T] int32, ``PAD`` where there is nothing; captions
    [B, G], the caption numbers; features [B, G, D], if the split has any.
  """
  G = rows.shape[1]
  captions = np.full((num_rows, G), -1)
  # Captions first: the g-th ##START## of a row has the g-th feature.
  order = np.argsort(rows < 0, axis=1, kind='stable')
  captions[: len(rows)] = np.take_along_axis(rows, order, axis=1)
  there = captions >= 0
  present, row = captions[there], np.nonzero(there)[0]
  offsets = split.offsets[present]
  words = split.offsets[present + 1] - offsets - 1
  begins = np.cumsum(words) - words  # Of each caption, one after another.
  first = np.diff(row, prepend=-1) != 0  # Of its row.
  place = row * length + begins - begins[first][np.cumsum(first) - 1]
  step = np.arange(words.sum())
  place = np.repeat(place - begins, words) + step
  source = np.repeat(offsets - begins, words) + step
  tokens = np.full((num_rows, length), PAD, np.int32)
  targets = np.full((num_rows, length), PAD, np.int32)
  tokens.reshape(-1)[place] = split.tokens[source]
  targets.reshape(-1)[place] = split.tokens[source + 1]
  batch = {'tokens': tokens, 'targets': targets, 'captions': captions}
  if not split.has_features:
    return batch
  images = split.owner[present]
  if draw_views is None:
    found = split.features[images]
  else:
    found = split.features.drawn(images, draw_views(captions)[there])
  if there.all():
    features = found.reshape(num_rows, G, -1)
  else:
    features = np.zeros((num_rows, G, found.shape[1]), found.dtype)
    features[there] = found
  return {**batch, 'features': features}


def tells_sides(captions: Sequence[Sequence[str]]) -> np.ndarray:
  """Say of each caption whether it says left or right: [N] lists --> [C]."""
  return np.asarray(
    [bool(_SIDES & set(tokenize(text))) for texts in captions for text in texts]
  )


def _view_drawer(
  split: CaptionSplit, num_views: int, seed: int
) -> Callable[[int, int, np.ndarray], np.ndarray] | None:
  """Return what draws views: (step, first row, captions [B, G]) --> [B, G].

  What is drawn depends on seed, step, row and place in the row alone.  A
  caption that says left or right gets no view that is mirrored.
  """
  if num_views == 1:
    return None
  flips = split.features.view_flips[:num_views]
  orders = [np.arange(num_views), np.flatnonzero(~flips)]
  sided = tells_sides(split.captions)

  def draw(step: int, first: int, captions: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng((seed, _VIEWS, step))
    chance = rng.random((first + len(captions), captions.shape[1]))[first:]
    any_view, unmirrored = (
      order[(chance * len(order)).astype(int)] for order in orders
    )
    return np.where(sided[captions], unmirrored, any_view)

  return draw


class TrainingBatches:
  """The batches of a training run, by step number.

  Attributes:
    steps_per_epoch: batches in a pass over the captions.
    words_per_batch: the expected number of target words of a batch.
    buckets: row lengths that occur.
    padding: share of the target positions of a pass that are padding.
  """

  def __init__(
    self,
    split: CaptionSplit,
    batch_size: int,
    captions_per_row: int,
    num_buckets: int,
    seed: int,
    row_multiple: int = 1,
    shard: tuple[int, int] = (0, 1),
    num_views: int = 1,
  ):
    """Plan batches.

    Args:
      split: the training split.
      batch_size: captions a step.
      captions_per_row: G.
      num_buckets: row lengths at most.
      seed: of the order.
      row_multiple: batches are padded to a multiple of it with empty rows.
      shard: (i, n): fill only part i of n of each batch's rows.
      num_views: draw the features among so many views of an image, the first
        ones; 1: take what the split has for its feature.
    """
    self._draw = _view_drawer(split, num_views, seed)
    self._split, self._seed, self._shard = split, seed, shard
    self._batch_size = min(
      batch_size, -(-len(split.owner) // captions_per_row) * captions_per_row
    )
    self._captions_per_row = captions_per_row
    lengths = split.lengths
    rows = fill_rows(lengths, captions_per_row, None)
    sums = np.where(rows >= 0, lengths[rows], 0).sum(1)
    self.buckets = choose_buckets(sums, num_buckets)
    rows_per_batch = max(1, self._batch_size // captions_per_row)
    self.num_rows = -(-rows_per_batch // row_multiple) * row_multiple
    plan = self.plan(0)
    self.steps_per_epoch = len(plan)
    self.words_per_batch = lengths.sum() / len(plan)
    positions = sum(length * rows_per_batch for length, _ in plan)
    self.padding = 1 - lengths.sum() / positions

  @functools.lru_cache(maxsize=4)  # noqa: B019  (lives as long as the run)
  def plan(self, epoch: int) -> list[tuple[int, np.ndarray]]:
    """Return the batches of an epoch, as ``plan_batches``."""
    return plan_batches(
      self._split.lengths,
      self.buckets,
      self._batch_size,
      self._captions_per_row,
      np.random.default_rng((self._seed, epoch)),
    )

  def batch(self, step: int) -> Batch:
    """Return this shard's part of the batch of a step."""
    epoch, i = divmod(step, self.steps_per_epoch)
    length, rows = self.plan(epoch)[i]
    shard, num_shards = self._shard
    share = self.num_rows // num_shards
    mine = rows[shard * share : (shard + 1) * share]
    draw = None
    if self._draw:
      draw = functools.partial(self._draw, step, shard * share)
    return fill_batch(self._split, length, mine, share, draw)

  def iterate(
    self, start: int, stop: int, num_threads: int = 2
  ) -> Generator[Batch, None, None]:
    """Yield the batches of steps ``start`` to ``stop``, filled ahead."""

    def several(first: int) -> list[Batch]:
      steps = range(first, min(first + _TOGETHER, stop))
      return [self.batch(step) for step in steps]

    dataset = grain.MapDataset.range(start, stop, _TOGETHER).map(several)
    options = grain.ReadOptions(
      num_threads=num_threads, prefetch_buffer_size=2 * num_threads
    )
    for batches in dataset.to_iter_dataset(options):
      yield from batches


def evaluation_batches(
  split: CaptionSplit,
  batch_size: int,
  row_multiple: int = 1,
  num_buckets: int = 4,
) -> Iterator[Batch]:
  """Yield every caption of a split once, one a row, in few shapes."""
  buckets = choose_buckets(split.lengths, num_buckets)
  plan = plan_batches(split.lengths, buckets, batch_size, 1, None)
  num_rows = -(-batch_size // row_multiple) * row_multiple
  for length, rows in plan:
    yield fill_batch(split, length, rows, num_rows)
