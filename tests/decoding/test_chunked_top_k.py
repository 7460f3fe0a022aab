import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from mrnn_jax.decoding.chunked_top_k import chunked_top_k


def rows(V, kind):
  """Six rows [6, V] of some kind."""
  rng = np.random.default_rng(V)
  x = rng.normal(size=(6, V))
  if kind == 'ties':
    x = np.round(x)
  if kind == 'barred':  # All but a few, and in one row all.
    x[rng.random(x.shape) < 0.98] = -np.inf
    x[0] = -np.inf
    x[1], x[1, -1] = -np.inf, 1.0
  return jnp.asarray(x, jnp.float32)


# A few chunks; so few that it sorts; the last one not full, full; one number.
@pytest.mark.parametrize(
  ('V', 'k'), [(200, 1), (200, 3), (64, 3), (33, 1), (320, 9), (1, 1)]
)
def test_largest_is_top_k(V, k):
  fn = jax.jit(jax.vmap(lambda x: chunked_top_k(x, k)))
  for kind in ('numbers', 'ties', 'barred'):
    x = rows(V, kind)
    for found, expected in zip(fn(x), lax.top_k(x, k), strict=True):
      np.testing.assert_array_equal(found, expected)
