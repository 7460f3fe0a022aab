import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models
from small_models import apply

from mrnn_jax import models
from mrnn_jax.data.vocabulary import START
from mrnn_jax.models import layers


def numpy_mrnn(variables, tokens, feature, use_image=True):
  """The m-RNN from the paper's equations, one caption, a word at a time."""
  p = jax.tree.map(np.asarray, variables['params'])
  logits = []
  r = np.zeros(len(p['recurrent']))
  if use_image:
    s = jax.tree.map(np.asarray, variables['statistics'])
    image = np.clip((feature - s['mean']) / s['std'], -5, 5)
  for token in tokens:
    embedding_1 = p['embedding_1']['embedding'][token]
    w = embedding_1 @ p['embedding_2']['kernel'] + p['embedding_2']['bias']
    r = np.maximum(0, r @ p['recurrent'] + w)  # eq. 2
    x = w @ p['multimodal_word']['kernel']
    x = x + r @ p['multimodal_recurrent']['kernel']
    if use_image:
      x = x + image @ p['multimodal_image']['kernel']
    m = 1.7159 * np.tanh(2 / 3 * x)  # eq. 3, 4
    logits.append(m @ p['softmax']['kernel'] + p['softmax']['bias'])
  return np.stack(logits)


def test_scaled_tanh_golden():
  x = jnp.asarray([-3.0, -1.0, 0.0, 0.5, 1.0, 2.0])
  expected = [-1.6541749, -0.9999972, 0.0, 0.5516837, 0.9999972, 1.4929388]
  np.testing.assert_allclose(layers.scaled_tanh(x), expected, rtol=1e-5)


@pytest.mark.parametrize('name', ['m-rnn', 'rnn-base'])
def test_forward_is_the_papers_equations(name):
  model, variables = small_models.make((name, {}))
  rng = np.random.default_rng(0)
  tokens = np.asarray([[START, 4, 9, 3, 5], [START, 10, 4, 4, 6]])
  features = rng.normal(size=(2, 1, 7)).astype(np.float32)
  logits = apply(model, variables, tokens, features)
  for b in range(2):
    expected = numpy_mrnn(variables, tokens[b], features[b, 0], name == 'm-rnn')
    np.testing.assert_allclose(logits[b], expected, rtol=1e-4, atol=1e-4)


def test_rnn_base_does_not_see_the_image():
  model, variables = small_models.make(('rnn-base', {}))
  assert 'multimodal_image' not in variables['params']
  tokens = np.asarray([[START, 4, 9]])
  a, b = (
    apply(model, variables, tokens, np.full((1, 1, 7), x)) for x in (0.0, 9.0)
  )
  np.testing.assert_array_equal(a, b)


def test_the_papers_sizes_are_the_default():
  model = models.create_model('m-rnn', 2539, 4096, {})
  shapes = jax.tree.map(
    lambda x: x.shape,
    jax.eval_shape(lambda: models.init_variables(model, jax.random.key(0)))[
      'params'
    ],
  )
  assert shapes['embedding_1']['embedding'] == (2539, 128)
  assert shapes['embedding_2']['kernel'] == (128, 256)
  assert shapes['recurrent'] == (256, 256)
  assert shapes['multimodal_image']['kernel'] == (4096, 512)
  assert shapes['softmax']['kernel'] == (512, 2539)


@pytest.mark.parametrize('scaling', layers.FEATURE_SCALINGS)
def test_feature_scaling(scaling):
  features = np.float32([[3, 4, 0], [0, 0, 0]])
  statistics = {
    'mean': np.float32([1, 4, 2]),
    'std': np.float32([0.1, 2, 0]),
  }
  expected = {
    'none': features,
    'l2': [[0.6, 0.8, 0], [0, 0, 0]],
    # Clipped to 5 deviations; a feature that never varies says nothing.
    'standardize': [[5, 0, 0], [-5, -2, 0]],
  }[scaling]
  scale = functools.partial(jax.jit, static_argnums=1)(layers.scale_features)
  scaled = scale(features, scaling, statistics)
  np.testing.assert_allclose(scaled, expected, rtol=1e-6)


def test_dropout_keeps_the_mean_and_its_rate():
  x = np.ones((64, 501), np.float32)
  keys = jax.random.split(jax.random.key(0), 64)
  dropout = functools.partial(jax.jit, static_argnums=1)(layers.dropout)
  for rate in (0.25, 0.5, 0.9):
    y = np.asarray(dropout(x, rate, keys, 0))
    assert abs((y == 0).mean() - rate) < 0.01
    assert abs(y.mean() - 1) < 0.05
  assert layers.dropout(x, 0.5, None, 0) is x
  a, b = (np.asarray(dropout(x, 0.5, keys, s)) for s in (0, 1))
  assert 0.4 < (a == b).mean() < 0.6


def test_a_rows_dropout_is_its_own():
  x = np.ones((6, 40), np.float32)
  keys = jax.random.split(jax.random.key(3), 6)
  dropout = functools.partial(jax.jit, static_argnums=1)(layers.dropout)
  whole = np.asarray(dropout(x, 0.5, keys, 2))
  part = dropout(x[2:4], 0.5, keys[2:4], 2)
  np.testing.assert_array_equal(whole[2:4], part)


def test_random_recurrent_init():
  model = models.create_model(
    'm-rnn', 20, 7, {'recurrent_scale': 0.0, 'recurrent_size': 9}
  )
  kernel = np.asarray(
    small_models.init(model, jax.random.key(0))['params']['recurrent']
  )
  assert abs(kernel - np.diag(np.diag(kernel))).max() > 0.01
  model = models.create_model(
    'm-rnn', 20, 7, {'recurrent_scale': 0.5, 'recurrent_size': 9}
  )
  variables = small_models.init(model, jax.random.key(0))
  np.testing.assert_array_equal(
    variables['params']['recurrent'], 0.5 * np.eye(9)
  )


def test_rounded_products_change_little_and_keep_float32():
  """bfloat16 has 8 bits: an error of 2^-9 in an operand."""
  model, variables = small_models.make(('m-rnn', {}))
  rounded = model.clone(dtype='bfloat16')
  tokens = np.asarray([[START, 4, 9, 3, START, 7, 7, 10]])
  features = np.random.default_rng(2).normal(size=(1, 2, 7))

  def results(model):
    def loss(params):
      logits = model.apply({**variables, 'params': params}, tokens, features)
      cost = jax.nn.logsumexp(logits, axis=-1).sum() - logits[..., 3].sum()
      return cost, logits

    return jax.jit(jax.grad(loss, has_aux=True))(variables['params'])

  exact, near = results(model), results(rounded)
  for x, y in zip(*map(jax.tree.leaves, (exact, near)), strict=True):
    assert y.dtype == np.float32
    scale = np.abs(x).max()
    np.testing.assert_allclose(y, x, atol=0.05 * scale)
    assert (x != y).any()


def test_the_gradient_of_a_rounded_product():
  rng = np.random.default_rng(0)
  # What bfloat16 holds exactly.
  x, kernel, g = (
    rng.integers(-8, 9, shape).astype(np.float32) / 8
    for shape in ((2, 3, 4), (4, 5), (2, 3, 5))
  )

  @jax.jit
  def pulled(x, kernel, g):
    product, pull = jax.vjp(
      lambda x, kernel: layers.rounded_product(x, kernel, 'bfloat16'),
      x,
      kernel,
    )
    return product, *pull(g)

  product, dx, dkernel = pulled(x, kernel, g)
  np.testing.assert_array_equal(product, x @ kernel)
  np.testing.assert_array_equal(dx, g @ kernel.T)
  np.testing.assert_array_equal(dkernel, np.einsum('abk,abn->kn', x, g))
