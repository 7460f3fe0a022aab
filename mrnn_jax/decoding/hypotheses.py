"""The K hypotheses of one image, and how their next words are chosen.

Pure functions of one image, which ``search`` vmaps.

Letters: K hypotheses, V vocabulary, W most words of a caption, L targets of a
caption (its words, and ``##END##`` unless it was cut), C candidates of a
hypothesis.
"""

import functools
from typing import Any

import flax
import jax
from jax import lax
import jax.numpy as jnp

from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from mrnn_jax.decoding.chunked_top_k import chunked_top_k
from mrnn_jax.decoding.options import DecodeOptions

Array = jax.Array


@flax.struct.dataclass
class SearchState:
  """The K hypotheses of one image between two steps.

  Attributes:
    carry: [K, ...] the model's, before it reads ``last``.
    last: [K] int32 the word to read next.
    words: [K, W] int32 words generated so far, then padding.
    lengths: [K] int32 how many.
    ended: [K] bool whether ``##END##`` was chosen.
    log_probs: [K] float32; -inf where there is no hypothesis.
  """

  carry: Any
  last: Array
  words: Array
  lengths: Array
  ended: Array
  log_probs: Array

  @property
  def num_targets(self) -> Array:
    """L [K] so far."""
    return self.lengths + self.ended

  def is_live(self, max_words: Array) -> Array:
    """Return [K] whether a hypothesis takes another word."""
    possible = self.log_probs > -jnp.inf
    return possible & ~self.ended & (self.lengths < max_words)


def allowed_words(
  state: SearchState, vocab_size: int, options: DecodeOptions
) -> Array:
  """Return which words may come next, bool [K, V] or [1, V].

  The only place where words are barred.  Barring happens after the softmax:
  it takes words away and gives their probability to no other.
  """
  barred = [PAD, START, UNK] + [END] * options.exact_length
  allowed = jnp.ones((1, vocab_size), bool).at[:, jnp.array(barred)].set(False)
  if options.min_words:
    is_end = (jnp.arange(vocab_size) == END)[None]
    allowed &= ~is_end | (state.lengths >= options.min_words)[:, None]
  if options.no_repeat_ngram:
    allowed &= ~jax.vmap(
      functools.partial(repeats, n=options.no_repeat_ngram, V=vocab_size)
    )(state.words, state.lengths)
  return allowed


def repeats(words: Array, length: Array, n: int, V: int) -> Array:
  """Return which next words would say n words in a row again, bool [V].

  Args:
    words: [W] the words so far, then padding.
    length: how many.
    n: at least 1.
    V: vocabulary size.
  """
  W = len(words)
  starts = jnp.arange(W)
  # The last n - 1 words, and all runs of n words that are complete.
  last = words[length - n + 1 + jnp.arange(n - 1)]
  runs = words[jnp.minimum(starts[:, None] + jnp.arange(n), W - 1)]  # [W, n]
  complete = starts + n <= length
  again = complete & (runs[:, :-1] == last).all(axis=1)
  return jnp.zeros(V, bool).at[runs[:, -1]].max(again)


def length_normalized(
  log_probs: Array, num_targets: Array, options: DecodeOptions
):
  """Return log P / L^alpha, by which hypotheses compete; any shape."""
  if not options.length_penalty:
    return log_probs
  # A row that is allowed no word at all has L = 0.
  return log_probs / jnp.maximum(num_targets, 1) ** options.length_penalty


def nucleus(logits: Array, top_p: float) -> Array:
  """Bar all but the fewest likeliest words that have ``top_p`` of the mass.

  The least probability that stays is found by bisection over the bits of a
  float32: positive floats are ordered as their bits are.  It needs 31 passes
  where sorting costs, on CPUs, many times the whole rest of a step.

  Args:
    logits: [K, C] unnormalised log-probabilities.
    top_p: share of the mass, below 1.

  Returns:
    The logits, -inf outside of the nucleus; words that are as likely as its
    least likely one are all inside.
  """
  probs = jax.nn.softmax(logits)

  def halve(_, bounds):
    low, high = bounds
    middle = (low + high) // 2
    inside = probs >= lax.bitcast_convert_type(middle, jnp.float32)[:, None]
    enough = jnp.sum(jnp.where(inside, probs, 0), axis=-1) >= top_p
    return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

  low = jnp.zeros(len(logits), jnp.int32)
  high = lax.bitcast_convert_type(jnp.float32(2.0), jnp.int32)
  least, _ = lax.fori_loop(0, 31, halve, (low, jnp.full_like(low, high)))
  least = lax.bitcast_convert_type(least, jnp.float32)[:, None]
  return jnp.where(probs >= least, logits, -jnp.inf)


def extend_beam(
  state: SearchState, log_probs: Array, live: Array, options: DecodeOptions
) -> tuple[Array, Array, Array]:
  """Choose the K best of all hypotheses with one more word.

  With groups, each keeps the best of its own.  They choose one after another,
  and a word costs a group ``diversity_penalty`` for each hypothesis of the
  groups before it that has just taken it (Vijayakumar et al., 2016, Hamming
  diversity).  That decides who stays, and is no part of any log-probability.

  Args:
    state: hypotheses so far, K, group by group.
    log_probs: [K, V] of the next word, -inf where it is barred.
    live: [K] which hypotheses take another word.
    options: method 'greedy' or 'beam'.

  Returns:
    parents, words, log_probs: [K] each, group by group, best first.
  """
  K, V = log_probs.shape
  size = K // options.num_groups
  penalty, groups = None, []
  for first in range(0, K, size):
    group = slice(first, first + size)
    parents, words, best = _extend_group(
      jax.tree.map(lambda x, group=group: x[group], state),
      log_probs[group],
      live[group],
      penalty,
      options,
    )
    groups.append((first + parents, words, best))
    if options.num_groups > 1:
      taken = live[first + parents] & (best > -jnp.inf)
      taken = taken[:, None] & (words[:, None] == jnp.arange(V))
      penalty = (0 if penalty is None else penalty) + (
        options.diversity_penalty * taken.sum(axis=0)
      )
  parents, words, best = map(jnp.concatenate, zip(*groups, strict=True))
  return parents, words, best


def _extend_group(state, log_probs, live, penalty, options):
  """Choose the K best of one group; ``penalty`` of each word [V] or None."""
  K, V = log_probs.shape
  C = min(K, V)
  # The best K of K*V are among the best K of each: all words of a
  # hypothesis have the same L.
  ranked = log_probs if penalty is None else log_probs - penalty
  ranked, words = jax.vmap(lambda x: chunked_top_k(x, C))(ranked)  # --> [K, C]
  # One that is finished competes as the single continuation of itself.
  first = (jnp.arange(C) == 0)[None]
  itself = jnp.where(first, state.log_probs[:, None], -jnp.inf)
  num_targets = jnp.repeat(state.num_targets + live, C)

  def extended(log_probs):
    log_probs = log_probs + state.log_probs[:, None]
    return jnp.where(live[:, None], log_probs, itself).reshape(-1)

  ranked = extended(ranked)
  # Equal scores keep their order: lax.top_k takes the lower index first.
  _, best = lax.top_k(length_normalized(ranked, num_targets, options), K)
  if penalty is None:
    return best // C, words.reshape(-1)[best], ranked[best]
  own = extended(jnp.take_along_axis(log_probs, words, axis=1))
  # Best first by what they are, not by what they cost.
  scores = length_normalized(own[best], num_targets[best], options)
  best = best[jnp.argsort(-scores)]
  return best // C, words.reshape(-1)[best], own[best]


def extend_samples(
  state: SearchState,
  log_probs: Array,
  live: Array,
  key: Array,
  options: DecodeOptions,
) -> tuple[Array, Array, Array]:
  """Draw one word for each of K samples; as ``extend_beam``."""
  K, V = log_probs.shape
  # The largest becomes 0, so that no temperature makes it overflow.
  peak = log_probs.max(axis=-1, keepdims=True)
  peak = jnp.where(peak == -jnp.inf, 0, peak)
  logits = (log_probs - peak) / options.temperature
  words = jnp.broadcast_to(jnp.arange(V), (K, V))
  if options.top_k:
    C = min(options.top_k, V)
    logits, words = jax.vmap(lambda x: chunked_top_k(x, C))(
      logits
    )  # --> [K, C]
  if options.top_p < 1:
    logits = nucleus(logits, options.top_p)
  samples = jnp.arange(K)
  # A key for each word of each, so that a sample does not depend on their
  # number.
  keys = jax.vmap(functools.partial(jax.random.fold_in, key))(state.lengths)
  keys = jax.vmap(jax.random.fold_in)(keys, samples)
  drawn = jax.vmap(jax.random.categorical)(keys, logits)
  words = words[samples, drawn]
  drawn_log_probs = state.log_probs + log_probs[samples, words]
  return samples, words, jnp.where(live, drawn_log_probs, state.log_probs)
