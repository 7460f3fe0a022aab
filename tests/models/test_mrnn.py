import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrnn_jax import models
from mrnn_jax.data.vocabulary import START
from mrnn_jax.models import layers

SIZES = {
  'vocab_size': 11,
  'feature_size': 7,
  'embedding_size': 3,
  'recurrent_size': 5,
  'multimodal_size': 6,
}


def make(seed=0, name='m-rnn', **options):
  model = models.MODELS[name](**SIZES, **options)
  variables = models.init_variables(model, jax.random.key(seed))
  # Nothing may stay 0 or 1 where a mistake could hide behind it.
  leaves, tree = jax.tree.flatten(variables)
  keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
  leaves = [
    jnp.abs(x + 0.3 * jax.random.normal(k, x.shape))
    if x.ndim == 1
    else x + 0.3 * jax.random.normal(k, x.shape)
    for x, k in zip(leaves, keys, strict=True)
  ]
  return model, jax.tree.unflatten(tree, leaves)


def numpy_mrnn(variables, tokens, feature, use_image=True):
  """The m-RNN from the paper's equations, one caption, a word at a time."""
  p = jax.tree.map(np.asarray, variables['params'])
  logits = []
  r = np.zeros(SIZES['recurrent_size'])
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
  model, variables = make(name=name)
  rng = np.random.default_rng(0)
  tokens = np.asarray([[START, 4, 9, 3, 5], [START, 10, 4, 4, 6]])
  features = rng.normal(size=(2, 1, 7)).astype(np.float32)
  logits = model.apply(variables, tokens, features)
  for b in range(2):
    expected = numpy_mrnn(variables, tokens[b], features[b, 0], name == 'm-rnn')
    np.testing.assert_allclose(logits[b], expected, rtol=1e-4, atol=1e-4)


def test_rnn_base_does_not_see_the_image():
  model, variables = make(name='rnn-base')
  assert 'multimodal_image' not in variables['params']
  tokens = np.asarray([[START, 4, 9]])
  a, b = (
    model.apply(variables, tokens, np.full((1, 1, 7), x)) for x in (0.0, 9.0)
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


def test_packed_rows_equal_single_ones():
  model, variables = make()
  rng = np.random.default_rng(1)
  captions = [[START, 4, 9, 3], [START, 5, 5], [START, 8]]
  features = rng.normal(size=(3, 7)).astype(np.float32)
  packed = np.asarray([sum(captions, []) + [0, 0]])
  logits = model.apply(variables, packed, features[None])[0]
  at = 0
  for caption, feature in zip(captions, features, strict=True):
    alone = model.apply(variables, np.asarray([caption]), feature[None, None])[
      0
    ]
    np.testing.assert_allclose(
      logits[at : at + len(caption)], alone, rtol=1e-5, atol=1e-5
    )
    at += len(caption)


@pytest.mark.parametrize('scaling', layers.FEATURE_SCALINGS)
def test_feature_scaling(scaling):
  features = jnp.asarray([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]])
  statistics = {
    'mean': jnp.asarray([1.0, 4.0, 2.0]),
    'std': jnp.asarray([0.1, 2.0, 0.0]),
  }
  expected = {
    'none': features,
    'l2': [[0.6, 0.8, 0], [0, 0, 0]],
    # Clipped to 5 deviations; a feature that never varies says nothing.
    'standardize': [[5, 0, 0], [-5, -2, 0]],
  }[scaling]
  scaled = layers.scale_features(features, scaling, statistics)
  np.testing.assert_allclose(scaled, expected, rtol=1e-6)


def test_dropout_keeps_the_mean_and_its_rate():
  x = jnp.ones((64, 501))
  keys = jax.random.split(jax.random.key(0), 64)
  for rate in (0.25, 0.5, 0.9):
    y = np.asarray(layers.dropout(x, rate, keys, 0))
    assert abs((y == 0).mean() - rate) < 0.01
    assert abs(y.mean() - 1) < 0.05
  assert (layers.dropout(x, 0.5, None, 0) == x).all()
  a, b = (np.asarray(layers.dropout(x, 0.5, keys, s)) for s in (0, 1))
  assert 0.4 < (a == b).mean() < 0.6


def test_a_rows_dropout_is_its_own():
  x = jnp.ones((6, 40))
  keys = jax.random.split(jax.random.key(3), 6)
  whole = layers.dropout(x, 0.5, keys, 2)
  part = layers.dropout(x[2:4], 0.5, keys[2:4], 2)
  np.testing.assert_array_equal(whole[2:4], part)


def test_random_recurrent_init():
  model = models.create_model('m-rnn', 20, 7, {'recurrent_scale': 0.0})
  variables = models.init_variables(model, jax.random.key(0))
  kernel = np.asarray(variables['params']['recurrent'])
  assert abs(kernel - np.diag(np.diag(kernel))).max() > 0.01
  model = models.create_model('m-rnn', 20, 7, {'recurrent_scale': 0.5})
  variables = models.init_variables(model, jax.random.key(0))
  np.testing.assert_array_equal(
    variables['params']['recurrent'], 0.5 * np.eye(256)
  )


def test_rounded_products_change_little_and_keep_float32():
  """bfloat16 has 8 bits: an error of 2^-9 in an operand."""
  model, variables = make()
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
  product, pull = jax.vjp(
    lambda x, kernel: layers.rounded_product(x, kernel, 'bfloat16'),
    x,
    kernel,
  )
  np.testing.assert_array_equal(product, x @ kernel)
  dx, dkernel = pull(g)
  np.testing.assert_array_equal(dx, g @ kernel.T)
  np.testing.assert_array_equal(dkernel, np.einsum('abk,abn->kn', x, g))
