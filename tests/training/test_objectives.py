"""The seam between the step and what is minimised."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_models
import tiny_run

from mrnn_jax import config as config_lib
from mrnn_jax import models
from mrnn_jax.data.vocabulary import END, PAD, START
from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import loop
from mrnn_jax.training import step as step_lib
from mrnn_jax.training.objectives import OBJECTIVES, Objective

TOKENS = np.asarray([[START, 4, 5], [START, 6, PAD]], np.int32)
TARGETS = np.asarray([[4, 5, END], [6, END, PAD]], np.int32)


def make():
  model = models.create_model(
    'm-rnn',
    8,
    2,
    {
      'embedding_size': 2,
      'recurrent_size': 3,
      'multimodal_size': 4,
      'feature_scaling': 'none',
    },
  )
  return model, small_models.init(model, jax.random.key(0))


def batch():
  features = np.asarray([[[1.0, -1.0]], [[0.5, 2.0]]], np.float32)
  return {'tokens': TOKENS, 'targets': TARGETS, 'features': features}


def one_step(objective, data, accumulate_steps=1, num_devices=1):
  model, variables = make()
  optimizer = optax.sgd(0.1)
  devices = parallel.local_devices(num_devices)
  step = step_lib.compile_train_step(
    devices,
    model=model,
    objective=objective,
    optimizer=optimizer,
    words_per_batch=5.0,
    l2=0.0,
    accumulate_steps=accumulate_steps,
  )
  state = step_lib.create_state(variables, optimizer, jax.random.key(0))
  state, metrics = step(
    *parallel.replicate((state, dict(variables['statistics'])), devices),
    parallel.split_rows(data, num_devices),
  )
  return parallel.unreplicate(state), {
    name: float(value.addressable_data(0)[0]) for name, value in metrics.items()
  }


def test_likelihood_is_the_bits_of_the_targets():
  model, variables = make()
  data = batch()
  bits, sums = OBJECTIVES['likelihood'].cost(model, variables, data, None)
  logits = np.asarray(
    small_models.apply(model, variables, data['tokens'], data['features']),
    np.float64,
  )
  probs = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
  expected = 0.0
  for row, targets in enumerate(TARGETS):
    for t, word in enumerate(targets):
      if word != PAD:
        expected -= np.log2(probs[row, t, word])
  np.testing.assert_allclose(bits, expected, rtol=1e-5)
  assert int(sums['words']) == 5
  np.testing.assert_allclose(sums['bits'], expected, rtol=1e-5)


@pytest.mark.parametrize(
  ('accumulate_steps', 'num_devices'), [(1, 1), (2, 1), (1, 2)]
)
def test_a_new_objective_needs_no_change_of_the_step(
  accumulate_steps, num_devices
):
  """The cost is minimised, not the bits; what it reports adds up."""

  def squares(model, variables, rows, row_keys):
    bias = variables['params']['softmax']['bias']
    # As ``prepare`` would have added it to the batch.
    cost = (rows['weight'][:, None] * (bias - 1.0) ** 2).sum()
    return cost, {
      'bits': jnp.float32(7),
      'words': (rows['targets'] != PAD).sum(),
      'weights': rows['weight'].sum(),
    }

  data = batch() | {'weight': np.asarray([0.5, 2.0], np.float32)}
  state, metrics = one_step(
    Objective(squares), data, accumulate_steps, num_devices
  )
  # d/db 2.5 (b - 1)^2 / 5 at b = 0 is -1; by sgd at 0.1 b becomes 0.1.
  np.testing.assert_allclose(state.params['softmax']['bias'], 0.1, rtol=1e-6)
  assert metrics['weights'] == 2.5
  assert metrics['words'] == 5
  assert metrics['bits'] == 7 * accumulate_steps * num_devices
  np.testing.assert_allclose(metrics['cost'], 2.5 * 8 / 5, rtol=1e-6)


def test_what_is_prepared_before_a_step_reaches_the_cost(
  tiny_data_dir, tiny_workdir, tmp_path, monkeypatch
):
  """Captions of the batch by number, as an objective with rewards needs."""
  seen = []

  def prepare(setting, state, batch):
    captions = [text for texts in setting.split.captions for text in texts]
    for row, numbers in zip(batch['tokens'], batch['captions'], strict=True):
      texts = [captions[c] for c in numbers if c >= 0]
      words = [
        w
        for text in texts
        for w in setting.vocabulary.encode_caption(text)[:-1]
      ]
      np.testing.assert_array_equal(row[: len(words)], words)
    seen.append(len(state.params))
    return batch | {'weight': np.full(len(batch['tokens']), 3, np.float32)}

  likelihood = OBJECTIVES['likelihood'].cost

  def cost(model, variables, rows, row_keys):
    bits, sums = likelihood(model, variables, rows, row_keys)
    return bits * rows['weight'].mean(), sums

  weighted = Objective(cost, prepare=prepare)
  monkeypatch.setitem(OBJECTIVES, 'likelihood', weighted)
  config = tiny_run.config(
    tmp_path, tiny_data_dir, num_epochs=0.5, log_every_steps=1
  )
  loop.train(config)
  assert seen
  # Of the first step, before anything is learned.
  found, plain = (
    json.loads((workdir / 'log.jsonl').read_text().splitlines()[0])['cost']
    for workdir in (tmp_path, tiny_workdir)
  )
  np.testing.assert_allclose(found, 3 * plain, rtol=1e-5)


def test_what_compares_a_batch_is_not_cut_into_parts(monkeypatch):
  whole = Objective(OBJECTIVES['likelihood'].cost, whole_batch=True)
  monkeypatch.setitem(OBJECTIVES, 'likelihood', whole)
  with pytest.raises(InputError, match='--accumulate_steps=2'):
    config_lib.Config(accumulate_steps=2)
