import jax
import numpy as np
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax import (
  datasets,
  input_pipeline,
  optimizers,
  parallel,
  run_record,
  score,
  train,
  train_step,
)
from mrnn_jax import model as model_lib
from mrnn_jax.vocabulary import END, PAD, START

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
  model = model_lib.create_model(
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
  step_fn = train.compile_train_step(
    devices,
    model=model,
    optimizer=optimizer,
    words_per_batch=batches.words_per_batch,
    l2=config.l2,
    accumulate_steps=config.accumulate_steps,
  )
  init_key, key = jax.random.split(jax.random.key(config.seed))
  variables = model_lib.init_variables(model, init_key)
  state = parallel.replicate(
    train.create_state(variables, optimizer, key), devices
  )
  statistics = parallel.replicate(
    datasets.feature_statistics(split.features), devices
  )
  costs = []
  for batch in batches.iterate(0, num_steps):
    del batch['captions']
    state, metrics = step_fn(
      state, statistics, parallel.split_rows(batch, num_devices)
    )
    costs.append(float(metrics['cost'][0]))
  return costs, jax.device_get(parallel.unreplicate(state.params))


@pytest.fixture(scope='module')
def single(split, vocab):
  return run_steps(split, vocab, 1, 20)


@pytest.mark.parametrize(
  ('num_devices', 'accumulate_steps'),
  [
    (2, 1),
    (4, 2),
    *(
      pytest.param(*x, marks=pytest.mark.slow)
      for x in ((4, 1), (1, 2), (1, 4), (2, 3))
    ),
  ],
)
def test_any_number_of_devices_and_parts_gives_the_same(
  split, vocab, single, num_devices, accumulate_steps
):
  """The 10 rows of a batch are filled up to a multiple of both."""
  costs, params = run_steps(
    split, vocab, num_devices, 20, accumulate_steps=accumulate_steps
  )
  np.testing.assert_allclose(costs, single[0], rtol=1e-5)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4),
    params,
    single[1],
  )


def test_parts_are_worked_through_one_by_one():
  """What is added up is in memory once, whatever the number of parts."""
  rows = np.arange(12.0).reshape(6, 2)

  def fn(x):
    assert x.shape == (2, 2)
    return {'sum': x.sum(0), 'count': np.int32(2)}

  total = train_step.sum_over_parts(fn, rows, 3)
  np.testing.assert_array_equal(total['sum'], rows.sum(0))
  assert total['count'] == 6


def test_two_runs_are_equal_bit_for_bit(split, vocab, single):
  costs, params = run_steps(split, vocab, 1, 20)
  assert costs == single[0]
  jax.tree.map(np.testing.assert_array_equal, params, single[1])


def test_it_learns(split, vocab):
  costs, _ = run_steps(
    split,
    vocab,
    1,
    150,
    warmup_steps=5,
    num_epochs=30,
    learning_rate=0.01,
    word_dropout=0.0,
    recurrent_dropout=0.0,
    multimodal_dropout=0.0,
  )
  assert np.mean(costs[-5:]) < 0.7 * np.mean(costs[:5])


def test_cost_golden():
  """Eq. 5 and 6 by hand: two captions, four words, padding without weight."""
  logits = np.log(
    np.asarray(
      [
        [[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [1, 1, 1]],
        [[0.2, 0.6, 0.2], [0.25, 0.25, 0.5], [1, 1, 1]],
      ]
    )
  )
  targets = np.asarray([[1, 2, PAD], [1, 1, PAD]])
  bits = -np.asarray(score.log2_probabilities(logits, targets))
  expected = [[2, 0.321928, 0], [0.736966, 2, 0]]
  np.testing.assert_allclose(bits, expected, rtol=1e-5)
  np.testing.assert_allclose(
    train_step.squared_norm({'a': np.asarray([3.0]), 'b': np.asarray([[4.0]])}),
    25,
  )


def test_l2_is_in_the_cost_and_in_the_gradient(split, vocab):
  plain, plain_params = run_steps(split, vocab, 1, 3, optimizer='sgd')
  costs, params = run_steps(split, vocab, 1, 3, optimizer='sgd', l2=0.1)
  assert costs[0] > plain[0] + 1
  norm, plain_norm = (
    float(train_step.squared_norm(p)) for p in (params, plain_params)
  )
  assert norm < plain_norm


def test_scores_equal_a_loop_over_single_captions(split, vocab):
  model = model_lib.create_model('m-rnn', len(vocab), 8, SIZES)
  variables = model_lib.init_variables(model, jax.random.key(0))
  devices = parallel.local_devices(2)
  scores = score.Scorer(model, devices).score(
    parallel.replicate(variables, devices), split, batch_size=7
  )
  for c in range(0, len(split.owner), 9):
    ids = split.caption_tokens(c)
    feature = split.features[split.owner[c]]
    logits = model.apply(variables, ids[None, :-1], feature[None, None])
    log2 = np.asarray(jax.nn.log_softmax(logits[0])) / np.log(2)
    chosen = log2[np.arange(len(ids) - 1), ids[1:]]
    np.testing.assert_allclose(scores['log2_prob'][c], chosen.sum(), rtol=1e-4)
    np.testing.assert_allclose(
      scores['end_log2_prob'][c], chosen[-1], rtol=1e-4
    )
    assert ids[0] == START and ids[-1] == END


def test_context_words_are_not_scored(split, vocab):
  model = model_lib.create_model('rnn-base', len(vocab), 8, SIZES)
  variables = model_lib.init_variables(model, jax.random.key(0))
  devices = parallel.local_devices(1)
  scorer = score.Scorer(model, devices)
  variables = parallel.replicate(variables, devices)
  whole = scorer.score(variables, split, 50)
  rest = scorer.score(variables, split, 50, context_words=4)
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
