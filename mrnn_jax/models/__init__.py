"""The models, behind one contract (``contract.py``), by name.

To add one, write a class of ``contract.Model`` in a file of its own and name it
in ``MODELS``: its options become flags, and it is trained, decoded, ranked,
scored, measured, exported as all are.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mrnn_jax.data.vocabulary import START
from mrnn_jax.models.contract import Examples, Model, Variables
from mrnn_jax.models.devise import Devise
from mrnn_jax.models.elman import Elman
from mrnn_jax.models.ensemble import MEANS, Ensemble, Member
from mrnn_jax.models.linear_embeddings import (
  BagRegression,
  CanonicalCorrelation,
)
from mrnn_jax.models.log_bilinear import (
  BiasedLogBilinear,
  FactoredLogBilinear,
  LogBilinear,
)
from mrnn_jax.models.mrnn import MRNN, RNNBase
from mrnn_jax.models.ngram import NGram

__all__ = [
  'MEANS',
  'MODELS',
  'Ensemble',
  'Examples',
  'Member',
  'Model',
  'Variables',
  'create_model',
  'init_variables',
  'options',
  'options_of',
  'structure_of',
]

MODELS: dict[str, type[Model]] = {
  'm-rnn': MRNN,
  'rnn-base': RNNBase,
  'elman': Elman,
  'lbl': LogBilinear,
  'mlbl-b': BiasedLogBilinear,
  'mlbl-f': FactoredLogBilinear,
  'ngram': NGram,
  'bow': BagRegression,
  'devise': Devise,
  'cca': CanonicalCorrelation,
}


def _declared(model: type[Model]) -> dict[str, dataclasses.Field]:
  fields = dataclasses.fields(model)
  return {f.name: f for f in fields if 'help' in f.metadata}


def options() -> dict[str, dataclasses.Field]:
  """Return the options of all models by name.

  Raises:
    ValueError: two models declare an option of one name differently.
  """
  union: dict[str, dataclasses.Field] = {}
  for name, model in MODELS.items():
    for option, field in _declared(model).items():
      first = union.setdefault(option, field)
      if (first.type, first.default, first.metadata) != (
        field.type,
        field.default,
        field.metadata,
      ):
        raise ValueError(f'{name} declares {option} otherwise than others')
  return union


def options_of(name: str) -> frozenset[str]:
  """Return the names of the options that a model of ``MODELS`` has."""
  return frozenset(_declared(MODELS[name]))


def structure_of(name: str) -> frozenset[str]:
  """Return the names of the options without which a model is another one.

  Not those of training alone, such as dropout.
  """
  return frozenset(
    option
    for option, field in _declared(MODELS[name]).items()
    if not field.metadata.get('of_training')
  )


def create_model(
  name: str, vocab_size: int, feature_size: int, options: Mapping[str, Any]
) -> Model:
  """Return a model of ``MODELS``.

  Args:
    name: which.
    vocab_size: V.
    feature_size: D.
    options: its options by name; names that are none are passed over.
  """
  own = {key: options[key] for key in options_of(name) if key in options}
  return MODELS[name](vocab_size=vocab_size, feature_size=feature_size, **own)


def init_variables(model: Model, key: jax.Array) -> Variables:
  """Return a model's randomly initialised variables."""
  tokens = jnp.full((1, 1), START)
  features = jnp.zeros((1, 1, model.feature_size))
  return model.init(key, tokens, features)
