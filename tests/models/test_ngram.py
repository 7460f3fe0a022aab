"""n-gram models beside their equations, one word and one context at a time."""
# ruff: noqa: B019 (each is kept for one test)

import collections
import functools

import jax
import numpy as np
import pytest
from small_models import examples

from mrnn_jax import models
from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from mrnn_jax.models import ngram_counts

A, B, C = 4, 5, 6
V = 7
# Enough that words were seen after one, two, three and four others.
WORDS = 120
# "a b", "a c", "a b".
SMALL = [[START, A, B, END], [START, A, C, END], [START, A, B, END]]


def flat(captions):
  offsets = np.cumsum([0, *map(len, captions)])
  return np.concatenate([np.asarray(x) for x in captions]), offsets


def drawn(num_captions=500, seed=0):
  """Captions of words by Zipf's law, each leaning on the one before."""
  rng = np.random.default_rng(seed)
  weights = 1 / np.arange(1, WORDS - 3)
  captions = []
  for _ in range(num_captions):
    length = rng.integers(1, 7)
    words = rng.choice(WORDS - 4, length, p=weights / weights.sum())
    lean = rng.random(length - 1) < 0.5
    words[1:] = np.where(lean, words[:-1] // 2, words[1:])
    captions.append([START, *(words + 4).tolist(), END])
  return captions


@pytest.mark.filterwarnings('ignore:2-grams are too few')
@pytest.mark.filterwarnings('ignore:1-grams are too few')
def test_kneser_ney_by_hand():
  """All discounts by n1 / (n1 + 2 n2): 2/6 of the pairs, 3/5 of the words.

  a, b and c were seen after one word each, ##END## after two; five words can
  come, ##UNK## among them: p(a) = .4/5 + (4 x .6/5)/5 = .176, and of ##END##
  1.4/5 + .096 = .376.  After a: p(b) = (2 - 1/3)/3 + (2/3)/3 x .176.
  """
  levels = ngram_counts.kneser_ney(*flat(SMALL), 2, V)
  alone = ngram_counts.probabilities(levels, [])
  expected = [0, 0, 0.376, 0.096, 0.176, 0.176, 0.176]
  np.testing.assert_allclose(alone, expected, atol=1e-12)
  after = ngram_counts.probabilities(levels, [A])
  gamma = 2 / 9
  expected = gamma * alone
  expected[B] += 5 / 9
  expected[C] += 2 / 9
  np.testing.assert_allclose(after, expected, atol=1e-12)
  # ##START## follows nothing: it is counted as often as it was seen.
  after = ngram_counts.probabilities(levels, [START])
  assert after[A] == pytest.approx((3 - 1 / 3) / 3 + (1 / 3) / 3 * 0.176)


@pytest.mark.filterwarnings('ignore:.*are too few')
def test_every_n_gram_has_a_weight():
  """Also "c ##END##", the last of them, which nothing follows."""
  levels = ngram_counts.kneser_ney(*flat(SMALL), 3, V)
  assert [len(x.weights) for x in levels] == [7, 5, 4]
  assert levels[1].weights[-1] == 1


def test_good_turing_by_hand():
  """n_1 ... n_6 = 10, 5, 3, 2, 1, 1: 6 n_6 / n_1 = .6; 5 would grow."""
  counts = np.repeat([1, 2, 3, 4, 5, 6, 9], [10, 5, 3, 2, 1, 1, 4])
  with pytest.warns(UserWarning, match='for pairs that were seen 5 times'):
    factors = ngram_counts.good_turing(counts, 'pairs')
  expected = [1, 1, 0.3 / 0.4, (8 / 9 - 0.6) / 0.4, (5 / 8 - 0.6) / 0.4, 1]
  np.testing.assert_allclose(factors, expected)


def test_counts_without_larger_ones_stay():
  """Nothing was seen 4 times, to compare with what was seen 3 times."""
  counts = np.repeat([1, 2, 3], [10, 4, 1])
  with pytest.warns(UserWarning, match='for pairs that were seen 3 times'):
    factors = ngram_counts.good_turing(counts, 'pairs')
  # 3 n_3 / n_1 = .3; 2 n_2 / n_1 = .8, 3 n_3 / (2 n_2) = .375.
  np.testing.assert_allclose(factors, [1, 0.5 / 0.7, 0.075 / 0.7, 1, 1, 1])


@pytest.mark.filterwarnings('ignore:Good and Turing')
def test_katz_by_hand():
  """No discount can be relied on here: each context is given one count more.

  After a: b 2 of 4, c 1 of 4, and 1/4 for the rest, which has
  1 - p(b) - p(c) of the words alone (a 3, b 2, c 1, ##END## 3, ##UNK## as c).
  """
  levels = ngram_counts.katz(*flat(SMALL), 2, V)
  alone = ngram_counts.probabilities(levels, [])
  np.testing.assert_allclose(alone, np.asarray([0, 0, 3, 1, 3, 2, 1]) / 10)
  after = ngram_counts.probabilities(levels, [A])
  expected = 0.25 / 0.7 * alone
  expected[[B, C]] = 0.5, 0.25
  np.testing.assert_allclose(after, expected)


class Plain:
  """The textbook: dictionaries of tuples, one word at a time."""

  def __init__(self, captions, order):
    self.order = order
    self.counts = [
      collections.Counter(
        tuple(x[i : i + n]) for x in captions for i in range(len(x) - n + 1)
      )
      for n in range(order + 2)
    ]
    self.words = [w for w in range(WORDS) if w not in (PAD, START)]

  @functools.cache
  def adjusted(self, n):
    """Counts by context, and the discounts of Chen & Goodman."""
    grams = self.counts[n]
    if n < self.order:
      before = collections.Counter(g[1:] for g in self.counts[n + 1])
      grams = {g: c if g[0] == START else before[g] for g, c in grams.items()}
    grams = {g: c for g, c in grams.items() if g[-1] != START}
    of = collections.Counter(grams.values())
    y = of[1] / (of[1] + 2 * of[2])
    discount = [r - (r + 1) * y * of[r + 1] / of[r] for r in (1, 2, 3)]
    return by_context(grams), [0, *discount]

  @functools.cache
  def kneser_ney(self, context, word):
    here, d = self.adjusted(len(context) + 1)
    here = here.get(context)
    if context:
      shorter = self.kneser_ney(context[1:], word)
    else:
      shorter = 1 / len(self.words)
    if here is None:
      return shorter
    total = sum(here.values())
    freed = sum(d[min(c, 3)] for c in here.values())
    count = here.get(word, 0)
    return (count - d[min(count, 3)]) / total + freed / total * shorter

  @functools.cache
  def discounted(self, n):
    """What is kept of the counts, by context, and all counts."""
    grams = self.counts[n]
    factors = ngram_counts.good_turing(np.asarray([*grams.values()]), 'x')
    factors = [*factors, *[1] * max(grams.values())]
    if n >= 3:
      factors[1] = 0
    kept = {g: c * factors[c] for g, c in grams.items() if factors[c]}
    return by_context(kept), by_context(grams)

  @functools.cache
  def katz(self, context, word):
    if not context:
      counts = [self.counts[1][(w,)] for w in self.words]
      least = min(filter(None, counts))
      counts = dict(zip(self.words, (c or least for c in counts), strict=True))
      return counts[word] / sum(counts.values())
    kept, all_of = self.discounted(len(context) + 1)
    if context not in all_of:
      return self.katz(context[1:], word)
    kept, total = kept.get(context, {}), sum(all_of[context].values())
    rest = 1 - sum(self.katz(context[1:], w) for w in kept)
    if total - sum(kept.values()) < 1e-9:
      total += 1
    if word in kept:
      return kept[word] / total
    left = 1 - sum(kept.values()) / total
    return left / rest * self.katz(context[1:], word)


def by_context(grams):
  found = collections.defaultdict(dict)
  for gram, count in grams.items():
    found[gram[:-1]][gram[-1]] = count
  return dict(found)


CONTEXTS = [
  *([], [START], [4], [5, 4], [START, 6]),
  *([4, 4, 4], [9, 8, 7], [29, UNK]),
]


@pytest.mark.filterwarnings('ignore:Good and Turing')
@pytest.mark.parametrize('order', [2, 3])
@pytest.mark.parametrize('smoothing', ['kneser-ney', 'katz'])
def test_the_textbook_and_the_tables_agree(smoothing, order):
  captions = drawn()
  estimate = ngram_counts.SMOOTHINGS[smoothing]
  levels = estimate(*flat(captions), order, WORDS)
  for level in levels:
    assert len(level.weights) == len(level.probs) == len(level.words)
  plain = Plain(captions, order)
  one = plain.kneser_ney if smoothing == 'kneser-ney' else plain.katz
  for context in CONTEXTS[: 5 if order == 2 else None]:
    found = ngram_counts.probabilities(levels, context)
    near = tuple(context[max(0, len(context) - order + 1) :])
    expected = [one(near, w) if w in plain.words else 0 for w in range(WORDS)]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings('ignore:Good and Turing')
@pytest.mark.parametrize('order', [2, 4])
@pytest.mark.parametrize('smoothing', ['kneser-ney', 'katz'])
def test_all_words_sum_to_one_after_every_context(smoothing, order):
  """By the model itself, which walks the contexts of captions it never saw."""
  model = models.create_model(
    'ngram', WORDS, 2, {'ngram_order': order, 'ngram_smoothing': smoothing}
  )
  captions = drawn()
  params = model.fit(examples(captions))
  levels = ngram_counts.SMOOTHINGS[smoothing](*flat(captions), order, WORDS)
  rows = np.full((20, 8), PAD)
  others = drawn(20, seed=1)
  for row, caption in zip(rows, others, strict=True):
    row[: len(caption)] = caption
  logits = jax.jit(model.apply)({'params': params}, rows, np.ones((20, 1, 2)))
  probs = np.exp(np.asarray(logits, np.float64))
  for r, caption in enumerate(others):
    for t in range(len(caption) - 1):
      assert probs[r, t].sum() == pytest.approx(1, abs=1e-5)
      expected = ngram_counts.probabilities(levels, caption[: t + 1])
      np.testing.assert_allclose(probs[r, t], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
  ('name', 'change', 'wrong'),
  [
    ('log_probs_1', lambda x: x[1:], '119 words, not 120'),
    ('log_probs_2', lambda x: x[1:], 'words_2 and log_probs_2 differ'),
    ('log_weights_3', lambda x: x[1:], 'not of order 2'),
    ('starts_2', lambda x: x + 1, 'starts_2 does not divide'),
    ('starts_3', lambda x: x[::-1].copy(), 'starts_3 does not divide'),
    ('words_3', lambda x: x + WORDS, 'words that are none'),
    ('words_2', lambda x: x - 1, 'words that are none'),
    ('width_2', lambda x: x[1:], 'width_2 is too small'),
  ],
)
def test_tables_that_lead_nowhere_are_told(name, change, wrong):
  """JAX would look up the nearest place there is, and say nothing."""
  model = models.create_model('ngram', WORDS, 2, {})
  params = model.fit(examples(drawn()))
  assert model.misfit(params) == ''
  assert wrong in model.misfit({**params, name: change(params[name])})
