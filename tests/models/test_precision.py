"""float32 is float32 on every device: what each product asks of XLA for."""

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest
from small_models import make, trained_variants

from mrnn_jax.data.vocabulary import START
from mrnn_jax.encoders import efficientnet, network
from mrnn_jax.models import losses

PRODUCTS = ('dot_general', 'conv_general_dilated')
EXACT = (lax.Precision.HIGHEST,) * 2


def products(fn, *args):
  """What the products of float32 of a function ask for, one after another."""
  found = []

  def walk(jaxpr):
    for eqn in jaxpr.eqns:
      kinds = {x.aval.dtype.name for x in eqn.invars}
      if eqn.primitive.name in PRODUCTS and kinds == {'float32'}:
        found.append(eqn.params['precision'])
      for value in eqn.params.values():
        for inner in value if isinstance(value, (tuple, list)) else [value]:
          if hasattr(inner, 'eqns'):
            walk(inner)
          elif hasattr(inner, 'jaxpr'):
            walk(inner.jaxpr)

  walk(jax.make_jaxpr(fn)(*args).jaxpr)
  return found


def cost(model, tokens, features):
  def of(params, statistics):
    variables = {'params': params, **statistics}
    logits = model.apply(variables, tokens[:, :-1], features)
    return losses.log2_probabilities(logits, tokens[:, 1:]).sum()

  return of


@trained_variants
def test_all_that_is_measured_is_exact(variant):
  model, variables = make(variant)
  tokens = jnp.asarray([[START, 3, 4, START, 5, 6]])
  features = jnp.ones((1, 2, 7))
  carry = model.apply(variables, 1, method='initial_carry')
  whole = products(model.apply, variables, tokens, features)
  step = products(
    lambda *x: model.apply(*x, method='language_step'),
    variables,
    carry,
    tokens[:, 0],
  )
  # The softmax, the recurrence.
  assert len(whole) >= 2 and len(step) >= 1
  assert set(whole + step) == {EXACT}


@trained_variants
@pytest.mark.parametrize('precision', ['default', 'high', 'highest'])
def test_training_is_as_it_is_told(variant, precision):
  """The gradient's products too."""
  model, variables = make(variant)
  model = model.clone(precision=precision)
  tokens = jnp.asarray([[START, 3, 4, START, 5, 6]])
  params = variables['params']
  rest = {k: v for k, v in variables.items() if k != 'params'}
  gradient = jax.grad(cost(model, tokens, jnp.ones((1, 2, 7))))
  asked = products(gradient, params, rest)
  assert len(asked) >= 6
  assert set(asked) == {(lax.Precision[precision.upper()],) * 2}


def test_nothing_else_is_asked_of_products_of_rounded_operands():
  model, variables = make(('m-rnn', {}))
  model = model.clone(dtype='bfloat16')
  asked = products(
    lambda *x: model.apply(*x, method='readout'),
    variables,
    np.ones((2, 6), np.float32),
    np.ones((2, 6), np.float32),
  )
  assert asked == []


def test_photos_are_encoded_exactly():
  blocks = tuple(
    efficientnet.blocks(efficientnet.VARIANTS['efficientnet_lite0'])
  )[:2]
  module = efficientnet.EfficientNetLite(blocks)
  images = jnp.zeros((1, 32, 32, 3), jnp.uint8)
  params = jax.eval_shape(module.init, jax.random.key(0), images)['params']
  asked = products(network.exactly(module), params, images)
  assert len(asked) > 4 and set(asked) == {EXACT}
  # A user's own choice for the rest of his program is left as it is.
  assert jax.config.jax_default_matmul_precision is None
