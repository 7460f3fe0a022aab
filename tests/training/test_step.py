"""A step of an objective that can be differentiated by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mrnn_jax.runtime import parallel
from mrnn_jax.training import optimizers
from mrnn_jax.training import step as step_lib
from mrnn_jax.training.objectives import Objective

ROWS = 8
L2, RATE, MOMENTUM, WORDS, SCALE = 0.5, 0.1, 0.9, 4.0, 0.25


def cost(model, variables, rows, row_keys):
  """Sum of weight (a1 + 2 a2 + b), and what each row draws by its key."""
  assert model == 'any'
  params = variables['params']
  value = params['a'] @ jnp.array([1.0, 2.0]) + params['b'].sum()
  drawn = jax.vmap(jax.random.uniform)(row_keys)
  return (rows['weight'] * value).sum(), {
    'drawn': (rows['number'] * drawn[:, None]).sum(0),
    'seen': rows['number'].sum(0),
    'statistics': variables['statistics'] * len(rows['weight']),
  }


@pytest.fixture(scope='module', params=[(1, 1), (2, 2)])
def two_steps(request):
  """States and metrics of two steps, on devices and in parts."""
  num_devices, accumulate_steps = request.param
  devices = parallel.local_devices(num_devices)
  optimizer = optax.sgd(RATE, momentum=MOMENTUM)
  step = step_lib.compile_train_step(
    devices,
    model='any',
    objective=Objective(cost),
    optimizer=optimizer,
    words_per_batch=WORDS,
    l2=L2,
    accumulate_steps=accumulate_steps,
  )
  params = {'a': jnp.array([2.0, -1.0]), 'b': jnp.array([[3.0]])}
  state = step_lib.create_state(
    {'params': params}, optimizer, jax.random.key(5)
  )
  assert state.step == 0 and state.learning_rate_scale == 1
  state = state.replace(
    step=jnp.int32(7), learning_rate_scale=jnp.float32(SCALE)
  )
  states, metrics = [jax.device_get(params)], []
  state, statistics = parallel.replicate((state, np.float32(3)), devices)
  for factor in (1, 2):
    batch = {
      'tokens': np.zeros((ROWS, 1), np.int32),
      'weight': factor * np.arange(ROWS, dtype=np.float32),
      'number': np.eye(ROWS, dtype=np.float32),
    }
    state, found = step(
      state, statistics, parallel.split_rows(batch, num_devices)
    )
    states.append(jax.device_get(parallel.unreplicate(state)))
    metrics.append(parallel.unreplicate(found))
  return states, metrics


def test_steps_by_hand(two_steps):
  states, metrics = two_steps
  a, b, trace = np.array([2.0, -1.0]), 3.0, [0.0, 0.0]
  # The weights add up to 28, and to 56.
  for total, state, found in zip((28, 56), states[1:], metrics, strict=True):
    expected = total / WORDS * (a[0] + 2 * a[1] + b)
    expected += L2 * (a @ a + b * b)
    np.testing.assert_allclose(found['cost'], expected, rtol=1e-5)
    gradient = total / WORDS * np.array([1.0, 2.0]) + 2 * L2 * a
    of_b = total / WORDS + 2 * L2 * b
    norm = np.sqrt(gradient @ gradient + of_b * of_b)
    np.testing.assert_allclose(found['gradient_norm'], norm, rtol=1e-5)
    trace = [gradient + MOMENTUM * trace[0], of_b + MOMENTUM * trace[1]]
    # What a plateau has left acts on the update, not on its momentum.
    a, b = a - SCALE * RATE * trace[0], b - SCALE * RATE * trace[1]
    np.testing.assert_allclose(state.params['a'], a, rtol=1e-5)
    np.testing.assert_allclose(state.params['b'], [[b]], rtol=1e-5)
    assert state.learning_rate_scale == SCALE
  assert [state.step for state in states[1:]] == [8, 9]


def test_each_row_draws_by_its_own_key_and_step(two_steps):
  states, metrics = two_steps
  for step, found in zip((7, 8), metrics, strict=True):
    key = jax.random.fold_in(jax.random.key(5), step)
    expected = [
      jax.random.uniform(jax.random.fold_in(key, row)) for row in range(ROWS)
    ]
    np.testing.assert_allclose(found['drawn'], expected, rtol=1e-6)
  assert jax.random.key_data(states[-1].key).tolist() == [0, 5]


def test_sums_are_of_all_rows_each_once(two_steps):
  _, metrics = two_steps
  np.testing.assert_array_equal(metrics[0]['seen'], np.ones(ROWS))
  assert metrics[0]['statistics'] == 3 * ROWS


def test_a_single_part_is_what_it_is():
  rows = {'any': 'thing'}
  assert step_lib.sum_over_parts(lambda x: x, rows, 1) is rows


def test_squared_norm_by_hand():
  tree = {'a': jnp.array([1.0, -2.0]), 'b': [jnp.array([[3.0]])]}
  assert step_lib.squared_norm(tree) == 14


def test_an_objective_may_be_cut_into_parts_unless_it_says_otherwise():
  plain = Objective(cost)
  assert plain.whole_batch is False
  assert plain.prepare is None


def test_a_step_is_mapped_over_all_processes_and_writes_over_its_state(
  monkeypatch,
):
  seen = []
  monkeypatch.setattr(
    step_lib.parallel, 'pmap', lambda *args, **how: seen.append((args, how))
  )
  step_lib.compile_train_step(['a device'])
  [((_, devices), how)] = seen
  assert devices == ['a device']
  assert how == {'donate_argnums': (0,), 'everywhere': True}


@pytest.mark.parametrize(('most', 'left'), [(6.5, 0.5), (13.0, 1.0), (20, 1)])
def test_clipping_by_hand(most, left):
  """A gradient of norm 13 is made shorter, and no shorter one longer."""
  gradient = {'a': np.float32([3, 4]), 'b': np.float32([[12]])}
  clip = optimizers.clip_by_global_norm(most)
  clipped, state = clip.update(gradient, clip.init(gradient))
  np.testing.assert_allclose(clipped['a'], [3 * left, 4 * left], rtol=1e-6)
  np.testing.assert_allclose(clipped['b'], [[12 * left]], rtol=1e-6)
  # That of checkpoints.
  assert state == optax.clip_by_global_norm(1).init(gradient)
