"""Splits with photos -> batches, a row an image: by Grain, in processes.

A row holds the captions of one image one after another, so that they share a
pass through the encoder by lying together.  Rows are planned as those of
captions are (``input_pipeline``): batch n is a function of the seed and n.
"""

import dataclasses
import functools
import multiprocessing
import os
import signal
import threading

import grain
import numpy as np

from mrnn_jax.data import augmentation as augmentation_lib
from mrnn_jax.data import input_pipeline
from mrnn_jax.data.datasets import CaptionSplit
from mrnn_jax.data.input_pipeline import Batch

# An image with more captions has several rows: few make all rows long.
MAX_CAPTIONS = 8
# Beside the seed, of what is drawn for photos.
_PHOTOS = 0x9407


class PhotoBatches:
  """The batches of a training run that sees photos, by step number.

  Attributes:
    steps_per_epoch: batches in a pass over the captions.
    words_per_batch: the expected number of target words of a batch.
    buckets: row lengths that occur.
    padding: share of the target positions of a pass that are padding.
    images_per_batch: rows of a batch, those of padding left aside.
  """

  def __init__(
    self,
    split: CaptionSplit,
    image_size: int,
    augmentation: augmentation_lib.Augmentation,
    batch_size: int,
    num_buckets: int,
    seed: int,
    row_multiple: int = 1,
    shard: tuple[int, int] = (0, 1),
    num_workers: int = 0,
  ):
    """Plan batches.

    Args:
      split: the training split, with photos.
      image_size: S, pixels of a side that the encoder takes.
      augmentation: how photos are changed by chance.
      batch_size: captions a step, about.
      num_buckets: row lengths at most.
      seed: of the order, and of all that is drawn.
      row_multiple: batches are padded to a multiple of it with empty rows.
      shard: (i, n): fill only part i of n of each batch's rows.
      num_workers: processes beside this one that fill batches; 0: this one
        does.  Grain then asks for absl's flags: see ``config.flags.settle``.
    """
    self._num_workers = num_workers
    # What photos are seen by needs no features, here or in other processes.
    self._split = dataclasses.replace(
      split, given_features=None, given_photos=None
    )
    self._photos, self._image_size = split.photos, image_size
    self._augmentation, self._seed = augmentation, seed
    self._shard = shard
    self._sided = input_pipeline.tells_sides(split.captions)
    self._rows = rows_of_images(split.owner)
    lengths = split.lengths
    self._lengths = np.where(self._rows >= 0, lengths[self._rows], 0).sum(1)
    self.buckets = input_pipeline.choose_buckets(self._lengths, num_buckets)
    each = len(split.owner) / len(self._rows)
    wanted = max(1, round(batch_size / each))
    self.images_per_batch = min(wanted, len(self._rows))
    self.num_rows = -(-self.images_per_batch // row_multiple) * row_multiple
    plan = self.plan(0)
    self.steps_per_epoch = len(plan)
    self.words_per_batch = lengths.sum() / len(plan)
    positions = sum(length * self.images_per_batch for length, _ in plan)
    self.padding = 1 - lengths.sum() / positions

  @functools.lru_cache(maxsize=4)  # noqa: B019  (lives as long as the run)
  def plan(self, epoch: int) -> list[tuple[int, np.ndarray]]:
    """Return the batches of an epoch: row lengths, and numbers of rows."""
    planned = input_pipeline.plan_batches(
      self._lengths,
      self.buckets,
      self.images_per_batch,
      1,
      np.random.default_rng((self._seed, epoch)),
    )
    return [(length, rows[:, 0]) for length, rows in planned]

  def batch(self, step: int) -> Batch:
    """Return this shard's part of the batch of a step.

    Returns:
      tokens and targets [B, T] int32; captions [B, G], the captions' numbers,
      -1 for none; photos [B, S, S, 3] uint8, of the image of each row.
    """
    epoch, i = divmod(step, self.steps_per_epoch)
    length, rows = self.plan(epoch)[i]
    shard, num_shards = self._shard
    share = self.num_rows // num_shards
    first = shard * share
    mine = self._rows[rows[first : first + share]]
    batch = input_pipeline.fill_batch(self._split, length, mine, share)
    side = self._image_size
    batch['photos'] = np.zeros((share, side, side, 3), np.uint8)
    for b, captions in enumerate(mine):
      batch['photos'][b] = self._photo(step, first + b, captions)
    return batch

  def _photo(self, step: int, row: int, captions: np.ndarray) -> np.ndarray:
    """Return the pixels of a row's image, changed by step and row."""
    captions = captions[captions >= 0]
    return augmentation_lib.augmented(
      self._photos[self._split.owner[captions[0]]],
      self._image_size,
      self._augmentation,
      np.random.default_rng((self._seed, _PHOTOS, step, row)),
      bool(self._sided[captions].any()),
    )

  def iterate(
    self, start: int, stop: int, num_threads: int = 2
  ) -> input_pipeline.OpenBatches:
    """Yield the batches of steps ``start`` to ``stop``, filled ahead.

    Args:
      start: the first step.
      stop: the step behind the last one.
      num_threads: that fill batches, in this process or in each worker.
    """
    dataset = grain.MapDataset.range(start, stop).map(self.batch)
    dataset = dataset.to_iter_dataset(
      grain.ReadOptions(
        num_threads=num_threads, prefetch_buffer_size=2 * num_threads
      )
    )
    if self._num_workers:
      dataset = dataset.mp_prefetch(
        grain.MultiprocessingOptions(
          num_workers=self._num_workers, per_worker_buffer_size=2
        ),
        worker_init_fn=_start_worker,
      )
    return iter(dataset)


def rows_of_images(owner: np.ndarray) -> np.ndarray:
  """Lay the captions of images in rows, those of an image together.

  Args:
    owner: [C] each caption's image, in the images' order.

  Returns:
    [U, G] caption numbers, -1 for none, each caption once, G at most
    ``MAX_CAPTIONS``.
  """
  ends = np.flatnonzero(np.diff(owner)) + 1
  rows = [
    captions[i : i + MAX_CAPTIONS]
    for captions in np.split(np.arange(len(owner)), ends)
    for i in range(0, len(captions), MAX_CAPTIONS)
  ]
  table = np.full((len(rows), max(map(len, rows))), -1)
  for row, captions in zip(table, rows, strict=True):
    row[: len(captions)] = captions
  return table


def _start_worker(index: int, count: int) -> None:
  """Leave signals to the parent, and end when it does, however it ends."""
  del index, count
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
  parent = multiprocessing.parent_process()

  if parent is None:
    return

  def watch():
    parent.join()
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()
