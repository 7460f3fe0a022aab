"""Fields that say which model, and its options, as the models declare them."""

from collections.abc import Mapping
import dataclasses
from typing import Any

from mrnn_jax import models
from mrnn_jax.config.fields import flag


def make(
  names: tuple[str, ...], options: Mapping[str, dataclasses.Field]
) -> Any:
  """Return the dataclass of the fields.

  Args:
    names: of the models.
    options: of all models (see ``models.options``).
  """
  model = flag(
    'm-rnn',
    f"Which model: {', '.join(names)}. m-rnn is the paper's; rnn-base, its "
    'baseline, does not see the image.',
    choices=names,
  )
  declared: list[tuple[str, Any, Any]] = [('model', str, model)]
  for name, option in options.items():
    limits = dict(option.metadata)
    text = limits.pop('help')
    # A field that is anew: one that is there belongs to the model's class.
    declared.append((name, option.type, flag(option.default, text, **limits)))
  return dataclasses.make_dataclass('ModelFields', declared, frozen=True)


# A class that is made has no fields that a type checker knows.
ModelFields: Any = make(tuple(models.MODELS), models.options())
