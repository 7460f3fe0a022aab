import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrnn_jax import decode as decode_lib
from mrnn_jax.captioning import decode_options
from mrnn_jax.config import Config
from mrnn_jax.decode import decode_in_batches
from mrnn_jax.decode_options import METHODS, DecodeOptions
from mrnn_jax.errors import InputError
from mrnn_jax.hypotheses import nucleus
from mrnn_jax.model import MODELS, init_variables
from mrnn_jax.search import search
from mrnn_jax.vocabulary import END, PAD, START, UNK

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


# These tests spend their time on compiling.
COMPILER_OPTIONS = {'xla_backend_optimization_level': 0}
if jax.__version_info__ < (0, 11):
  # Three times as quick; later ones have no such option.
  COMPILER_OPTIONS['xla_cpu_use_fusion_emitters'] = False
quick_jit = functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)


@functools.partial(quick_jit, static_argnames=('options', 'num_slots'))
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


def enumerate_captions(table, image, options, prefix, max_words):
  """All captions there are, best first, as ``captions`` gives them."""
  found = []
  words = [w for w in range(table.shape[0]) if w not in (*NEVER, END)]

  def visit(generated, log_prob):
    L = len(generated)
    n = options.no_repeat_ngram
    runs = [generated[i : i + n] for i in range(L - n + 1)] if n else []
    if len(set(runs)) < len(runs):
      return
    if len(generated) == max_words:
      found.append((generated, log_prob, L, True))
      return
    log_probs = next_log_probs(table, image, (*prefix, *generated))
    if not options.exact_length and options.min_words <= L:
      found.append((generated, log_prob + log_probs[END], L + 1, False))
    for word in words:
      visit((*generated, word), log_prob + log_probs[word])

  visit((), 0.0)
  alpha = options.length_penalty
  scored = [(w, p, p / L**alpha, cut) for w, p, L, cut in found]
  return sorted(scored, key=lambda caption: -caption[2])


def assert_same_captions(found, expected):
  assert [c[0] for c in found] == [c[0] for c in expected]
  assert [c[3] for c in found] == [c[3] for c in expected]
  for i in (1, 2):
    np.testing.assert_allclose(
      [c[i] for c in found], [c[i] for c in expected], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
  ('alpha', 'exact_length'),
  [(0.0, False), (0.7, False), (1.5, False), (0.7, True)],
)
def test_wide_beam_is_brute_force(alpha, exact_length):
  # Three words and at most four of them: 3^4 that are cut, 40 that end.
  table, images = random_table(7, 0), random_images(5, 7)
  prefixes = [(), (A,), (B, UNK, C), (C, C), ()]
  max_words = [4, 4, 3, 1, 2]
  options = DecodeOptions(
    'beam',
    beam_size=121,
    num_best=121,
    length_penalty=alpha,
    max_words=4,
    exact_length=exact_length,
  )
  result = run(table, images, options, prefixes, max_words)
  for row in range(5):
    expected = enumerate_captions(
      table, images[row], options, prefixes[row], max_words[row]
    )
    assert_same_captions(captions(result, row), expected)


@pytest.mark.parametrize(
  'rules',
  [{'min_words': 2}, {'no_repeat_ngram': 1}, {'no_repeat_ngram': 2}],
)
def test_rules_are_brute_force(rules):
  table, images = random_table(7, 0), random_images(2, 7)
  options = DecodeOptions(
    'beam', beam_size=121, num_best=121, max_words=4, **rules
  )
  result = run(table, images, options)
  for row in range(2):
    expected = enumerate_captions(table, images[row], options, (), 4)
    assert_same_captions(captions(result, row), expected)


def test_stopping_early_does_not_change_the_best():
  table, images = random_table(7, 1, scale=1.0), random_images(20, 7)
  all_best = DecodeOptions('beam', beam_size=6, num_best=6, max_words=8)
  expected = run(table, images, all_best)
  result = run(table, images, dataclasses.replace(all_best, num_best=2))
  for row in range(20):
    assert captions(result, row) == captions(expected, row)[:2]


def test_no_early_stop_while_a_longer_caption_can_still_win():
  # The empty caption leads after one step, .6 against .4; but what follows A
  # is certain, and .4^(1/4) > .6.
  table = bigrams({(START, A): 0.4, (START, END): 0.6, (A, A): 1.0})
  options = DecodeOptions('beam', beam_size=2, max_words=4, length_penalty=1.0)
  ((words, _, score, _),) = captions(run(table, jnp.zeros((1, 7)), options), 0)
  assert words == (A,) * 4
  np.testing.assert_allclose(score, np.log(0.4) / 4, rtol=1e-5)


def test_no_step_after_all_are_settled():
  # ##END## comes after A, and A after ##START##, with certainty.
  table = np.full((7, 7, 7), -50.0, np.float32)
  table[:, START, A] = table[:, A, END] = 0
  steps = []

  def step_fn(carry, tokens, image):
    jax.debug.callback(lambda: steps.append(1), ordered=False)
    return table_step_fn(jnp.asarray(table))(carry, tokens, image)

  # The best of the beam is sure long before the other two are.
  options = DecodeOptions('beam', beam_size=3)
  zeros = jnp.zeros(1, jnp.int32)
  prefix = jnp.zeros((1, 0), jnp.int32)
  result = quick_jit(functools.partial(search, step_fn, options=options))(
    zeros,
    jnp.zeros((1, 7)),
    prefix,
    zeros,
    zeros + 30,
    zeros,
    jax.random.key(0),
  )
  jax.block_until_ready(result)
  jax.effects_barrier()
  assert result.words[0, 0, :2].tolist() == [A, PAD]
  assert len(steps) == 2


def groups_by_hand(table, image, options, max_words):
  """The best of diverse groups as ``captions`` gives them, word by word."""
  size = options.beam_size // options.beam_groups
  alpha = options.length_penalty

  def score(log_prob, L):
    return log_prob / L**alpha if alpha else log_prob

  # (words, log_prob, L, done) of each hypothesis of each group.
  groups = [[((), 0.0, 0, False)] for _ in range(options.beam_groups)]
  for _ in range(max_words):
    taken = np.zeros(table.shape[0])
    for g, group in enumerate(groups):
      found = []  # (what it competes with, hypothesis, word)
      for words, log_prob, L, done in group:
        if done:
          found.append((score(log_prob, L), (words, log_prob, L, True), None))
          continue
        log_probs = next_log_probs(table, image, words)
        for word in set(range(table.shape[0])) - set(NEVER):
          own = log_prob + log_probs[word]
          cost = options.diversity_penalty * taken[word]
          longer = words if word == END else (*words, word)
          over = word == END or len(longer) == max_words
          new = (longer, own, L + 1, over)
          found.append((score(own - cost, L + 1), new, word))
      found = sorted(found, key=lambda f: -f[0])[:size]
      for _, _, word in found:
        if word is not None:
          taken[word] += 1
      groups[g] = [hypothesis for _, hypothesis, _ in found]
  merged = {}
  for words, log_prob, L, _ in itertools.chain(*groups):
    cut = len(words) == L
    merged.setdefault(words, (words, log_prob, score(log_prob, L), cut))
  merged = sorted(merged.values(), key=lambda caption: -caption[2])
  return merged[: options.num_best]


@pytest.mark.parametrize(
  ('groups', 'num_best', 'alpha'), [(3, 6, 0.0), (3, 2, 0.7), (2, 1, 0.0)]
)
def test_groups_are_those_of_plain_python(groups, num_best, alpha):
  # In row 42, stopping early needs each group in the order of its scores.
  table, images = random_table(9, 11, scale=1.0), random_images(200, 9)[150:]
  options = DecodeOptions(
    'beam',
    beam_size=6,
    num_best=num_best,
    beam_groups=groups,
    diversity_penalty=0.6,
    length_penalty=alpha,
    max_words=7,
  )
  # Taken as soon as it is settled, not when others are.
  result = run(table, images, options, num_slots=1)
  for row in range(50):
    expected = groups_by_hand(table, images[row], options, 7)
    assert_same_captions(captions(result, row), expected)


def test_groups_without_penalty_are_a_smaller_beam():
  table, images = random_table(9, 11, scale=1.0), random_images(20, 9)
  options = DecodeOptions(
    'beam', beam_size=6, num_best=6, beam_groups=2, diversity_penalty=0.0
  )
  result = run(table, images, options)
  smaller = dataclasses.replace(options, beam_size=3, num_best=3, beam_groups=1)
  expected = run(table, images, smaller)
  for row in range(20):
    # What the second group finds too is there once.
    assert captions(result, row) == captions(expected, row)
  assert (result.log_probs[:, 3:] == -np.inf).all()


def test_groups_begin_with_other_words():
  table, images = random_table(9, 11, scale=1.0), random_images(20, 9)
  table = table.at[..., END].add(-50.0)
  options = DecodeOptions(
    'beam',
    beam_size=3,
    num_best=3,
    beam_groups=3,
    diversity_penalty=100.0,
    max_words=4,
  )
  result = run(table, images, options)
  for words in result.words:
    for t in range(4):
      assert len(set(words[:, t])) == 3
  assert (result.log_probs > -40).all()  # The model's own, without the cost.


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


def test_greedy_is_argmax_and_beam_1_is_greedy():
  table, images = random_table(12, 2), random_images(30, 12)
  prefixes = [[A, B, C, 7, UNK][: i % 6] for i in range(30)]
  max_words = [1 + i % 10 for i in range(30)]
  greedy = run(table, images, DecodeOptions(max_words=10), prefixes, max_words)
  for alpha in (0.0, 0.9):
    options = DecodeOptions(
      'beam', beam_size=1, max_words=10, length_penalty=alpha
    )
    beam = run(table, images, options, prefixes, max_words)
    np.testing.assert_array_equal(beam.words, greedy.words)
    np.testing.assert_array_equal(beam.log_probs, greedy.log_probs)
  cuts = 0
  for row in range(30):
    words, log_prob, cut = greedy_by_hand(
      table, images[row], prefixes[row], max_words[row]
    )
    ((found, found_log_prob, _, found_cut),) = captions(greedy, row)
    assert (found, found_cut) == (words, cut)
    np.testing.assert_allclose(found_log_prob, log_prob, rtol=1e-5)
    cuts += cut
  assert 0 < cuts < 30


def test_finished_hypotheses_compete_with_live_ones():
  # The empty caption has .4.  "a" is likelier at first but then falls apart:
  # "a b" .6 * .5 = .3, "a c" .6 * .4 = .24, "a" .6 * .1 = .06.
  table = bigrams(
    {
      (START, A): 0.6,
      (START, END): 0.4,
      (A, B): 0.5,
      (A, C): 0.4,
      (A, END): 0.1,
      (B, END): 1.0,
      (C, END): 1.0,
    }
  )
  images = jnp.zeros((1, 7))
  options = DecodeOptions('beam', beam_size=2, num_best=2)
  first, second = captions(run(table, images, options), 0)
  assert (first[0], second[0]) == ((), (A, B))
  np.testing.assert_allclose(np.exp([first[1], second[1]]), [0.4, 0.3], 1e-5)
  # Per word it is the other way round: .3^(1/3) > .24^(1/3) > .4 > .06^(1/2).
  options = dataclasses.replace(options, length_penalty=1.0)
  first, second = captions(run(table, images, options), 0)
  assert (first[0], second[0]) == ((A, B), (A, C))
  np.testing.assert_allclose(first[2], np.log(0.3) / 3, rtol=1e-5)


def test_cut_hypotheses_compete_with_ended_ones():
  table = bigrams(
    {(START, A): 0.6, (START, END): 0.4, (A, A): 0.9, (A, END): 0.1}
  )
  options = DecodeOptions('beam', beam_size=3, num_best=3, max_words=2)
  result = run(table, jnp.zeros((1, 7)), options)
  found = captions(result, 0)
  assert [(c[0], c[3]) for c in found] == [
    ((A, A), True),
    ((), False),
    ((A,), False),
  ]
  assert result.num_targets[0].tolist() == [2, 1, 2]
  assert result.lengths[0].tolist() == [2, 0, 1]


@pytest.mark.parametrize('method', ['beam', 'sample'])
def test_barred_words_are_never_generated(method):
  # The model all but insists on the words that must not be said.
  table = random_table(7, 3, scale=0.5).at[..., jnp.array(NEVER)].add(20.0)
  table = table.at[..., END].add(-1.0)
  options = DecodeOptions(
    method, beam_size=4, num_best=4, num_samples=4, max_words=6
  )
  result = run(table, random_images(20, 7), options)
  said = result.words[np.arange(options.max_words) < result.lengths[..., None]]
  assert set(said) == {A, B, C}
  # Not renormalised: what is barred keeps its probability.
  assert (result.log_probs < -10 * result.num_targets).all()


@pytest.mark.parametrize('method', ['beam', 'sample'])
def test_exact_length(method):
  table = random_table(7, 4).at[..., END].add(20.0)
  max_words = [5, 1, 0, 3, 5, 2]
  options = DecodeOptions(
    method,
    beam_size=2,
    num_best=2,
    num_samples=2,
    max_words=5,
    exact_length=True,
  )
  result = run(table, random_images(6, 7), options, max_words=max_words)
  for row, expected in enumerate(max_words):
    for words, log_prob, _, cut in captions(result, row):
      assert len(words) == expected and cut
      assert END not in words
      assert np.isfinite(log_prob)
  np.testing.assert_array_equal(result.num_targets, result.lengths)


@pytest.mark.parametrize('method', ['beam', 'sample'])
def test_one_word_and_no_word_to_choose_from(method):
  options = DecodeOptions(
    method,
    beam_size=3,
    num_best=3,
    num_samples=3,
    top_p=0.5,
    length_penalty=1.0,
    max_words=3,
    exact_length=True,
  )
  table, images = random_table(5, 5), random_images(2, 5)
  result = run(table, images, options)
  for row in range(2):
    assert {c[0] for c in captions(result, row)} == {(A,) * 3}
  if method == 'beam':
    assert (result.log_probs[:, 1:] == -np.inf).all()
  # A model that holds every word impossible.
  result = run(jnp.full_like(table, -jnp.inf), images, options)
  assert (result.log_probs == -np.inf).all()
  assert (result.scores == -np.inf).all()
  assert not (result.lengths.any() or result.words.any())
  assert not result.cut.any()


def test_nan_is_an_error_that_names_the_row():
  images = random_images(3, 7).at[1].set(jnp.nan)
  with pytest.raises(InputError, match='row 1'):
    run(random_table(7, 0), images, DecodeOptions(max_words=2))


def first_words(table, image, num_samples, **kwargs):
  """Frequencies [V] of the first word, ##END## included."""
  options = DecodeOptions(
    'sample', num_samples=num_samples, max_words=1, **kwargs
  )
  result = run(table, image[None], options)
  drawn = np.where(result.lengths == 1, result.words[..., 0], END)
  return np.bincount(drawn.ravel(), minlength=len(image)) / num_samples


@pytest.mark.parametrize(
  'kwargs',
  [
    {},
    {'temperature': 0.5, 'top_k': 3},
    {'top_p': 0.6},
    {'top_k': 3, 'top_p': 0.7, 'temperature': 1.5},
  ],
  ids=str,
)
def test_samples_follow_the_truncated_distribution(kwargs):
  table, image = random_table(9, 6, scale=1.0), random_images(1, 9)[0]
  probs = np.exp(
    next_log_probs(table, image, ()) / kwargs.get('temperature', 1.0)
  )
  probs[list(NEVER)] = 0
  order = np.argsort(-probs)
  probs[order[kwargs.get('top_k') or len(probs) :]] = 0
  probs /= probs.sum()
  mass_before = np.cumsum(probs[order]) - probs[order]
  probs[order[mass_before >= kwargs.get('top_p', 1.0)]] = 0
  probs /= probs.sum()

  num_samples = 20000
  found = first_words(table, image, num_samples, **kwargs)
  assert ((found > 0) <= (probs > 0)).all()
  tolerance = 4.5 * np.sqrt(probs * (1 - probs) / num_samples)
  assert (np.abs(found - probs) <= tolerance + 1e-9).all()


@pytest.mark.parametrize(
  'kwargs',
  [
    {'temperature': 1e-38},
    {'top_k': 1},
    {'top_p': 1e-6},
  ],
  ids=str,
)
def test_sharp_sampling_is_greedy(kwargs):
  table, images = random_table(12, 8), random_images(30, 12)
  options = DecodeOptions('sample', num_samples=2, max_words=8, **kwargs)
  result = run(table, images, options)
  for row in range(30):
    words, log_prob, cut = greedy_by_hand(table, images[row], (), 8)
    for found in captions(result, row):
      assert (found[0], found[3]) == (words, cut)
      np.testing.assert_allclose(found[1], log_prob, rtol=1e-5)


def test_nucleus():
  probs = np.array([[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.4, 0.1]])
  logits = jnp.asarray(np.log(probs) + 3, jnp.float32)
  for top_p, expected in (
    (0.39, [[1], [2]]),
    (0.69, [[1, 3], [0, 1, 2]]),
    (0.71, [[1, 2, 3], [0, 1, 2]]),
    (0.95, [[0, 1, 2, 3], [0, 1, 2, 3]]),
  ):
    kept = nucleus(logits, top_p)
    for row in range(2):
      assert np.flatnonzero(kept[row] > -np.inf).tolist() == expected[row]
      np.testing.assert_array_equal(
        kept[row][kept[row] > -jnp.inf], logits[row][kept[row] > -jnp.inf]
      )


@pytest.mark.parametrize('method', ['beam', 'sample'])
def test_rows_do_not_depend_on_their_batch_and_slots(method):
  table, images = random_table(9, 9, scale=1.0), random_images(11, 9)
  prefixes = [[A, B, C][: i % 4] for i in range(11)]
  max_words = [5 * i % 8 for i in range(11)]
  assert max_words[8] == 0
  options = DecodeOptions(
    method, beam_size=3, num_best=2, num_samples=3, max_words=7
  )
  expected = run(table, images, options, prefixes, max_words)
  done = []
  result = run(
    table,
    images,
    options,
    prefixes,
    max_words,
    num_slots=2,
    batch_size=6,
    progress_fn=lambda *args: done.append(args),
  )
  jax.tree.map(np.testing.assert_array_equal, result, expected)
  assert done == [(6, 11), (11, 11)]


def test_samples_are_the_same_however_many_are_drawn():
  table, images = random_table(9, 10, scale=1.0), random_images(11, 9)
  few, many = (
    run(table, images, DecodeOptions('sample', num_samples=n)).words
    for n in (2, 7)
  )
  np.testing.assert_array_equal(few, many[:, :2])
  rows = {row.tobytes() for row in many.reshape(-1, many.shape[-1])}
  assert len(rows) > 20  # Neither rows nor samples share their draws.


@functools.cache
def small_model(name):
  """A random model, its variables, 7 features and their image vectors."""
  model = MODELS[name](
    vocab_size=23,
    feature_size=6,
    embedding_size=5,
    recurrent_size=8,
    multimodal_size=9,
    feature_scaling='none',
  )
  variables = quick_jit(init_variables, static_argnums=0)(
    model, jax.random.key(3)
  )
  # Some captions shall end, some shall not.
  variables['params']['softmax']['bias'] = jnp.zeros(23).at[END].set(1.0)
  features = jax.random.normal(jax.random.key(4), (7, 6))
  images = model.apply(variables, features, method='image')
  return model, variables, features, np.asarray(images)


@pytest.mark.parametrize(
  ('name', 'method'),
  [(name, 'beam') for name in MODELS]
  + [('m-rnn', 'greedy'), ('m-rnn', 'sample')],
)
def test_log_prob_is_that_of_the_teacher_forced_model(name, method):
  model, variables, features, images = small_model(name)
  N = len(images)
  prefixes = [[5, UNK, 9, 4][: i % 5] for i in range(N)]
  # Temperature and top-k choose the samples; they are not in log_probs.
  options = DecodeOptions(
    method,
    beam_size=4,
    num_best=4,
    num_samples=3,
    temperature=1.5,
    top_k=12,
    max_words=9,
  )
  decode_fn = functools.partial(
    quick_jit(functools.partial(decode_lib.decode, model, options, 3)),
    variables,
    jax.random.key(5),
  )
  result = decode_in_batches(decode_fn, images, options, prefixes, batch_size=4)
  found = [
    (row, *caption) for row in range(N) for caption in captions(result, row)
  ]
  tokens = np.full((4 * N, 16), PAD, np.int32)
  for line, (row, words, *_) in zip(tokens, found, strict=False):
    given = [START, *prefixes[row], *words, END]
    line[: len(given)] = given
  rows = np.zeros(len(tokens), np.int32)
  rows[: len(found)] = [row for row, *_ in found]
  log_probs = jax.nn.log_softmax(
    quick_jit(model.apply)(variables, tokens, features[rows, None])
  )
  log_probs = np.asarray(log_probs, np.float64)
  for i, (row, words, log_prob, _, cut) in enumerate(found):
    expected = sum(
      log_probs[i, len(prefixes[row]) + t, target]
      for t, target in enumerate(words if cut else (*words, END))
    )
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5)
  assert result.cut.any() and not result.cut.all()
  scores = result.scores
  if method == 'beam':
    assert (scores[:, :-1] >= scores[:, 1:]).all()


def test_no_rows():
  result = run(
    random_table(7, 0),
    np.zeros((0, 7), np.float32),
    DecodeOptions('beam', num_best=2, max_words=4),
    batch_size=8,
  )
  assert result.words.shape == (0, 2, 4)


def test_too_many_words_asked_for():
  with pytest.raises(InputError, match='5 words'):
    run(
      random_table(7, 0),
      random_images(2, 7),
      DecodeOptions(max_words=4),
      max_words=[5, 2],
    )


@pytest.mark.parametrize(
  'kwargs',
  [
    {'method': 'argmax'},
    {'beam_size': 0},
    {'num_best': 0},
    {'method': 'beam', 'beam_size': 2, 'num_best': 3},
    {'beam_groups': 0},
    {'method': 'beam', 'beam_size': 10, 'beam_groups': 4},
    {'diversity_penalty': -0.1},
    {'diversity_penalty': float('inf')},
    {'num_samples': 0},
    {'max_words': 0},
    {'temperature': 0.0},
    {'temperature': float('inf')},
    {'top_k': -1},
    {'min_words': -1},
    {'no_repeat_ngram': -1},
    {'top_p': 0.0},
    {'top_p': 1.1},
    {'length_penalty': -1.0},
    {'length_penalty': float('nan')},
  ],
  ids=str,
)
def test_options_are_checked(kwargs):
  with pytest.raises(InputError) as error:
    DecodeOptions(**kwargs)
  assert str(error.value).endswith('.') or str(error.value).endswith(').')


def test_groups_of_the_command_line():
  options = decode_options(
    Config(beam_size=6, beam_groups=3, diversity_penalty=0.7)
  )
  assert (options.num_groups, options.diversity_penalty) == (3, 0.7)
  with pytest.raises(InputError, match='--beam_size=10 .* --beam_groups=4 '):
    Config(beam_size=10, beam_groups=4)
  with pytest.raises(InputError, match='--sample'):
    Config(beam_size=4, beam_groups=2, sample=True)


def test_options_are_static_arguments():
  for method, top_k in itertools.product(METHODS, (0, 5)):
    options = DecodeOptions(method, top_k=top_k)
    assert hash(options) == hash(DecodeOptions(method, top_k=top_k))
