import itertools

import jax
import numpy as np
import pytest
import small_models

from mrnn_jax import config as config_lib
from mrnn_jax import models
from mrnn_jax.data import image_features, input_pipeline
from mrnn_jax.data.vocabulary import END, PAD, START
from mrnn_jax.evaluation import perplexity
from mrnn_jax.models import losses
from mrnn_jax.runtime import parallel
from mrnn_jax.training import loop, optimizers, run_record
from mrnn_jax.training import step as step_lib
from mrnn_jax.training.objectives import OBJECTIVES

SIZES = {
  'embedding_size': 8,
  'recurrent_size': 12,
  'multimodal_size': 16,
}


def run_steps(split, vocab, num_devices, num_steps, **options):
  """Train for some steps; return the costs and the final parameters."""
  config = config_lib.Config(
    batch_size=20, image_dropout=0.3, **SIZES, **options
  )
  devices = parallel.local_devices(num_devices)
  model = models.create_model(
    config.model, len(vocab), split.features.size, config.fixed()
  )
  batches = input_pipeline.TrainingBatches(
    split,
    config.batch_size,
    2,
    config.num_buckets,
    config.seed,
    row_multiple=num_devices * config.accumulate_steps,
  )
  schedule = optimizers.create_schedule(config, batches.steps_per_epoch)
  optimizer = optimizers.create_optimizer(config, schedule)
  step_fn = loop.compile_train_step(
    devices,
    model=model,
    objective=OBJECTIVES['likelihood'],
    optimizer=optimizer,
    words_per_batch=batches.words_per_batch,
    l2=config.l2,
    accumulate_steps=config.accumulate_steps,
  )
  init_key, key = jax.random.split(jax.random.key(config.seed))
  variables = small_models.init(model, init_key)
  state = parallel.replicate(
    loop.create_state(variables, optimizer, key), devices
  )
  statistics = parallel.replicate(
    image_features.feature_statistics(split.features), devices
  )
  costs = []
  for batch in batches.iterate(0, num_steps):
    del batch['captions']
    state, metrics = step_fn(
      state, statistics, parallel.split_rows(batch, num_devices)
    )
    costs.append(float(metrics['cost'][0]))
  return costs, jax.device_get(parallel.unreplicate(state.params))


# The cost falls from 5.4 to 3.1 in 20 steps: the parameters do move.
LARGE_STEPS = {
  'optimizer': 'sgd',
  'learning_rate': 0.1,
  'warmup_steps': 2,
  'num_buckets': 1,
}


@pytest.fixture(scope='module')
def single(split, vocab):
  return run_steps(split, vocab, 1, 20, **LARGE_STEPS)


@pytest.mark.parametrize(
  ('num_devices', 'accumulate_steps'),
  [
    (4, 2),
    *(
      pytest.param(*x, marks=pytest.mark.slow)
      for x in ((2, 1), (4, 1), (1, 2), (1, 4), (2, 3))
    ),
  ],
)
def test_any_number_of_devices_and_parts_gives_the_same(
  split, vocab, single, num_devices, accumulate_steps
):
  """The 10 rows of a batch are filled up to a multiple of both."""
  costs, params = run_steps(
    split,
    vocab,
    num_devices,
    20,
    accumulate_steps=accumulate_steps,
    **LARGE_STEPS,
  )
  assert single[0][-1] < 0.7 * single[0][0]
  np.testing.assert_allclose(costs, single[0], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
    params,
    single[1],
  )


def test_parts_are_worked_through_one_by_one():
  """What is added up is in memory once, whatever the number of parts."""
  rows = np.arange(12.0).reshape(6, 2)

  def fn(x):
    assert x.shape == (2, 2)
    return {'sum': x.sum(0), 'count': np.int32(2)}

  total = step_lib.sum_over_parts(fn, rows, 3)
  np.testing.assert_array_equal(total['sum'], rows.sum(0))
  assert total['count'] == 6


def test_two_runs_are_equal_bit_for_bit(split, vocab, single):
  costs, params = run_steps(split, vocab, 1, 20, **LARGE_STEPS)
  assert costs == single[0]
  jax.tree.map(np.testing.assert_array_equal, params, single[1])


@pytest.mark.slow
def test_it_learns(split, vocab):
  costs, _ = run_steps(
    split,
    vocab,
    1,
    150,
    warmup_steps=5,
    num_buckets=1,
    num_epochs=30,
    learning_rate=0.01,
    word_dropout=0.0,
    recurrent_dropout=0.0,
    multimodal_dropout=0.0,
  )
  assert np.mean(costs[-5:]) < 0.7 * np.mean(costs[:5])


def test_bits_golden():
  """Eq. 5 by hand: two captions, four words, padding without weight."""
  logits = np.log(
    np.asarray(
      [
        [[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [1, 1, 1]],
        [[0.2, 0.6, 0.2], [0.25, 0.25, 0.5], [1, 1, 1]],
      ]
    )
  )
  targets = np.asarray([[1, 2, PAD], [1, 1, PAD]])
  bits = -np.asarray(losses.log2_probabilities(logits, targets))
  expected = [[2, 0.321928, 0], [0.736966, 2, 0]]
  np.testing.assert_allclose(bits, expected, rtol=1e-5)


def plain_cost(params, rows, features, words, l2):
  """Eq. 6, word by word: bits over ``words``, and lambda ||theta||^2."""
  word_layer, softmax = params['embedding_2'], params['softmax']
  V_w, V_r, V_I = (
    params[f'multimodal_{of}']['kernel']
    for of in ('word', 'recurrent', 'image')
  )
  bits = 0.0
  for b, row in enumerate(rows):
    for g, caption in enumerate(row):
      r = np.zeros(len(V_r))
      for word, target in itertools.pairwise(caption):
        w = params['embedding_1']['embedding'][word] @ word_layer['kernel']
        w = w + word_layer['bias']
        r = np.maximum(r @ params['recurrent'] + w, 0)
        m = w @ V_w + r @ V_r + features[b, g] @ V_I
        m = 1.7159 * np.tanh(2 / 3 * m)
        p = np.exp(m @ softmax['kernel'] + softmax['bias'])
        bits -= np.log2(p[target] / p.sum())
  norm = sum((x**2).sum() for x in jax.tree.leaves(params))
  return bits / words + l2 * norm


def plain_gradient(cost, params):
  """Central differences, a number at a time."""

  def of(x):
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
      there, sides = x[i], []
      for shift in (1e-5, -1e-5):
        x[i] = there + shift
        sides.append(cost(params))
      x[i] = there
      gradient[i] = (sides[0] - sides[1]) / 2e-5
    return gradient

  return jax.tree.map(of, params)


def test_a_step_golden():
  """Eq. 6 and its gradient: a step of plain SGD beside plain numpy."""
  l2, rate, words = 0.05, 0.5, 9.5  # Expected words; the batch has 13.
  rows = [
    [[START, 4, 5, 6, END], [START, 5, END]],
    [[START, 7, END]],
    [[START, 6, 4, 4, 7, END]],
    [],
  ]
  tokens, targets = np.full((2, 4, 7), PAD, np.int32)
  for b, row in enumerate(rows):
    inputs = [word for caption in row for word in caption[:-1]]
    tokens[b, : len(inputs)] = inputs
    wanted = [word for caption in row for word in caption[1:]]
    targets[b, : len(wanted)] = wanted
  rng = np.random.default_rng(0)
  features = rng.normal(size=(4, 2, 2))

  config = config_lib.Config(
    optimizer='sgd',
    momentum=0.0,
    clip_norm=0.0,
    schedule='constant',
    warmup_steps=0,
    learning_rate=rate,
  )
  optimizer = optimizers.create_optimizer(
    config, optimizers.create_schedule(config, steps_per_epoch=1)
  )
  model = models.MRNN(
    vocab_size=8,
    feature_size=2,
    embedding_size=2,
    recurrent_size=3,
    multimodal_size=4,
    feature_scaling='none',
    word_dropout=0.0,
    recurrent_dropout=0.0,
    multimodal_dropout=0.0,
  )
  variables = small_models.init(model, jax.random.key(0))
  before = jax.tree.map(
    lambda x: rng.normal(size=x.shape), dict(variables['params'])
  )
  single = jax.tree.map(np.float32, before)
  devices = parallel.local_devices(2)
  step = step_lib.compile_train_step(
    devices,
    model=model,
    objective=OBJECTIVES['likelihood'],
    optimizer=optimizer,
    words_per_batch=words,
    l2=l2,
    accumulate_steps=2,
  )
  state = step_lib.create_state(
    {'params': single}, optimizer, jax.random.key(0)
  )
  batch = {
    'tokens': tokens,
    'targets': targets,
    'features': np.float32(features),
  }
  state, metrics = step(
    *parallel.replicate((state, dict(variables['statistics'])), devices),
    parallel.split_rows(batch, 2),
  )

  def cost(params):
    return plain_cost(params, rows, features, words, l2)

  gradient = plain_gradient(cost, before)
  after = jax.tree.map(lambda p, g: p - rate * g, before, gradient)
  np.testing.assert_allclose(metrics['cost'], cost(before), rtol=1e-5)
  np.testing.assert_allclose(
    metrics['gradient_norm'],
    np.sqrt(sum((x**2).sum() for x in jax.tree.leaves(gradient))),
    rtol=1e-5,
  )
  assert metrics['words'][0] == 13
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5),
    parallel.unreplicate(state.params),
    after,
  )


def test_scores_equal_a_loop_over_single_captions(split, vocab):
  model = models.create_model('m-rnn', len(vocab), 8, SIZES)
  variables = small_models.init(model, jax.random.key(0))
  devices = parallel.local_devices(2)
  scores = perplexity.TeacherForcing(model, devices).log2_probs(
    parallel.replicate(variables, devices), split, batch_size=7
  )
  for c in range(0, len(split.owner), 9):
    ids = split.caption_tokens(c)
    feature = split.features[split.owner[c]]
    # Padded behind: what comes later changes nothing before.
    given = np.full((1, 12), PAD)
    given[0, : len(ids) - 1] = ids[:-1]
    logits = small_models.apply(model, variables, given, feature[None, None])
    log2 = np.asarray(jax.nn.log_softmax(logits[0])) / np.log(2)
    chosen = log2[np.arange(len(ids) - 1), ids[1:]]
    np.testing.assert_allclose(scores['log2_prob'][c], chosen.sum(), rtol=1e-4)
    np.testing.assert_allclose(
      scores['end_log2_prob'][c], chosen[-1], rtol=1e-4
    )
    assert ids[0] == START and ids[-1] == END


def test_context_words_are_not_scored(split, vocab):
  model = models.create_model('rnn-base', len(vocab), 8, SIZES)
  variables = small_models.init(model, jax.random.key(0))
  devices = parallel.local_devices(1)
  teacher = perplexity.TeacherForcing(model, devices)
  variables = parallel.replicate(variables, devices)
  whole = teacher.log2_probs(variables, split, 50)
  rest = teacher.log2_probs(variables, split, 50, context_words=4)
  kept = split.lengths > 5
  assert len(rest['log2_prob']) == kept.sum() < len(split.owner)
  np.testing.assert_array_equal(rest['num_targets'], split.lengths[kept] - 4)
  assert (rest['log2_prob'] > whole['log2_prob'][kept]).all()


@pytest.mark.parametrize('schedule', ['constant', 'cosine', 'step', 'plateau'])
def test_schedules(schedule):
  config = config_lib.Config(
    schedule=schedule,
    warmup_steps=10,
    num_epochs=10,
    learning_rate=1.0,
    decay_epochs=2,
  )
  rate = optimizers.create_schedule(config, steps_per_epoch=10)
  assert 0 < float(rate(0)) < float(rate(5)) < 1
  assert float(rate(10)) == 1
  last = {'constant': 1, 'plateau': 1, 'cosine': 0.01, 'step': 0.0625}
  np.testing.assert_allclose(float(rate(100)), last[schedule], rtol=0.01)


def test_plateau_and_patience():
  config = config_lib.Config(schedule='plateau', patience=3, decay_factor=0.5)
  plateau = run_record.Plateau(config, {})
  assert plateau.update(1, 20.0) == 1
  assert plateau.update(2, 21.0) == 0.5
  again = run_record.Plateau(config, plateau.as_json())
  again.update(3, 22.0)
  assert not again.finished
  again.update(4, 20.5)
  assert 'no better validation perplexity' in again.finished
  assert (again.best_step, again.best_perplexity) == (1, 20.0)
