"""Teacher forcing: log2-probabilities of given captions, and perplexity."""

from collections.abc import Callable, Mapping
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax import metrics as metrics_lib
from mrnn_jax import models
from mrnn_jax.data import datasets, input_pipeline
from mrnn_jax.data.vocabulary import END, PAD
from mrnn_jax.models.losses import log2_probabilities
from mrnn_jax.runtime import parallel

Array = jax.Array


def eval_step(
  variables: models.Variables,
  batch: Mapping[str, Array],
  *,
  model: models.Model,
) -> dict[str, Array]:
  """Score the captions of a batch, one caption a row (eq. 5).

  Returns:
    log2_prob [B] of each caption, and end_log2_prob [B], the part of it that
    is the probability of ``##END##``.
  """
  logits: Any = model.apply(variables, batch['tokens'], batch['features'])
  log2_prob = log2_probabilities(logits, batch['targets'])  # [B, T]
  is_end = batch['targets'] == END
  return {
    'log2_prob': log2_prob.sum(1),
    'end_log2_prob': jnp.where(is_end, log2_prob, 0.0).sum(1),
  }


# Compiled once for each model, however many read to it.
@functools.cache
def _step_fn(
  model: models.Model, devices: tuple[jax.Device, ...]
) -> Callable[..., dict[str, Array]]:
  return parallel.pmap(functools.partial(eval_step, model=model), list(devices))


class TeacherForcing:
  """Reads captions of splits to a model, on all devices."""

  def __init__(self, model: models.Model, devices: list[jax.Device]):
    """Compile for a model; shapes are compiled as they come."""
    self._devices = devices
    self._step = _step_fn(model, tuple(devices))

  def log2_probs(
    self,
    variables: models.Variables,
    split: datasets.CaptionSplit,
    batch_size: int,
    context_words: int = 0,
    between: Callable[[], None] = lambda: None,
    everywhere: bool = False,
  ) -> dict[str, np.ndarray]:
    """Return the log2-probabilities of every caption of a split.

    Args:
      variables: of the model, replicated over the devices.
      split: C captions.
      batch_size: captions a step.
      context_words: so many words of each caption are given and not judged;
        captions that have no more are left out.
      between: called before every step; what it raises ends the work.
      everywhere: all processes call this at the same time and share the steps.

    Returns:
      [C] float64 each: log2_prob, end_log2_prob, num_targets, num_unknown.
    """
    n = len(self._devices)
    scores = {
      name: np.zeros(len(split.owner))
      for name in ('log2_prob', 'end_log2_prob')
    }
    batches = input_pipeline.evaluation_batches(split, batch_size, n)
    for batch in parallel.share(batches) if everywhere else batches:
      between()
      if batch is None:  # Others have one step more.
        continue
      captions = batch.pop('captions')[:, 0]
      batch['targets'][:, :context_words] = PAD
      result = self._step(variables, parallel.split_rows(batch, n))
      there = captions >= 0
      for name, values in scores.items():
        values[captions[there]] = np.ravel(result[name])[there]
    if everywhere:
      # Each caption was scored by one process alone: no sum, no rounding.
      scores = {
        name: parallel.gather(values.astype(np.float32)).sum(0, np.float64)
        for name, values in scores.items()
      }
    scores['num_targets'] = split.lengths - float(context_words)
    scores['num_unknown'] = datasets.count_unknown(split, context_words)
    # The last target is ##END##: a caption that has it alone is left out.
    there = scores['num_targets'] > 1
    return {name: values[there] for name, values in scores.items()}


def perplexities(scores: Mapping[str, np.ndarray]) -> dict[str, float]:
  """Summarise log2-probabilities of captions, as evaluation.json has it."""
  return metrics_lib.perplexity(
    scores['log2_prob'],
    scores['num_targets'],
    scores['end_log2_prob'],
    scores['num_unknown'],
  )
