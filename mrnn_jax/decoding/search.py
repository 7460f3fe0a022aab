"""Search for captions: argmax, sampling and beam (paper, section 6).

One stepper serves all three.  It works on the K hypotheses of one image and is
vmap-ed over S images, the slots of one compiled loop.  A slot whose image is
done takes the next one, so that no image waits for the longest caption of
others.  The model enters as a function

  step_fn(carry, tokens [K], image [J]) -> (carry, logits [K, V])

of the K hypotheses of one image, so that nothing of a prefix or an image is
ever computed twice, and search can be tested without a model.

Letters: N rows (images), S slots, K hypotheses a row, V vocabulary, J image
vector, P given words, W most words of a caption, L targets of a caption (its
words, and ``##END##`` unless it was cut).
"""

from collections.abc import Callable
import functools
from typing import Any

import flax
import jax
from jax import lax
import jax.numpy as jnp

from mrnn_jax.data.vocabulary import END, PAD, START
from mrnn_jax.decoding.hypotheses import (
  SearchState,
  allowed_words,
  extend_beam,
  extend_samples,
  length_normalized,
)
from mrnn_jax.decoding.options import DecodeOptions

# Slots are given new rows when one in so many is done: it costs a little.
_EXCHANGED = 16

Array = jax.Array
StepFn = Callable[[Any, Array, Array], tuple[Any, Array]]


@flax.struct.dataclass
class Decoded:
  """Captions of N rows, K to a row; given words are not part of them.

  Those of a beam are in the order of their scores, best first, whatever group
  they are of, and no two of a row are the same.  Where a row has fewer than K
  (a tiny vocabulary, groups that found the same, or none that the model holds
  possible), the others have ``log_probs`` and ``scores`` of -inf and no words.

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


def _step(step_fn, options, state, image, max_words, key):
  """Give every live hypothesis of one image its next word."""
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
    parents, words, log_probs = extend_samples(
      state, log_probs, live, key, options
    )
  else:
    parents, words, log_probs = extend_beam(state, log_probs, live, options)
    state = jax.tree.map(lambda x: x[parents], state)
    carry = jax.tree.map(lambda x: x[parents], carry)
    live = live[parents]
  is_end = words == END
  added = live & ~is_end
  column = jnp.arange(options.max_words) == state.lengths[:, None]
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
  # As many of each group: they may all be of one.
  best = options.num_returned_of_group
  scores = length_normalized(state.log_probs, state.num_targets, options)
  # Log P only falls, and dividing by the largest L is the most that a length
  # penalty can do for it.  Equal scores keep their order.
  reachable = length_normalized(state.log_probs, max_words, options)
  reachable = jnp.where(live, reachable, -jnp.inf)
  live, scores, reachable = (
    x.reshape(options.num_groups, -1) for x in (live, scores, reachable)
  )
  settled = ~live[:, :best].any(axis=1)
  settled &= reachable.max(axis=1) <= scores[:, best - 1]
  # NaN would go on for ever.
  return settled.all() | ~live.any()


def _read_prefix(step_fn, carry, image, prefix, prefix_length):
  """Read the given words of one image but the last, which search reads.

  Returns:
    The carry [...] and the last word.
  """
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
  return jax.tree.map(lambda x: x[0], carry), given[prefix_length]


def _initial_state(options, carry, last):
  """Return K hypotheses of one image, of no word, from ``_read_prefix``."""
  K = options.num_hypotheses
  log_probs = jnp.zeros(K)
  if options.method == 'beam':
    # The same start several times would give the same captions.
    first = jnp.arange(K) % (K // options.num_groups) == 0
    log_probs = jnp.where(first, 0, -jnp.inf)
  return SearchState(
    carry=jax.tree.map(lambda x: jnp.broadcast_to(x, (K, *x.shape)), carry),
    last=jnp.full(K, last),
    words=jnp.full((K, options.max_words), PAD, jnp.int32),
    lengths=jnp.zeros(K, jnp.int32),
    ended=jnp.zeros(K, bool),
    log_probs=log_probs,
  )


def _merge_groups(options, state):
  """Put the best of all groups of one image in one order, each but once."""
  G, best = options.num_groups, options.num_returned_of_group
  state = jax.tree.map(
    lambda x: x.reshape(G, -1, *x.shape[1:])[:, :best].reshape(
      -1, *x.shape[1:]
    ),
    state,
  )
  same = (state.words[:, None] == state.words).all(axis=-1)
  same &= state.lengths[:, None] == state.lengths
  # Of a later group, what an earlier one has too.
  again = jnp.tril(same, -1).any(axis=1)
  state = state.replace(log_probs=jnp.where(again, -jnp.inf, state.log_probs))
  order = jnp.argsort(
    -length_normalized(state.log_probs, state.num_targets, options)
  )
  return jax.tree.map(lambda x: x[order], state)


def _result(options, state):
  """Return the captions of one image, which is settled."""
  if options.num_groups > 1:
    state = _merge_groups(options, state)
  best = slice(options.num_returned)
  log_probs = state.log_probs[best]
  # Those that are none have words of some barred one.
  real = log_probs != -jnp.inf
  lengths = jnp.where(real, state.lengths[best], 0)
  num_targets = jnp.where(real, state.num_targets[best], 0)
  return Decoded(
    words=jnp.where(real[:, None], state.words[best], PAD),
    lengths=lengths,
    num_targets=num_targets,
    log_probs=log_probs,
    scores=length_normalized(log_probs, num_targets, options),
    cut=real & ~state.ended[best],
  )


@flax.struct.dataclass
class _Work:
  """All that the loop over N rows has between two exchanges.

  Attributes:
    rows: [S] the row of each slot; N where none is left for it.
    num_begun: how many rows have had a slot, in their order.
    state: of the slots' rows, [S, K, ...].
    captions: [N, K, ...] of the rows that are done.
  """

  rows: Array
  num_begun: Array
  state: SearchState
  captions: Decoded


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
  num_slots: int | None = None,
) -> Decoded:
  """Generate captions for N rows, whatever the model (section 6).

  A pure function of arrays, for ``jax.jit`` with ``step_fn`` and ``options``
  static.  What a row gets depends on its own inputs alone.

  Args:
    step_fn: the model, see the module; it must take any K.
    carry: [N, ...] the model's before ``##START##``, a tree of arrays.
    images: [N, J] what the model's image part gives.
    prefix: [N, P] int32 ids of the words that a caption begins with after
      ``##START##``; P may be 0.
    prefix_lengths: [N] int32 how many of them count.
    max_words: [N] int32 most words to generate, given ones not counted; at
      most ``options.max_words``; 0 costs nothing and gives an empty caption.
    row_ids: [N] int32 numbers of the rows, for their random keys.
    key: a random key, used by 'sample' only.
    options: how to choose words.
    num_slots: S, rows to work on at a time; all if None.

  Returns:
    The captions; of K = ``options.num_returned``.
  """
  N = len(images)
  S = min(num_slots or N, N)
  keys = jax.vmap(functools.partial(jax.random.fold_in, key))(row_ids)
  # A slot that has no row, N, is done at once.
  max_words = jnp.append(jnp.minimum(max_words, options.max_words), 0)
  starts = jax.vmap(functools.partial(_read_prefix, step_fn))(
    carry, images, prefix, prefix_lengths
  )

  begin = jax.vmap(functools.partial(_initial_state, options))
  step = jax.vmap(functools.partial(_step, step_fn, options))
  is_settled = jax.vmap(functools.partial(_is_settled, options))
  result = jax.vmap(functools.partial(_result, options))

  def take(tree, rows):
    return jax.tree.map(lambda x: x[jnp.minimum(rows, N - 1)], tree)

  def extend(work):
    """Take steps until there is something to exchange."""
    slot_max_words = max_words[work.rows]
    slot_images, slot_keys = take((images, keys), work.rows)
    # At the end, all at once.
    enough = jnp.where(work.num_begun < N, -(-S // _EXCHANGED), S)
    return work.replace(
      state=lax.while_loop(
        lambda state: is_settled(state, slot_max_words).sum() < enough,
        lambda state: step(state, slot_images, slot_max_words, slot_keys),
        work.state,
      )
    )

  def exchange(work):
    """Store the captions of settled rows, and give their slots new ones."""
    settled = is_settled(work.state, max_words[work.rows])
    done = jnp.where(settled, work.rows, N)
    captions = jax.tree.map(
      lambda all_rows, new: all_rows.at[done].set(new, mode='drop'),
      work.captions,
      result(work.state),
    )
    next_rows = work.num_begun + jnp.cumsum(settled) - 1
    rows = jnp.where(settled, jnp.minimum(next_rows, N), work.rows)

    def renew(old, new):
      return jnp.where(settled.reshape(S, *[1] * (new.ndim - 1)), new, old)

    return _Work(
      rows=rows,
      num_begun=jnp.minimum(work.num_begun + settled.sum(), N),
      state=jax.tree.map(renew, work.state, begin(*take(starts, rows))),
      captions=captions,
    )

  rows = jnp.arange(S)
  state = begin(*take(starts, rows))
  captions = jax.tree.map(
    lambda x: jnp.zeros((N, *x.shape[1:]), x.dtype),
    jax.eval_shape(result, state),
  )
  return lax.while_loop(
    lambda work: (work.rows < N).any(),
    lambda work: exchange(extend(work)),
    _Work(rows, jnp.int32(S), state, captions),
  ).captions
