"""A training step: the cost (eq. 6), its gradient, the update."""

from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.models import mrnn as model_lib
from mrnn_jax.models.losses import log2_probabilities
from mrnn_jax.runtime import parallel

Array = jax.Array
Metrics = dict[str, Array]


@flax.struct.dataclass
class TrainState:
  """What a step changes.

  Attributes:
    step: () int32, steps taken.
    params: the model's parameters, float32.
    opt_state: the optimizer's state.
    key: a typed PRNG key; step n uses fold_in(key, n).
    learning_rate_scale: () float32, what the plateau schedule has left.
  """

  step: Array
  params: Any
  opt_state: Any
  key: Array
  learning_rate_scale: Array


def squared_norm(tree: Any) -> Array:
  """Return the sum of squares of all leaves, the ||theta||^2 of eq. 6."""
  return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree))


def sum_over_parts(fn: Callable[..., Any], rows: Any, num_parts: int) -> Any:
  """Add up what ``fn`` makes of the parts of some rows, one part at a time.

  Only one part's intermediate arrays are in memory at any time.

  Args:
    fn: a tree of [part, ...] -> a tree of sums over its rows.
    rows: a tree of [B, ...], B a multiple of ``num_parts``.
    num_parts: 1 calls ``fn`` and nothing else.
  """
  if num_parts == 1:
    return fn(rows)
  # [B, ...] --> [parts, part, ...]
  parts = jax.tree.map(
    lambda x: x.reshape(num_parts, len(x) // num_parts, *x.shape[1:]), rows
  )

  def add(total, part):
    return jax.tree.map(jnp.add, total, fn(part)), None

  shapes = jax.eval_shape(fn, jax.tree.map(lambda x: x[0], parts))
  zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return jax.lax.scan(add, zero, parts)[0]


def train_step(
  state: TrainState,
  statistics: Any,
  batch: Mapping[str, Array],
  *,
  model: model_lib.MRNN,
  optimizer: optax.GradientTransformation,
  words_per_batch: float,
  l2: float,
  accumulate_steps: int = 1,
) -> tuple[TrainState, Metrics]:
  """Take one step; runs on every device, on its rows of the batch.

  The cost is eq. 6 in bits, the sum over the batch's target words divided by
  the expected number of them, so that every word of the training set weighs
  the same.

  Args:
    state: replicated.
    statistics: of the features, replicated.
    batch: tokens, targets [B, T] and features [B, G, D] of this device.
    model: the model.
    optimizer: what ``create_optimizer`` returns.
    words_per_batch: expected target words of a whole batch.
    l2: lambda.
    accumulate_steps: parts that the device works through its rows in, B being
      a multiple of it.  The step is the same but for rounding.

  Returns:
    The new state, and sums over all devices: bits, words, and the whole cost
    and the gradient's norm.
  """
  rows = parallel.row_numbers(len(batch['tokens']))
  step_key = jax.random.fold_in(state.key, state.step)
  row_keys = jax.vmap(lambda row: jax.random.fold_in(step_key, row))(rows)

  def sums_of(part):
    batch, row_keys = part

    def bits_of(params):
      logits = model.apply(
        {'params': params, 'statistics': statistics},
        batch['tokens'],
        batch['features'],
        row_keys,
      )
      return -log2_probabilities(logits, batch['targets']).sum()

    bits, gradient = jax.value_and_grad(bits_of)(state.params)
    return bits, (batch['targets'] != PAD).sum(), gradient

  sums = sum_over_parts(sums_of, (dict(batch), row_keys), accumulate_steps)
  bits, words, gradient = parallel.add(sums)
  gradient = jax.tree.map(
    lambda g, p: g / words_per_batch + 2 * l2 * p, gradient, state.params
  )
  updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
  updates = jax.tree.map(lambda u: u * state.learning_rate_scale, updates)
  new_state = state.replace(
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    opt_state=opt_state,
  )
  return new_state, {
    'bits': bits,
    'words': words,
    'cost': bits / words_per_batch + l2 * squared_norm(state.params),
    'gradient_norm': jnp.sqrt(squared_norm(gradient)),
  }


def create_state(
  variables: model_lib.Variables,
  optimizer: optax.GradientTransformation,
  key: Array,
) -> TrainState:
  """Return the state before the first step."""
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables['params'],
    opt_state=optimizer.init(variables['params']),
    key=key,
    learning_rate_scale=jnp.ones(()),
  )


def compile_train_step(
  devices: list[jax.Device], **options: Any
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Return ``train_step`` compiled and mapped over all processes' devices."""

  def step(state, statistics, batch):
    return train_step(state, statistics, batch, **options)

  return parallel.pmap(step, devices, donate_argnums=(0,), everywhere=True)
