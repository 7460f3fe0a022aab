"""Which of a model's arrays have a place for each word, and more places.

No model says so itself: what grows when the vocabulary does, by one word, has
them.
"""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.data.vocabulary import SPECIAL_WORDS, START
from mrnn_jax.models.contract import Model, Variables


def word_axes(model: Model) -> dict[tuple[str, ...], int]:
  """Return the axis of the words of each array that has one, by its path.

  Args:
    model: of any vocabulary, but not of free sizes.
  """
  now, then = (
    _shapes(model.clone(vocab_size=model.vocab_size + more)) for more in (0, 1)
  )
  return {
    path: next(i for i, n in enumerate(now[path]) if n != then[path][i])
    for path in now
    if now[path] != then[path]
  }


def with_more_words(
  model: Model, variables: Variables, num_new: int
) -> dict[str, Any]:
  """Return a model's variables for a vocabulary that is longer by some words.

  The new words stand behind the others, and are what these are on the average:
  embeddings, weights and biases of the softmax.  The special words do not
  count.

  Args:
    model: of the vocabulary as it was, V words.
    variables: of the model.
    num_new: how many words come.

  Returns:
    Variables of ``model.clone(vocab_size=V + num_new)``, host arrays.
  """
  flat = traverse_util.flatten_dict(jax.device_get(dict(variables)))
  if num_new:
    for path, axis in word_axes(model).items():
      flat[path] = _longer(np.asarray(flat[path]), axis, num_new)
  return traverse_util.unflatten_dict(flat)


def _longer(array: np.ndarray, axis: int, num_new: int) -> np.ndarray:
  """Append the mean of the words' places, so many times."""
  words = np.arange(array.shape[axis])
  ordinary = words[len(SPECIAL_WORDS) :]
  known = array.take(ordinary if len(ordinary) else words, axis)
  mean = known.mean(axis, dtype=np.float64, keepdims=True)
  new = np.repeat(mean.astype(array.dtype), num_new, axis)
  return np.concatenate([array, new], axis)


def _shapes(model: Model) -> Mapping[tuple[str, ...], tuple[int, ...]]:
  """Return the shapes of a model's arrays by path, without making them."""

  def init():
    tokens = jnp.full((1, 1), START)
    features = jnp.zeros((1, 1, model.feature_size))
    return model.init(jax.random.key(0), tokens, features)

  made = traverse_util.flatten_dict(jax.eval_shape(init))
  return {path: x.shape for path, x in made.items()}
