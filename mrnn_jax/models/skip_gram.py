"""Skip-gram word vectors with negative sampling (Mikolov et al. 2013).

Letters: V vocabulary, E word vector, B pairs of a step, n negatives a pair.
"""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.data.vocabulary import UNK

Array = jax.Array

# Pairs a step, and steps that are taken in one call.
_BATCH = 1024
_STEPS = 100
_NEGATIVES = 5
_LEARNING_RATE = 0.05
# Words more frequent than this are left out at random, the more the oftener.
_FREQUENT = 1e-3
# Exponent of the frequencies that negatives are drawn by.
_NOISE_POWER = 0.75


def word_vectors(
  tokens: np.ndarray,
  offsets: np.ndarray,
  vocab_size: int,
  size: int,
  window: int,
  num_epochs: int,
  seed: int,
  progress: Callable[[int, int], None],
) -> np.ndarray:
  """Learn word vectors from captions.

  A word's vector is to tell the words around it from words drawn at random;
  by AdaGrad, its rate falling to 0 linearly.

  Args:
    tokens: all captions, ``##START##`` to ``##END##``, one after another.
    offsets: [C + 1] where each caption begins in ``tokens``.
    vocab_size: V.
    size: E.
    window: words to each side that are looked at, at most.
    num_epochs: passes over the captions.
    seed: of everything random.
    progress: called with the passes done and in all.

  Returns:
    [V, E] float32; of words that no caption has, what they began with.
  """
  rng = np.random.default_rng((seed, 2))
  caption = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
  counts = np.bincount(tokens, minlength=vocab_size).astype(np.float64)
  counts[:UNK] = 0  # ##START## and ##END## stand around everything.
  share = counts / counts.sum()
  noise = np.cumsum(counts**_NOISE_POWER)
  noise /= noise[-1]
  with np.errstate(divide='ignore'):
    kept = np.where(share > 0, np.sqrt(_FREQUENT / share), 0)
  start = rng.uniform(-0.5 / size, 0.5 / size, (vocab_size, size))
  words, contexts = np.float32(start), np.zeros((vocab_size, size), np.float32)
  squares = np.full((2, vocab_size, size), 1e-8, np.float32)
  state = jax.tree.map(jnp.asarray, (words, contexts, *squares))
  for epoch in range(num_epochs):
    pairs = _pairs(tokens, caption, kept, window, rng)
    steps = max(1, -(-len(pairs) // _BATCH))
    # Filled up with first ones again: every step has as many.
    pairs = np.resize(pairs, (-(-steps // _STEPS) * _STEPS * _BATCH, 2))
    pairs = pairs.reshape(-1, _STEPS, _BATCH, 2)
    done = epoch + np.linspace(0, 1, len(pairs) * _STEPS, endpoint=False)
    rates = _LEARNING_RATE * (1 - done / num_epochs)
    rates = rates.reshape(-1, _STEPS).astype(np.float32)
    for part, rate in zip(pairs, rates, strict=True):
      drawn = rng.random((_STEPS, _BATCH, _NEGATIVES))
      negatives = np.searchsorted(noise, drawn, side='right')
      state = _take_steps(state, part, negatives.astype(np.int32), rate)
    progress(epoch + 1, num_epochs)
  return np.asarray(state[0])


def _pairs(
  tokens: np.ndarray,
  caption: np.ndarray,
  kept: np.ndarray,
  window: int,
  rng: np.random.Generator,
) -> np.ndarray:
  """Draw the pairs [P, 2] of a word and one near it, of one pass, shuffled."""
  chosen = rng.random(len(tokens)) < kept[tokens]
  tokens, caption = tokens[chosen], caption[chosen]
  # Near words oftener than far ones: each word looks as far as is drawn.
  reach = rng.integers(1, window + 1, len(tokens))
  found = [np.empty((0, 2), np.int32)]
  for distance in range(1, window + 1):
    same = caption[distance:] == caption[:-distance]
    before, after = tokens[:-distance], tokens[distance:]
    for word, other, far in (
      (before, after, reach[:-distance]),
      (after, before, reach[distance:]),
    ):
      near = same & (far >= distance)
      found.append(np.stack([word[near], other[near]], axis=1))
  pairs = np.concatenate(found).astype(np.int32)
  rng.shuffle(pairs)
  return pairs


def cost(
  words: Array, contexts: Array, pairs: Array, negatives: Array
) -> Array:
  """Return - sum log s(w . c) + log s(-w . n) over pairs, in nats.

  Args:
    words: [V, E] vectors of words.
    contexts: [V, E] vectors of words that stand near others.
    pairs: [B, 2] a word, and one near it.
    negatives: [B, n] words drawn at random.
  """
  word, near = words[pairs[:, 0]], contexts[pairs[:, 1]]
  others = jnp.einsum(
    'be,bne->bn', word, contexts[negatives], precision='highest'
  )
  right = jax.nn.log_sigmoid((word * near).sum(-1)).sum()
  return -(right + jax.nn.log_sigmoid(-others).sum())


@functools.partial(jax.jit, donate_argnums=0)
def _take_steps(
  state: tuple[Array, ...], pairs: Array, negatives: Array, rates: Array
) -> tuple[Array, ...]:
  """Take steps of AdaGrad on words and contexts."""

  def step(state, batch):
    words, contexts, *squares = state
    pairs, negatives, rate = batch
    gradients = jax.grad(cost, (0, 1))(words, contexts, pairs, negatives)
    squares = [s + g * g for s, g in zip(squares, gradients, strict=True)]
    words, contexts = (
      x - rate * g / jnp.sqrt(s)
      for x, g, s in zip((words, contexts), gradients, squares, strict=True)
    )
    return (words, contexts, *squares), None

  return jax.lax.scan(step, state, (pairs, negatives, rates))[0]
