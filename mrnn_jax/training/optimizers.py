"""Optimizers and learning rate schedules, from the configuration."""

import jax
import optax

from mrnn_jax.config import Config


def create_schedule(config: Config, steps_per_epoch: int) -> optax.Schedule:
  """Return the learning rate by step: warm-up, then ``config.schedule``."""
  peak = config.learning_rate
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
  config: Config, schedule: optax.Schedule
) -> optax.GradientTransformation:
  """Return the optimizer, the clipping of the gradient in front of it."""
  if config.optimizer == 'adamw':
    update = optax.adamw(
      schedule,
      weight_decay=config.weight_decay,
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
  return optax.chain(optax.clip_by_global_norm(config.clip_norm), update)


def num_steps(config: Config, steps_per_epoch: int) -> int:
  """Return how many steps a run takes."""
  return max(1, round(config.num_epochs * steps_per_epoch))
