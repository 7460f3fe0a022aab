"""The largest of very many numbers, without sorting them all."""

import jax
from jax import lax
import jax.numpy as jnp

Array = jax.Array

# Numbers of a chunk: a few times the width of the widest vector unit.
_CHUNK = 32


def chunked_top_k(x: Array, k: int) -> tuple[Array, Array]:
  """Return the k largest of a row, as ``lax.top_k`` does, only sooner.

  The k largest lie in the k chunks whose own largest is largest: a number of
  any other chunk has k numbers before it.  Equal numbers keep their order, as
  the chunks do.

  Args:
    x: [V]; vmap it for more.
    k: how many, at most V.

  Returns:
    The numbers [k], largest first, and where they are [k] int32; of equal ones
    the first comes first.
  """
  num_chunks = -(-len(x) // _CHUNK)
  if num_chunks <= k:
    return lax.top_k(x, k)
  padding = num_chunks * _CHUNK - len(x)
  chunks = jnp.pad(x, (0, padding), constant_values=-jnp.inf)
  chunks = chunks.reshape(num_chunks, _CHUNK)
  _, chosen = lax.top_k(chunks.max(axis=1), k)
  chosen = jnp.sort(chosen)
  numbers, places = lax.top_k(chunks[chosen].reshape(-1), k)
  return numbers, chosen[places // _CHUNK] * _CHUNK + places % _CHUNK
