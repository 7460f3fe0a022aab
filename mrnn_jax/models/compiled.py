"""The parts of a model as programs: compiled once, however many use them."""

from collections.abc import Callable
import functools
from typing import Any

import jax

from mrnn_jax.models.contract import Model


@functools.cache
def part(model: Model, method: str) -> Callable[..., Any]:
  """Return a method of a model for ``jax.jit``: variables, inputs -> result.

  Args:
    model: the model.
    method: the name of a method of ``Model``.
  """
  return jax.jit(functools.partial(model.apply, method=method))
