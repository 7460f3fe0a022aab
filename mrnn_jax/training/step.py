"""A training step: the cost, its gradient, the update."""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from mrnn_jax import models
from mrnn_jax.runtime import parallel
from mrnn_jax.training.objectives import Objective

Array = jax.Array
Metrics = dict[str, Array]
# Among the parameters, the blocks of an encoder that is trained with the model.
ENCODER = 'encoder'


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

  @property
  def measured(self) -> Any:
    """The parameters that are validated, and used in the end."""
    return self.params


@flax.struct.dataclass
class AveragedState(TrainState):
  """A state that keeps an average of the parameters.

  Attributes:
    average: of the parameters after each step, the later ones weighing more.
  """

  average: Any

  @property
  def measured(self) -> Any:
    """The parameters that are validated, and used in the end."""
    return self.average


def averaged(average: Any, params: Any, steps: Array, decay: float) -> Any:
  """Take parameters into their exponential moving average.

  Args:
    average: after one step less; of the first step it has no weight.
    params: after ``steps`` steps.
    steps: () steps taken.
    decay: what the average so far weighs; less at first, steps / (10 + steps),
      so that the random beginning is soon forgotten.
  """
  taken = steps.astype(jnp.float32)
  kept = jnp.minimum(decay, (taken - 1) / (9 + taken))

  def one(a: Array, p: Array) -> Array:
    # What rests stays itself, without rounding.
    return jnp.where(a == p, a, kept * a + (1 - kept) * p)

  return jax.tree.map(one, average, params)


def without_encoder(params: Mapping[str, Any]) -> dict[str, Any]:
  """Return the parameters of the model itself."""
  return {name: x for name, x in params.items() if name != ENCODER}


def squared_norm(tree: Any) -> Array:
  """Return the sum of squares of all leaves, the ||theta||^2 of eq. 6."""
  squares = (jnp.sum(jnp.square(x)) for x in jax.tree.leaves(tree))
  return sum(squares, jnp.zeros(()))


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
  frozen: Any = None,
  *,
  model: models.Model,
  objective: Objective,
  optimizer: optax.GradientTransformation,
  words_per_batch: float,
  l2: float,
  accumulate_steps: int = 1,
  average_decay: float = 0.0,
  encoder: Callable[[Any, Any, Array], Array] | None = None,
) -> tuple[TrainState, Metrics]:
  """Take one step; runs on every device, on its rows of the batch.

  The cost is the objective's sum over the batch divided by the expected number
  of its target words, so that every word of the training set weighs the same,
  and the L2 of eq. 6.

  Args:
    state: replicated.
    statistics: of the features, replicated.
    batch: tokens, targets [B, T] and features [B, G, D] of this device, and
      what the objective has prepared; for an encoder, instead of features,
      photos [B, S, S, 3] of the images whose captions the rows hold.
    frozen: the encoder's blocks that are not among the parameters.
    model: the model.
    objective: what is minimised.
    optimizer: what ``create_optimizer`` returns.
    words_per_batch: expected target words of a whole batch.
    l2: lambda.
    accumulate_steps: parts that the device works through its rows in, B being
      a multiple of it.  The step is the same but for rounding.
    average_decay: of the average of an ``AveragedState``.
    encoder: its blocks among the parameters, the others, photos -> features
      [B, D]; a row's captions share them.

  Returns:
    The new state, and the objective's sums over all devices, the whole cost
    and the gradient's norm.
  """
  rows = parallel.row_numbers(len(batch['tokens']))
  step_key = jax.random.fold_in(state.key, state.step)
  row_keys = jax.vmap(lambda row: jax.random.fold_in(step_key, row))(rows)

  def sums_of(part):
    batch, row_keys = part

    def cost_of(params):
      seen = batch
      if encoder is not None:
        features = encoder(params[ENCODER], frozen, batch['photos'])
        # A row's captions are of one image: [B, D] --> [B, G, D]
        G = batch['captions'].shape[1]
        features = jnp.repeat(features[:, None], G, axis=1)
        seen = {**batch, 'features': features}
      variables = {'params': without_encoder(params), 'statistics': statistics}
      cost, sums = objective.cost(model, variables, seen, row_keys)
      # Here, not of the gradient: that would be a pass over all of it.
      return cost / words_per_batch, sums

    (cost, sums), gradient = jax.value_and_grad(cost_of, has_aux=True)(
      state.params
    )
    return cost, sums, gradient

  parts = sum_over_parts(sums_of, (dict(batch), row_keys), accumulate_steps)
  cost, sums, gradient = parallel.add(parts)
  if l2:  # XLA would read all parameters to multiply them by 0.
    cost += l2 * squared_norm(without_encoder(state.params))
    # Eq. 6 is of the model; an encoder has a weight decay of its own.
    gradient = {
      name: part
      if name == ENCODER
      else jax.tree.map(lambda g, p: g + 2 * l2 * p, part, state.params[name])
      for name, part in gradient.items()
    }
  updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
  updates = jax.tree.map(lambda u: u * state.learning_rate_scale, updates)
  new_state = dataclasses.replace(
    state,
    step=state.step + 1,
    params=optax.apply_updates(state.params, updates),
    opt_state=opt_state,
  )
  if isinstance(new_state, AveragedState):
    average = averaged(
      new_state.average, new_state.params, new_state.step, average_decay
    )
    new_state = dataclasses.replace(new_state, average=average)
  return new_state, {
    **sums,
    'cost': cost,
    'gradient_norm': jnp.sqrt(squared_norm(gradient)),
  }


def create_state(
  variables: models.Variables,
  optimizer: optax.GradientTransformation,
  key: Array,
  average: bool = False,
) -> TrainState:
  """Return the state before the first step.

  Args:
    variables: of the model.
    optimizer: what ``create_optimizer`` returns.
    key: of everything random.
    average: whether an average of the parameters is kept.
  """
  parts = {
    'step': jnp.zeros((), jnp.int32),
    'params': variables['params'],
    'opt_state': optimizer.init(variables['params']),
    'key': key,
    'learning_rate_scale': jnp.ones(()),
  }
  if not average:
    return TrainState(**parts)
  # Of its own: a step gives up the arrays of the state before.
  copied = jax.tree.map(jnp.array, variables['params'])
  return AveragedState(**parts, average=copied)


def compile_train_step(
  devices: list[jax.Device], **options: Any
) -> Callable[..., tuple[TrainState, Metrics]]:
  """Return ``train_step`` compiled and mapped over all processes' devices."""

  def step(state, statistics, batch, frozen=None):
    return train_step(state, statistics, batch, frozen, **options)

  return parallel.pmap(step, devices, donate_argnums=(0,), everywhere=True)
