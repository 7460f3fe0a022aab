"""Captions of a trained model, shared out over processes and devices."""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import numpy as np

from mrnn_jax.config import Config
from mrnn_jax.decoding import decode as decode_lib
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.decoding.search import Decoded
from mrnn_jax.models import mrnn as model_lib
from mrnn_jax.runtime import parallel


def decode_options(config: Config) -> DecodeOptions:
  """Return how the configuration wants words to be chosen."""
  method = 'beam' if config.beam_size > 1 else 'greedy'
  return DecodeOptions(
    method='sample' if config.sample else method,
    beam_size=config.beam_size,
    num_best=config.nbest,
    beam_groups=config.beam_groups,
    diversity_penalty=config.diversity_penalty,
    num_samples=config.nbest,
    temperature=config.temperature,
    top_k=config.top_k,
    top_p=config.top_p,
    length_penalty=config.length_penalty,
    max_words=config.max_words,
    min_words=config.min_words,
    no_repeat_ngram=config.no_repeat_ngram,
  )


def generate(
  model: model_lib.MRNN,
  variables: model_lib.Variables,
  devices: list[jax.Device],
  features: np.ndarray,
  options: DecodeOptions,
  prefixes: Sequence[Sequence[int]] | None = None,
  max_words: Sequence[int] | None = None,
  seed: int = 0,
  batch_size: int = 100,
  progress: Callable[[int, int], None] | None = None,
  everywhere: bool = False,
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

  Returns:
    What ``decode.decode_in_batches`` does, [N, K, ...].
  """
  n, N = len(devices), len(features)
  own = parallel.own_rows(N) if everywhere else np.arange(N)
  placed = parallel.replicate(variables, devices)
  slots = decode_lib.num_slots(options, batch_size, devices[0].platform)
  mapped = _decode_fn(model, options, slots, tuple(devices))
  key = jax.random.key(seed)

  def decode_fn(*batch):
    *inputs, rows = batch
    rows = own[rows].astype(np.int32)
    # Dealt in turn, as long captions come first.
    dealt = [
      x.reshape(len(x) // n, n, *x.shape[1:]).swapaxes(0, 1)
      for x in (*inputs, rows)
    ]
    return jax.tree.map(
      lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]),
      mapped(placed, key, *dealt),
    )

  decoded = decode_lib.decode_in_batches(
    decode_fn,
    image_vectors(model, variables, features, own),
    options,
    prefixes and [prefixes[i] for i in own],
    None if max_words is None else np.asarray(max_words)[own],
    decode_lib.rows_per_call(len(own), batch_size * n),
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
  model: model_lib.MRNN,
  variables: model_lib.Variables,
  features: np.ndarray,
  rows: np.ndarray,
  batch_size: int = 256,
) -> np.ndarray:
  """Return V_I I [rows, M] for some rows of raw features [N, D]."""
  image_fn = _image_fn(model)
  vectors = np.empty((len(rows), model.multimodal_size), np.float32)
  for start in range(0, len(rows), batch_size):
    part = features[rows[start : start + batch_size]]
    result = image_fn(variables, parallel.pad_rows(part, batch_size))
    vectors[start : start + batch_size] = result[: len(part)]
  return vectors


# Compiled once for each model and way of decoding, however often it is asked.
@functools.cache
def _decode_fn(model, options, num_slots, devices) -> Callable[..., Any]:
  def decode_rows(variables, key, images, *rows):
    return decode_lib.decode(
      model, options, num_slots, variables, key, images, *rows
    )

  return parallel.pmap(
    decode_rows, list(devices), in_axes=(0, None, 0, 0, 0, 0, 0)
  )


@functools.cache
def _image_fn(model) -> Callable[..., jax.Array]:
  return jax.jit(functools.partial(model.apply, method='image'))
