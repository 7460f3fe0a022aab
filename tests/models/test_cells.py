"""Cells beside plain NumPy, a step at a time, from their equations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import apply, init

from mrnn_jax import models
from mrnn_jax.data.vocabulary import START
from mrnn_jax.models import cells

R = 4


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def numpy_gru(inputs, kernel):
  h, states = np.zeros(R), []
  for x in inputs:
    u = [kernel[:, i * R : (i + 1) * R] for i in range(3)]
    x = [x[i * R : (i + 1) * R] for i in range(3)]
    s = sigmoid(x[0] + h @ u[0])
    z = sigmoid(x[1] + h @ u[1])
    n = np.tanh(x[2] + s * (h @ u[2]))
    h = z * h + (1 - z) * n
    states.append(h)
  return np.stack(states)


def numpy_lstm(inputs, kernel):
  h, c, states = np.zeros(R), np.zeros(R), []
  for x in inputs:
    i, f, g, o = np.split(x + h @ kernel, 4)
    c = sigmoid(f + 1.0) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    states.append(h)
  return np.stack(states)


def numpy_simple(inputs, kernel):
  h, states = np.zeros(R), []
  for x in inputs:
    h = np.maximum(0, h @ kernel + x)
    states.append(h)
  return np.stack(states)


@pytest.mark.parametrize(
  ('name', 'truth'),
  [('simple', numpy_simple), ('gru', numpy_gru), ('lstm', numpy_lstm)],
)
def test_scan_and_steps_are_the_equations(name, truth):
  cell = cells.CELLS[name]
  rng = np.random.default_rng(0)
  g = cell.num_inputs
  inputs = rng.normal(size=(6, g * R)).astype(np.float32)
  kernel = rng.normal(size=(R, g * R)).astype(np.float32)
  # The second caption of the row begins at its own ##START##.
  tokens = np.asarray([START, 5, 6, START, 5, 7])
  expected = np.concatenate(
    [truth(inputs[:3], kernel), truth(inputs[3:], kernel)]
  )
  scan = functools.partial(jax.jit, static_argnums=(0, 1))(cells.scan)
  step = functools.partial(jax.jit, static_argnums=(0, 1))(cells.step)
  states = scan(cell, jnp.matmul, kernel, inputs[None], tokens[None])
  np.testing.assert_allclose(states[0], expected, rtol=1e-5, atol=1e-6)
  carry = cell.initial_carry(1, R)
  for t in range(6):
    carry, state = step(
      cell, jnp.matmul, kernel, carry, inputs[t][None], tokens[t][None]
    )
    np.testing.assert_allclose(state[0], expected[t], rtol=1e-5, atol=1e-6)


def test_a_cell_with_gates_starts_from_orthogonal_matrices():
  draw = cells.kernel_init(cells.CELLS['lstm'], 0.9)
  kernel = jax.jit(lambda key: draw(key, (R, 4 * R)))(jax.random.key(0))
  for gate in np.split(np.asarray(kernel), 4, axis=1):
    np.testing.assert_allclose(gate @ gate.T, np.eye(R), atol=1e-5)


def test_elman_is_eq_1():
  """r(t) = sigmoid(U [w(t) r(t-1)]), y(t) = softmax(V r(t)), w(t) one-hot."""
  model = models.create_model('elman', 9, 3, {'recurrent_size': R})
  variables = init(model, jax.random.key(2))
  p = jax.tree.map(np.asarray, variables['params'])
  U = np.concatenate([p['word']['embedding'], p['recurrent']])  # [V + R, R]
  tokens = [START, 4, 8, 4]
  r, expected = np.zeros(R), []
  for token in tokens:
    x = np.concatenate([np.eye(9)[token], r])
    r = sigmoid(x @ U)
    expected.append(r @ p['softmax']['kernel'])
  logits = apply(
    model, variables, np.asarray([tokens]), np.zeros((1, 1, 3), np.float32)
  )
  np.testing.assert_allclose(logits[0], expected, rtol=1e-5, atol=1e-6)
  assert set(p) == {'word', 'recurrent', 'softmax'}
  assert set(p['softmax']) == {'kernel'}  # eq. 1 has no bias
  assert 'statistics' not in variables


def test_tied_softmax_reads_the_embedding():
  """logits = m(t) P E^T + b, E the first embedding [V, E]."""
  options = {
    'embedding_size': 3,
    'recurrent_size': R,
    'multimodal_size': 6,
    'tie_softmax': True,
  }
  model = models.create_model('rnn-base', 9, 3, options)
  variables = init(model, jax.random.key(3))
  p = jax.tree.map(np.asarray, variables['params'])
  language = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
  m = 1.7159 * np.tanh(2 / 3 * language)
  bias = np.arange(9, dtype=np.float32)
  variables['params']['softmax_bias'] = bias
  expected = (
    m @ p['softmax_projection']['kernel'] @ p['embedding_1']['embedding'].T
  ) + bias
  logits = apply(model, variables, language, np.zeros((2, 0)), method='readout')
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
  assert 'softmax' not in p
