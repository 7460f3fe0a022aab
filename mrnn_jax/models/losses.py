"""Log-probabilities of words, as the cost and every measure take them."""

import math

import jax
import jax.numpy as jnp

from mrnn_jax.data.vocabulary import PAD

Array = jax.Array


def log2_probabilities(logits: Array, targets: Array) -> Array:
  """Return log2 P(target) as float32, 0 at padding.

  Args:
    logits: [..., V].
    targets: [...] word ids.
  """
  # As a matrix: XLA runs the same passes over [B, T, V] several times slower
  # on CPUs.
  shape, V = targets.shape, logits.shape[-1]
  logits, targets = logits.reshape(-1, V), targets.reshape(-1)
  normalizer = jax.nn.logsumexp(logits, axis=-1)
  # The chosen logit by comparison, not by index: its gradient then joins that
  # of the softmax in one pass, where an index would scatter.
  words = jax.lax.broadcasted_iota(jnp.int32, logits.shape, 1)
  chosen = jnp.where(words == targets[..., None], logits, 0).sum(1)
  log2_prob = (chosen - normalizer) / math.log(2)
  return jnp.where(targets == PAD, 0.0, log2_prob).reshape(shape)


def chosen_log_probs(logits: Array, rows: Array, words: Array) -> Array:
  """Return log P(word) of some words of some rows, natural logarithms.

  Args:
    logits: [B, V].
    rows: [n] which row.
    words: [n] which word of it.
  """
  normalizer = jax.nn.logsumexp(logits, axis=-1)
  return logits[rows, words] - normalizer[rows]
