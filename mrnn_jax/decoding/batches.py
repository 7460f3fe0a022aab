"""Captions from a model, for any number of images (paper, section 6)."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.decoding.search import Decoded, StepFn, search
from mrnn_jax.runtime.errors import InputError

Array = jax.Array

# On a CPU, so many hypotheses at a time: their logits stay in its cache.  More
# are no faster, and more of them idle at the end.
_CPU_HYPOTHESES = 128
# Batches to a call, at most: at its end slots idle.
_BATCHES = 8


def num_slots(options: DecodeOptions, batch_size: int, platform: str) -> int:
  """Return how many rows ``search`` should work on at a time.

  Args:
    options: how to choose words.
    batch_size: the most rows.
    platform: of the device.
  """
  if platform != 'cpu':
    return batch_size
  return min(batch_size, max(1, _CPU_HYPOTHESES // options.num_hypotheses))


def rows_per_call(num_rows: int, batch_size: int) -> int:
  """Return a number of rows to decode in one call, a multiple of a batch.

  There are few such numbers, for each is compiled anew; and the last call is
  about as full as the others.
  """
  batches = max(1, -(-num_rows // batch_size))
  calls = -(-batches // _BATCHES)
  return batch_size * -(-batches // calls)


def model_step_fn(model: nn.Module, variables: Any) -> StepFn:
  """Make the step function of search from the parts of a model."""

  def step_fn(carry, tokens, image):
    carry, language = model.apply(
      variables, carry, tokens, method='language_step'
    )
    return carry, model.apply(
      variables, language, image[None], method='readout'
    )

  return step_fn


def decode(
  model: nn.Module,
  options: DecodeOptions,
  num_slots: int,
  variables: Any,
  key: Array,
  images: Array,
  prefix: Array,
  prefix_lengths: Array,
  max_words: Array,
  row_ids: Array,
) -> Decoded:
  """Generate captions for N rows by a model of this package.

  A pure function for ``jax.jit`` or ``jax.pmap`` with ``model``, ``options``
  and ``num_slots`` bound or static; the arguments are those of ``search``.
  """
  return search(
    model_step_fn(model, variables),
    model.apply(variables, len(images), method='initial_carry'),
    images,
    prefix,
    prefix_lengths,
    max_words,
    row_ids,
    key,
    options,
    num_slots,
  )


def decode_in_batches(
  decode_fn: Callable[..., Decoded],
  images: np.ndarray,
  options: DecodeOptions,
  prefixes: Sequence[Sequence[int]] | None = None,
  max_words: Sequence[int] | np.ndarray | None = None,
  batch_size: int = 100,
  progress_fn: Callable[[int, int], None] | None = None,
) -> Decoded:
  """Generate captions for any number of rows, in batches of one shape.

  Args:
    decode_fn: (images, prefix, prefix_lengths, max_words, row_ids) of one
      batch -> its captions; ``decode`` compiled, the rest bound.
    images: [N, J] what the model's image part gives.
    options: those that ``decode_fn`` has.
    prefixes: N lists of ids of given words, of any lengths; none if None.
    max_words: [N] most words of each row; ``options.max_words`` if None.
    batch_size: rows of a batch; the last one is filled up.
    progress_fn: called with (rows done, N) after each batch.

  Returns:
    The captions in the order of the rows, as numpy arrays.

  Raises:
    InputError: a row asks for more words than ``options.max_words``, or the
      model's log-probabilities are not numbers.
  """
  N, M = images.shape
  if prefixes is None:
    prefixes = [()] * N
  if max_words is None:
    max_words = np.full(N, options.max_words)
  limits = np.asarray(max_words, np.int32)
  prefix_lengths = np.array([len(p) for p in prefixes], np.int32)
  if not len(limits) == len(prefixes) == N:
    raise ValueError(
      f'{N} images, {len(prefixes)} prefixes, {len(limits)} max_words.'
    )
  if N and limits.max() > options.max_words:
    raise InputError(
      f'A caption of {limits.max()} words is asked for, but max_words is'
      f' {options.max_words}.'
    )
  prefix = np.full((N, max(prefix_lengths, default=0)), PAD, np.int32)
  for row, words in zip(prefix, prefixes, strict=True):
    row[: len(words)] = words

  K, W = options.num_returned, options.max_words
  result = Decoded(
    words=np.zeros((N, K, W), np.int32),
    lengths=np.zeros((N, K), np.int32),
    num_targets=np.zeros((N, K), np.int32),
    log_probs=np.zeros((N, K), np.float32),
    scores=np.zeros((N, K), np.float32),
    cut=np.zeros((N, K), bool),
  )
  # The longest first: what comes last decides how long others wait for it.
  order = np.argsort(-limits, kind='stable').astype(np.int32)
  for start in range(0, N, batch_size):
    rows = order[start : start + batch_size]
    inputs = (images, prefix, prefix_lengths, limits)
    # Rows of zeros fill up: 0 words to generate, so nobody waits for them.
    batch = [np.zeros((batch_size, *x.shape[1:]), x.dtype) for x in inputs]
    for filled, x in zip(batch, inputs, strict=True):
      filled[: len(rows)] = x[rows]
    row_ids = np.zeros(batch_size, np.int32)
    row_ids[: len(rows)] = rows
    captions = jax.device_get(decode_fn(*batch, row_ids))
    for name, values in vars(result).items():
      values[rows] = getattr(captions, name)[: len(rows)]
    if np.isnan(result.log_probs[rows]).any():
      bad = rows[np.isnan(result.log_probs[rows]).any(axis=-1)][0]
      raise InputError(
        f'The model gives no probabilities (NaN) for row {bad}; its'
        ' parameters or the feature of that image are not finite.'
      )
    if progress_fn:
      progress_fn(start + len(rows), N)
  return result
