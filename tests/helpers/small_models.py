"""Small models of every kind that the registry has, for any test."""

import jax
import jax.numpy as jnp
import pytest

from mrnn_jax import models
from mrnn_jax.models import cells

# Every model, and every option that changes what a model consists of.
VARIANTS = [
  *((name, {}) for name in models.MODELS),
  *(('m-rnn', {'cell': cell}) for cell in cells.CELLS if cell != 'simple'),
  ('m-rnn', {'tie_softmax': True}),
  ('rnn-base', {'cell': 'lstm', 'tie_softmax': True}),
]
_SIZES = {
  'embedding_size': 3,
  'recurrent_size': 5,
  'multimodal_size': 6,
  'context_size': 3,
  'vector_size': 4,
  'factor_size': 5,
}


def name_of(variant):
  name, options = variant
  return ' '.join([name, *map(str, options.values())])


variants = pytest.mark.parametrize('variant', VARIANTS, ids=name_of)
seeing_variants = pytest.mark.parametrize(
  'variant',
  [v for v in VARIANTS if models.MODELS[v[0]].sees_images],
  ids=name_of,
)


def make(variant, vocab_size=11, feature_size=7, seed=0, **options):
  """A model whose numbers are all far from 0 and from each other."""
  name, kind = variant
  options = {**_SIZES, **kind, **options}
  model = models.create_model(name, vocab_size, feature_size, options)
  variables = models.init_variables(model, jax.random.key(seed))
  leaves, tree = jax.tree.flatten(variables)
  keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
  leaves = [
    x + 0.3 * jax.random.normal(k, x.shape)
    for x, k in zip(leaves, keys, strict=True)
  ]
  variables = jax.tree.unflatten(tree, leaves)
  if 'statistics' in variables:
    variables['statistics']['std'] = jnp.abs(variables['statistics']['std'])
  return model, variables
