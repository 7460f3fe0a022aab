"""JAX's private modules: all that is used of them, and why.

Nothing promises that they stay.  Where a new JAX breaks something, it is here.
"""

from typing import Any

from jax._src import distributed, xla_bridge


def coordination_client() -> Any:
  """Return the key-value store of a job of several processes, None without.

  JAX publishes no other way for processes to tell each other that the job has
  ended, while collectives wait for one that will not come.
  """
  return distributed.global_state.client


def backends_are_initialized() -> bool:
  """Return whether a backend has started, after which XLA_FLAGS are too late.

  To ask JAX for its devices instead would start one.
  """
  return xla_bridge.backends_are_initialized()
