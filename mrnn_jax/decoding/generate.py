"""Captions of a trained model, shared out over processes and devices."""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import numpy as np

from mrnn_jax import models
from mrnn_jax.decoding import batches
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.decoding.search import Decoded
from mrnn_jax.models import compiled
from mrnn_jax.runtime import parallel


def generate(
  model: models.Model,
  variables: models.Variables,
  devices: list[jax.Device],
  features: np.ndarray,
  options: DecodeOptions,
  prefixes: Sequence[Sequence[int]] | None = None,
  max_words: Sequence[int] | None = None,
  seed: int = 0,
  batch_size: int = 100,
  progress: Callable[[int, int], None] | None = None,
  everywhere: bool = False,
  first: int = 0,
) -> Decoded:
  """Write captions.

  Args:
    model: the model.
    variables: its variables.
    devices: local ones.
    features: [N, D] raw features.
    options: how to choose words.
    prefixes: N lists of ids of given words; none if None.
    max_words: [N] most words of each; those of the options if None.
    seed: of sampling; a caption depends on it and its number, not on who
      writes it.
    batch_size: images a device takes at a time, at most.
    progress: called with images done and in all.
    everywhere: all processes call this at the same time and share the images;
      each of them returns all captions.
    first: number of the first image, where they are some of many.

  Returns:
    What ``batches.decode_in_batches`` does, [N, K, ...].
  """
  n, N = len(devices), len(features)
  own = parallel.own_rows(N) if everywhere else np.arange(N)
  placed = parallel.replicate(variables, devices)
  slots = batches.num_slots(options, batch_size, devices[0].platform)
  mapped = _decode_fn(model, options, slots, tuple(devices))
  key = jax.random.key(seed)

  def decode_fn(*batch):
    *inputs, rows = batch
    rows = (first + own[rows]).astype(np.int32)
    # Dealt in turn, as long captions come first.
    dealt = [
      x.reshape(len(x) // n, n, *x.shape[1:]).swapaxes(0, 1)
      for x in (*inputs, rows)
    ]
    # On the host: each would be a program to compile.
    found = jax.device_get(mapped(placed, key, *dealt))
    return jax.tree.map(
      lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), found
    )

  decoded = batches.decode_in_batches(
    decode_fn,
    image_vectors(model, variables, features, own),
    options,
    prefixes and [prefixes[i] for i in own.tolist()],
    None if max_words is None else np.asarray(max_words)[own],
    batches.rows_per_call(len(own), batch_size * n),
    # The others are as far with theirs.
    progress and (lambda done, of: progress(done * N // of, N)),
  )
  return parallel.gather_rows(decoded, N) if everywhere else decoded


def even_batch_size(num_rows: int, num_devices: int, limit: int) -> int:
  """Return a batch size that leaves no device of any process a small rest.

  Args:
    num_rows: of all processes.
    num_devices: of each process.
    limit: rows that a device may take at a time.
  """
  share = -(-num_rows // (num_devices * jax.process_count()))
  return max(1, -(-share // -(-share // limit)))


def image_vectors(
  model: models.Model,
  variables: models.Variables,
  features: np.ndarray,
  rows: np.ndarray,
  batch_size: int = 256,
) -> np.ndarray:
  """Return what images give [rows, J], for rows of raw features [N, D]."""
  image_fn = compiled.part(model, 'image')
  shape = jax.eval_shape(image_fn, variables, features[np.arange(1)]).shape
  vectors = np.empty((len(rows), *shape[1:]), np.float32)
  for start in range(0, len(rows), batch_size):
    part = features[rows[start : start + batch_size]]
    result = image_fn(variables, parallel.pad_rows(part, batch_size))
    vectors[start : start + batch_size] = result[: len(part)]
  return vectors


# Compiled once for each model and way of decoding, however often it is asked.
@functools.cache
def _decode_fn(model, options, num_slots, devices) -> Callable[..., Any]:
  def decode_rows(variables, key, images, *rows):
    return batches.decode(
      model, options, num_slots, variables, key, images, *rows
    )

  return parallel.pmap(
    decode_rows, list(devices), in_axes=(0, None, 0, 0, 0, 0, 0)
  )
