"""Search for captions: argmax, sampling and beam (paper, section 6).

One stepper serves all three.  It works on the K hypotheses of one image, is
vmap-ed over images, and runs in one compiled loop over time that ends when no
image has anything left to do.  The model enters as a function

  step_fn(carry, tokens [K], image [M]) -> (carry, logits [K, V])

of the K hypotheses of one image, so that nothing of a prefix or an image is
ever computed twice, and search can be tested without a model.

Letters: N rows (images), K hypotheses a row, V vocabulary, M image vector, P
given words, W most words of a caption, L targets of a caption (its words, and
``##END##`` unless it was cut).
"""

from collections.abc import Callable
import functools
from typing import Any

import flax
import jax
from jax import lax
import jax.numpy as jnp

from mrnn_jax.decode_options import DecodeOptions
from mrnn_jax.vocabulary import END, PAD, START, UNK

Array = jax.Array
StepFn = Callable[[Any, Array, Array], tuple[Any, Array]]


@flax.struct.dataclass
class Decoded:
  """Captions of N rows, K to a row; given words are not part of them.

  Where a row has fewer hypotheses than K (a tiny vocabulary, or none that
  the model holds possible), the others have ``log_probs`` and ``scores`` of
  -inf and no words.

  Attributes:
    words: [N, K, W] int32 generated words, without ``##END##``, then padding.
    lengths: [N, K] int32 number of generated words.
    num_targets: [N, K] int32 L: the words, and ``##END##`` unless cut.
    log_probs: [N, K] float32 sum of the natural logarithms of the model's own
      probabilities of these L targets, given the image and the given words.
    scores: [N, K] float32 ``log_probs``, divided by L^alpha if alpha > 0.
    cut: [N, K] bool whether it ended at its number of words, not by
      ``##END##``; always so under ``exact_length``.
  """

  words: Any
  lengths: Any
  num_targets: Any
  log_probs: Any
  scores: Any
  cut: Any


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


def score(log_probs: Array, num_targets: Array, options: DecodeOptions):
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


def _extend_beam(state, log_probs, live, options):
  """Choose the K best of all hypotheses with one more word.

  Args:
    state: hypotheses so far, K.
    log_probs: [K, V] of the next word, -inf where it is barred.
    live: [K] which hypotheses take another word.
    options: method 'greedy' or 'beam'.

  Returns:
    parents, words, log_probs: [K] each, best first.
  """
  K, V = log_probs.shape
  C = min(K, V)
  # The best K of K*V are among the best K of each: all words of a
  # hypothesis have the same L.
  log_probs, words = lax.top_k(log_probs, C)  # --> [K, C]
  log_probs += state.log_probs[:, None]
  # One that is finished competes as the single continuation of itself.
  first = (jnp.arange(C) == 0)[None]
  itself = jnp.where(first, state.log_probs[:, None], -jnp.inf)
  log_probs = jnp.where(live[:, None], log_probs, itself).reshape(-1)
  num_targets = jnp.repeat(state.num_targets + live, C)
  # Equal scores keep their order: lax.top_k takes the lower index first.
  _, best = lax.top_k(score(log_probs, num_targets, options), K)
  return best // C, words.reshape(-1)[best], log_probs[best]


def _extend_samples(state, log_probs, live, key, options):
  """Draw one word for each of K samples; as ``_extend_beam``."""
  K, V = log_probs.shape
  # The largest becomes 0, so that no temperature makes it overflow.
  largest = log_probs.max(axis=-1, keepdims=True)
  largest = jnp.where(largest == -jnp.inf, 0, largest)
  logits = (log_probs - largest) / options.temperature
  words = jnp.broadcast_to(jnp.arange(V), (K, V))
  if options.top_k:
    logits, words = lax.top_k(logits, min(options.top_k, V))  # --> [K, C]
  if options.top_p < 1:
    logits = nucleus(logits, options.top_p)
  samples = jnp.arange(K)
  # A key for each, so that a sample does not depend on their number.
  keys = jax.vmap(functools.partial(jax.random.fold_in, key))(samples)
  drawn = jax.vmap(jax.random.categorical)(keys, logits)
  words = words[samples, drawn]
  drawn_log_probs = state.log_probs + log_probs[samples, words]
  return samples, words, jnp.where(live, drawn_log_probs, state.log_probs)


def _step(step_fn, options, t, state, image, max_words, key):
  """Give every live hypothesis of one image its word number t."""
  live = state.is_live(max_words)
  carry, logits = step_fn(state.carry, state.last, image)  # [K, V]
  # A row in which all is impossible has log_z = -inf and must not become NaN;
  # a NaN of the model's own must stay one.
  log_z = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
  log_probs = jnp.where(
    allowed_words(state, logits.shape[-1], options) & (logits != -jnp.inf),
    logits - log_z,
    -jnp.inf,
  )
  if options.method == 'sample':
    parents, words, log_probs = _extend_samples(
      state, log_probs, live, jax.random.fold_in(key, t), options
    )
  else:
    parents, words, log_probs = _extend_beam(state, log_probs, live, options)
    state = jax.tree.map(lambda x: x[parents], state)
    carry = jax.tree.map(lambda x: x[parents], carry)
    live = live[parents]
  is_end = words == END
  added = live & ~is_end
  # Every live hypothesis has t words: word t is the same column for all.
  column = (jnp.arange(options.max_words) == t)[None]
  return SearchState(
    carry=carry,
    last=words.astype(jnp.int32),
    words=jnp.where(column & added[:, None], words[:, None], state.words),
    lengths=state.lengths + added,
    ended=state.ended | (live & is_end),
    log_probs=log_probs,
  )


def _is_settled(options, state, max_words):
  """Return whether the hypotheses of one image to return cannot change."""
  live = state.is_live(max_words)
  if options.method == 'sample':
    return ~live.any()
  best = options.num_returned
  scores = score(state.log_probs, state.num_targets, options)
  # Log P only falls, and dividing by the largest L is the most that a length
  # penalty can do for it.  Equal scores keep their order.
  reachable = score(state.log_probs, max_words, options)
  reachable = jnp.where(live, reachable, -jnp.inf).max()
  return ~live[:best].any() & (reachable <= scores[best - 1])


def _initial_state(step_fn, options, carry, image, prefix, prefix_length):
  """Read the given words of one image but the last, which search reads."""
  K = options.num_hypotheses
  given = jnp.concatenate([jnp.full(1, START, jnp.int32), prefix])

  def read(carry, inputs):
    i, token = inputs
    # The logits are not used: compiling drops the readout.
    new, _ = step_fn(carry, token[None], image)
    keep = i < prefix_length
    return jax.tree.map(lambda a, b: jnp.where(keep, a, b), new, carry), None

  carry = jax.tree.map(lambda x: x[None], carry)
  P = prefix.shape[0]
  carry, _ = lax.scan(read, carry, (jnp.arange(P), given[:P]))
  log_probs = jnp.zeros(K)
  if options.method == 'beam':
    # K times the same start would give K times the same captions.
    log_probs = log_probs.at[1:].set(-jnp.inf)
  return SearchState(
    carry=jax.tree.map(lambda x: jnp.repeat(x, K, axis=0), carry),
    last=jnp.full(K, given[prefix_length]),
    words=jnp.full((K, options.max_words), PAD, jnp.int32),
    lengths=jnp.zeros(K, jnp.int32),
    ended=jnp.zeros(K, bool),
    log_probs=log_probs,
  )


def search(
  step_fn: StepFn,
  carry: Any,
  images: Array,
  prefix: Array,
  prefix_lengths: Array,
  max_words: Array,
  row_ids: Array,
  key: Array,
  options: DecodeOptions,
) -> Decoded:
  """Generate captions for N rows, whatever the model (section 6).

  A pure function of arrays, for ``jax.jit`` with ``step_fn`` and ``options``
  static.  What a row gets depends on its own inputs alone.

  Args:
    step_fn: the model, see the module; it must take any K.
    carry: [N, ...] the model's before ``##START##``, a tree of arrays.
    images: [N, M] image vectors.
    prefix: [N, P] int32 ids of the words that a caption begins with after
      ``##START##``; P may be 0.
    prefix_lengths: [N] int32 how many of them count.
    max_words: [N] int32 most words to generate, given ones not counted; at
      most ``options.max_words``; 0 costs nothing and gives an empty caption.
    row_ids: [N] int32 numbers of the rows, for their random keys.
    key: a random key, used by 'sample' only.
    options: how to choose words.

  Returns:
    The captions; of K = ``options.num_returned``.
  """
  max_words = jnp.minimum(max_words, options.max_words)
  keys = jax.vmap(functools.partial(jax.random.fold_in, key))(row_ids)
  start = functools.partial(_initial_state, step_fn, options)
  step = jax.vmap(
    functools.partial(_step, step_fn, options), in_axes=(None, 0, 0, 0, 0)
  )
  is_settled = jax.vmap(functools.partial(_is_settled, options))

  def keep_going(loop):
    t, state = loop
    in_time = t < options.max_words
    return in_time & ~is_settled(state, max_words).all()

  def advance(loop):
    t, state = loop
    return t + 1, step(t, state, images, max_words, keys)

  state = jax.vmap(start)(carry, images, prefix, prefix_lengths)
  _, state = lax.while_loop(keep_going, advance, (0, state))

  best = slice(options.num_returned)
  log_probs = state.log_probs[:, best]
  # Slots without a hypothesis have words of some barred one.
  real = log_probs != -jnp.inf
  lengths = jnp.where(real, state.lengths[:, best], 0)
  num_targets = jnp.where(real, state.num_targets[:, best], 0)
  return Decoded(
    words=jnp.where(real[..., None], state.words[:, best], PAD),
    lengths=lengths,
    num_targets=num_targets,
    log_probs=log_probs,
    scores=score(log_probs, num_targets, options),
    cut=real & ~state.ended[:, best],
  )
