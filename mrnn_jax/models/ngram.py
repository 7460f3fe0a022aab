"""n-gram models behind the contract: tables over contexts, from counts alone.

The n-grams that are kept form a trie: a node is an n-gram, its children go on
from it by a word.  A context is a node, so the carry is the nodes of the last
1, 2, ... words, and what language gives is the same as numbers.

Letters: B rows, T steps, N order, V vocabulary, G nodes of a level.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax.models import ngram_counts
from mrnn_jax.models.contract import Examples, Model, option

Array = jax.Array

# log P of what is never predicted: far below all that is, but a number.
_NEVER = -1e4
# Halvings that find a word among the children of a node.
_HALVINGS = 24
# Whole numbers that float32 can tell apart.
_MOST_NODES = 1 << 24


class NGram(Model):
  """A back-off model of the words alone (see ``ngram_counts``).

  Its parameters are tables, whose sizes are as the captions are:

    log_probs_1 [V]; for each order n from 2 to N, its G nodes and the G' of
      order n - 1, and one more of each, which is none:
    words_n [G + 1], log_probs_n [G + 1]: a node's last word, log P of it
    starts_n [G' + 1]: where the children of each node of order n - 1 begin
    log_weights_n [G' + 1]: of the shorter context, at these nodes
    width_n [W]: nothing; W is the largest number of children

  Attributes:
    ngram_order: N.
    ngram_smoothing: one of ``ngram_counts.SMOOTHINGS``.
  """

  sees_images: ClassVar[bool] = False
  fitted: ClassVar[bool] = True
  free_sizes: ClassVar[bool] = True

  ngram_order: int = option(
    3, 'N, words of an n-gram; it looks N - 1 back.', low=2, high=6
  )
  ngram_smoothing: str = option(
    'kneser-ney',
    'How n-grams share their probability with what was not seen: kneser-ney '
    '(interpolated, modified) or katz (back-off, Good-Turing).',
    choices=tuple(ngram_counts.SMOOTHINGS),
  )

  def setup(self):
    """Name the tables; without counts all words are alike."""
    V = self.vocab_size
    self.tables = {
      name: self.variable('params', name, lambda x=x: jnp.asarray(x))
      for name, x in _tables(_uniform(V, self.ngram_order)).items()
    }

  def fit(self, examples: Examples) -> dict[str, Any]:
    """Return the parameters that captions give."""
    estimate = ngram_counts.SMOOTHINGS[self.ngram_smoothing]
    return _tables(
      estimate(
        examples.tokens, examples.offsets, self.ngram_order, self.vocab_size
      )
    )

  def misfit(self, params: Mapping[str, np.ndarray]) -> str:
    """Return which table does not go with the others, or ''."""
    below, V = len(params['log_probs_1']), self.vocab_size
    if below != V:
      return f'log_probs_1 has {below:,} words, not {V:,}'
    for n in range(2, self.ngram_order + 1):
      words, starts = params[f'words_{n}'], params[f'starts_{n}']
      size = len(words)
      if not size or size != len(params[f'log_probs_{n}']):
        return f'words_{n} and log_probs_{n} differ in size'
      if {len(starts), len(params[f'log_weights_{n}'])} != {below + 1}:
        return f'starts_{n} and log_weights_{n} are not of order {n - 1}'
      children = np.diff(starts)
      if starts[0] or starts[-1] != size - 1 or (children < 0).any():
        return f'starts_{n} does not divide words_{n}'
      if words.min() < 0 or words.max() >= V:
        return f'words_{n} has words that are none'
      if children.max() > len(params[f'width_{n}']):
        return f'width_{n} is too small'
      below = size - 1
    return ''

  def initial_carry(self, num_rows: int) -> Array:
    """Return nodes [B, N - 1], none: -1."""
    return jnp.full((num_rows, self.ngram_order - 1), -1, jnp.int32)

  def language_step(self, carry: Array, tokens: Array) -> tuple[Array, Array]:
    """Read one word a row; the nodes [B, N - 1] of the last words."""
    found = [tokens.astype(jnp.int32)]
    for n in range(2, self.ngram_order):
      found.append(self._child(n, carry[:, n - 2], found[0]))
    nodes = jnp.stack(found, axis=1)
    # Nothing goes on over a ##START##, which is no child of any node.
    return nodes, nodes.astype(jnp.float32)

  def language(self, tokens: Array, row_keys: Array | None = None) -> Array:
    """Return the nodes [B, T, N - 1] of the words up to each of [B, T]."""
    carry = self.initial_carry(len(tokens))
    _, nodes = jax.lax.scan(self.language_step, carry, tokens.T)
    return nodes.swapaxes(0, 1)  # [T, B, N - 1] --> [B, T, N - 1]

  def readout(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> Array:
    """Return log P [..., V] after the nodes [..., N - 1]."""
    nodes = language.reshape(-1, self.ngram_order - 1).astype(jnp.int32)
    rows = jax.vmap(self._row)(nodes)
    return rows.reshape(*language.shape[:-1], self.vocab_size)

  def _table(self, name: str) -> Array:
    return jnp.asarray(self.tables[name].value)

  def _row(self, nodes: Array) -> Array:
    """Return log P [V] after the nodes [N - 1] of a context."""
    row = self._table('log_probs_1')
    for n in range(2, self.ngram_order + 1):
      node = nodes[n - 2]
      known, node = node >= 0, jnp.maximum(node, 0)
      row += jnp.where(known, self._table(f'log_weights_{n}')[node], 0)
      starts = self._table(f'starts_{n}')
      place = starts[node] + jnp.arange(len(self._table(f'width_{n}')))
      there = known & (place < starts[node + 1])
      # Behind the last word: dropped.
      words = jnp.where(
        there, self._table(f'words_{n}')[place], self.vocab_size
      )
      row = row.at[words].set(self._table(f'log_probs_{n}')[place], mode='drop')
    return row

  def _child(self, n: int, nodes: Array, words: Array) -> Array:
    """Return the nodes [B] of order n that words lead to; -1: none."""
    starts, children = self._table(f'starts_{n}'), self._table(f'words_{n}')
    known, nodes = nodes >= 0, jnp.maximum(nodes, 0)
    low, end = starts[nodes], starts[nodes + 1]

    def halve(_, bounds):
      low, high = bounds
      middle = (low + high) // 2
      before = (low < high) & (children[middle] < words)
      return jnp.where(before, middle + 1, low), jnp.where(
        before | (low >= high), high, middle
      )

    low, _ = jax.lax.fori_loop(0, _HALVINGS, halve, (low, end))
    found = known & (low < end) & (children[low] == words)
    return jnp.where(found, low, -1)


def _uniform(num_words: int, order: int) -> list[ngram_counts.Level]:
  """Return levels in which nothing was counted."""
  words, nothing = np.arange(num_words), np.zeros(0, np.int64)
  probs, none = np.full(num_words, 1 / num_words), np.zeros(0)
  first = ngram_counts.Level(
    np.zeros(num_words, np.int64), words, probs, np.ones(num_words)
  )
  rest = ngram_counts.Level(nothing, nothing, none, none)
  return [first, *[rest] * (order - 1)]


def _tables(levels: list[ngram_counts.Level]) -> dict[str, np.ndarray]:
  """Return the parameters of a model, see ``NGram``."""
  if max(len(level.words) for level in levels) > _MOST_NODES:
    raise ValueError(f'more than {_MOST_NODES:,} n-grams of an order')

  def log(x):
    with np.errstate(divide='ignore'):
      return np.maximum(np.log(x), _NEVER).astype(np.float32)

  tables = {'log_probs_1': log(levels[0].probs)}
  for n, (below, level) in enumerate(zip(levels, levels[1:], strict=False), 2):
    children = np.bincount(level.parents, minlength=len(below.probs))
    starts = np.concatenate([[0], np.cumsum(children)])
    # One more of each, so that there is something to look at.
    tables |= {
      f'words_{n}': np.append(level.words, 0).astype(np.int32),
      f'log_probs_{n}': log(np.append(level.probs, 1)),
      f'starts_{n}': starts.astype(np.int32),
      f'log_weights_{n}': log(np.append(below.weights, 1)),
      f'width_{n}': np.zeros(max(1, children.max(initial=0)), np.float32),
    }
  return tables
