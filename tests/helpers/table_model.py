"""A model that is a table, searched; and the same done plainly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from mrnn_jax.decoding.batches import decode_in_batches
from mrnn_jax.decoding.search import search

A, B, C = 4, 5, 6  # The words of the tiny vocabularies.
NEVER = (PAD, START, UNK)


def table_step_fn(table):
  """A model whose next word depends on the last two and on the image.

  The carry is the word before the last.  ``table`` is [V, V, V] logits, to
  which the image, here [V], is added.
  """

  def step_fn(carry, tokens, image):
    return tokens, table[carry, tokens] + image[None]

  return step_fn


def random_table(V, seed, scale=2.0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(V, V, V)) * scale, jnp.float32)


def bigrams(probs):
  """A table of the logits ln P(next | last), from {(last, next): P}."""
  table = np.full((7, 7, 7), -np.inf, np.float32)
  for (last, word), prob in probs.items():
    table[:, last, word] = np.log(prob)
  return jnp.asarray(table)


def random_images(N, V, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.normal(size=(N, V)), jnp.float32)


@functools.partial(jax.jit, static_argnames=('options', 'num_slots'))
def table_search(
  table, images, prefix, lengths, max_words, ids, key, options, num_slots
):
  carry = jnp.zeros(len(images), jnp.int32)
  return search(
    table_step_fn(table),
    carry,
    images,
    prefix,
    lengths,
    max_words,
    ids,
    key,
    options,
    num_slots,
  )


def run(
  table,
  images,
  options,
  prefixes=None,
  max_words=None,
  num_slots=None,
  **kwargs,
):
  """Search with a table on all rows at once; numpy results."""

  def decode_fn(*batch):
    return table_search(table, *batch, jax.random.key(7), options, num_slots)

  kwargs.setdefault('batch_size', len(images))
  return decode_in_batches(
    decode_fn, np.asarray(images), options, prefixes, max_words, **kwargs
  )


def captions(result, row):
  """The n-best of a row as (words, log_prob, score, cut)."""
  found = []
  for k in range(result.lengths.shape[1]):
    if result.log_probs[row, k] == -np.inf:
      continue
    length = result.lengths[row, k]
    words = result.words[row, k]
    assert (words[length:] == PAD).all()
    found.append(
      (
        tuple(words[:length].tolist()),
        result.log_probs[row, k],
        result.scores[row, k],
        bool(result.cut[row, k]),
      )
    )
  return found


def next_log_probs(table, image, given):
  """ln P of the word after ``##START## given``, [V], in float64."""
  before, last = [PAD, START, *given][-2:]
  logits = np.asarray(table, np.float64)[before, last] + np.asarray(image)
  return logits - np.logaddexp.reduce(logits)


def greedy_by_hand(table, image, prefix, max_words):
  words, log_prob = [], 0.0
  while len(words) < max_words:
    log_probs = next_log_probs(table, image, (*prefix, *words))
    order = [w for w in np.argsort(-log_probs) if w not in NEVER]
    log_prob += log_probs[order[0]]
    if order[0] == END:
      return tuple(words), log_prob, False
    words.append(int(order[0]))
  return tuple(words), log_prob, True


def assert_same_captions(found, expected):
  assert [c[0] for c in found] == [c[0] for c in expected]
  assert [c[3] for c in found] == [c[3] for c in expected]
  for i in (1, 2):
    np.testing.assert_allclose(
      [c[i] for c in found], [c[i] for c in expected], rtol=1e-5, atol=1e-6
    )
