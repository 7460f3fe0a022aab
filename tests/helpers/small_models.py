"""Small models of every kind that the registry has, for any test."""

import functools
import warnings

import jax
import numpy as np
import pytest

from mrnn_jax import models
from mrnn_jax.data.vocabulary import END, START, UNK
from mrnn_jax.models import cells

# Every model that writes, and every option that changes what one consists of.
VARIANTS = [
  *((name, {}) for name, kind in models.MODELS.items() if kind.writes),
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


# All but those that are fitted, which have no gradient and no products.
TRAINED = [v for v in VARIANTS if not models.MODELS[v[0]].fitted]
trained_variants = pytest.mark.parametrize('variant', TRAINED, ids=name_of)


def examples(captions, owner=None, features=None, **more):
  """Captions as lists of ids, as models are fitted to them."""
  features = np.zeros((len(captions), 1)) if features is None else features
  owner = np.arange(len(captions)) if owner is None else np.asarray(owner)
  features = np.asarray(features, np.float32)
  return models.Examples(
    tokens=np.concatenate(captions),
    offsets=np.cumsum([0, *map(len, captions)]),
    owner=owner,
    features=features,
    statistics={'mean': features.mean(0), 'std': features.std(0)},
    **more,
  )


def make(variant, vocab_size=11, feature_size=7, seed=0, **options):
  """A model whose numbers are all far from 0 and from each other."""
  name, kind = variant
  options = {**_SIZES, **kind, **options}
  model = models.create_model(name, vocab_size, feature_size, options)
  # Only shapes: to draw them by JAX is to compile each of them.
  shapes = jax.eval_shape(
    functools.partial(models.init_variables, model), jax.random.key(0)
  )
  rng = np.random.default_rng(seed)
  if model.fitted:
    return model, {'params': _fitted(model, rng)}
  variables = jax.tree.map(
    lambda x: rng.normal(scale=0.6, size=x.shape).astype(x.dtype), shapes
  )
  if 'statistics' in variables:
    std = variables['statistics']['std']
    variables['statistics']['std'] = np.abs(1 + std / 2)
  return model, variables


def _fitted(model, rng):
  """The tables of made-up captions."""
  captions = [
    [START, *rng.integers(UNK, model.vocab_size, rng.integers(2, 7)), END]
    for _ in range(40)
  ]
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')  # They are few.
    return model.fit(examples(captions))


# One program instead of one for each operation; other last bits.
init = functools.partial(jax.jit, static_argnums=0)(models.init_variables)


@functools.partial(jax.jit, static_argnames=('model', 'method'))
def _apply(model, method, variables, args):
  return model.apply(variables, *args, method=method)


def apply(model, variables, *args, method=None):
  """``model.apply``, compiled once for all tests instead of op by op."""
  return jax.device_get(_apply(model, method, variables, args))


def initial_carry(model, variables, num_rows):
  return jax.device_get(
    model.apply(variables, num_rows, method='initial_carry')
  )
