"""Optimizers and learning rate schedules, from the configuration."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mrnn_jax.config import Config
from mrnn_jax.runtime.progress import say
from mrnn_jax.training.step import ENCODER, squared_norm


def create_schedule(
  config: Config, steps_per_epoch: int, peak: float | None = None
) -> optax.Schedule:
  """Return the learning rate by step: warm-up, then ``config.schedule``.

  Args:
    config: of the run.
    steps_per_epoch: of its batches.
    peak: the highest; by default the model's.
  """
  peak = config.learning_rate if peak is None else peak
  total = num_steps(config, steps_per_epoch)
  warmup = min(config.warmup_steps, total - 1)
  if config.schedule == 'cosine':
    after = optax.cosine_decay_schedule(
      peak, total - warmup, config.final_learning_rate
    )
  elif config.schedule == 'step':
    after = optax.exponential_decay(
      peak,
      max(1, round(config.decay_epochs * steps_per_epoch)),
      config.decay_factor,
      staircase=True,
    )
  else:  # constant; plateau scales it by what the state holds
    after = optax.constant_schedule(peak)
  ramp = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
  return optax.join_schedules([ramp, after], [warmup])


def create_optimizer(
  config: Config,
  schedule: optax.Schedule,
  encoder_schedule: optax.Schedule | None = None,
  trained: Sequence[str] = (),
  carries_encoder: bool = False,
) -> optax.GradientTransformation:
  """Return the optimizer, the clipping of the gradient in front of it.

  Args:
    config: of the run.
    schedule: the model's learning rate.
    encoder_schedule: the encoder's.
    trained: names of its blocks that are trained.
    carries_encoder: whether there are blocks of an encoder among the
      parameters.  They are clipped and updated by themselves, so that a model
      beside an encoder that rests is trained as without it.
  """
  of_model = _optimizer(config, schedule, config.weight_decay)
  if not carries_encoder:
    return of_model
  parts = {'model': of_model, 'frozen': _nothing()}
  if trained:
    parts['trained'] = _optimizer(
      config, encoder_schedule, config.encoder_weight_decay
    )

  def label(path: tuple[Any, ...], _: Any) -> str:
    names = [key.key for key in path]
    if names[0] != ENCODER:
      return 'model'
    return 'trained' if names[1] in trained else 'frozen'

  return optax.multi_transform(
    parts, lambda params: jax.tree_util.tree_map_with_path(label, params)
  )


def _nothing() -> optax.GradientTransformation:
  """Return what leaves parameters as they are, to the bit.

  -0, since 0 would make 0 of a parameter that is -0, and another encoder of one
  that nobody trains.
  """
  return optax.stateless(
    lambda updates, _: jax.tree.map(lambda u: jnp.full_like(u, -0.0), updates)
  )


def _optimizer(
  config: Config, schedule: optax.Schedule, weight_decay: float
) -> optax.GradientTransformation:
  """Return the optimizer that is configured, with its clipping."""
  if config.optimizer == 'adamw':
    update = optax.adamw(
      schedule,
      weight_decay=weight_decay,
      mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params),
    )
  elif config.optimizer == 'adam':
    update = optax.adam(schedule)
  elif config.optimizer == 'rmsprop':
    update = optax.rmsprop(schedule)
  else:
    update = optax.sgd(schedule, momentum=config.momentum or None)
  if not config.clip_norm:
    return update
  return optax.chain(clip_by_global_norm(config.clip_norm), update)


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
  """Return what ``optax.clip_by_global_norm`` does, in fewer passes.

  A factor is multiplied wherever the gradient is read; optax divides it by its
  norm, which XLA does once and keeps.  The norm is that of the metrics.
  """

  def update(updates, state, params=None):
    del params
    norm = jnp.sqrt(squared_norm(updates))
    factor = max_norm / jnp.maximum(norm, max_norm)
    return jax.tree.map(lambda g: g * factor, updates), state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def num_steps(config: Config, steps_per_epoch: int) -> int:
  """Return how many steps a run takes."""
  return max(1, round(config.num_epochs * steps_per_epoch))


def note_warmup(config: Config, total_steps: int) -> None:
  """Say where a run is over before its learning rate has risen."""
  if config.warmup_steps >= total_steps:
    say(
      f'note: --warmup_steps={config.warmup_steps:,} is the whole run of '
      f'{total_steps:,} steps: the learning rate rises to its end; lower it, '
      'or take more --num_epochs.'
    )
