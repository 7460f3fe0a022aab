"""What is mixed into the likelihood: a teacher, smoothing, dropped words."""

import jax
import numpy as np
import pytest
import small_models

from mrnn_jax.data.vocabulary import PAD, START, UNK
from mrnn_jax.training import step
from mrnn_jax.training.objectives import Likelihood, drop_tokens

V = 9
TOKENS = np.asarray([[START, 4, 5, START, 8], [START, 6, PAD, PAD, PAD]])
TARGETS = np.asarray([[4, 5, 2, 8, 2], [6, 2, PAD, PAD, PAD]])


@pytest.fixture(scope='module')
def model():
  return small_models.make(('m-rnn', {}), V, 2)


@pytest.fixture(scope='module')
def batch():
  rng = np.random.default_rng(3)
  words = np.argsort(rng.random((2, 5, V)), axis=-1)[..., :3]
  probs = rng.dirichlet([1, 1, 1, 1], (2, 5))[..., :3].astype(np.float32)
  rest = np.arange(1, V + 1, dtype=np.float32)
  return {
    'tokens': TOKENS,
    'targets': TARGETS,
    'features': rng.normal(size=(2, 2, 2)).astype(np.float32),
    'teacher_words': words,
    'teacher_probs': probs,
    'teacher_rest': np.stack([rest, rest]),
  }


def log2_softmax(logits):
  logits = np.float64(logits)
  logits -= logits.max(-1, keepdims=True)
  return (logits - np.log(np.exp(logits).sum(-1, keepdims=True))) / np.log(2)


def measured(likelihood, model, batch):
  """What a likelihood gives: the cost, and its sums."""
  network, variables = model
  cost = jax.jit(lambda *given: likelihood(network, *given, None))
  return cost(variables, batch)


def logits_of(model, batch):
  return small_models.apply(*model, batch['tokens'], batch['features'])


def there():
  return [(b, t) for b in range(2) for t in range(5) if TARGETS[b, t] != PAD]


def test_the_teacher_by_hand(model, batch):
  T = 1.5
  likelihood = Likelihood(teacher_weight=0.3, teacher_temperature=T)
  cost, sums = measured(likelihood, model, batch)
  logits = logits_of(model, batch)
  hard = soft = 0.0
  for b, t in there():
    hard -= log2_softmax(logits[b, t])[TARGETS[b, t]]
    # The k words as they are, the others by how much of the rest they have.
    words, probs = batch['teacher_words'][b, t], batch['teacher_probs'][b, t]
    wanted = np.arange(1.0, V + 1)
    wanted[words] = 0
    wanted *= (1 - np.float64(probs).sum()) / wanted.sum()
    wanted[words] = probs
    assert np.isclose(wanted.sum(), 1)
    soft -= wanted @ log2_softmax(logits[b, t] / T)
  np.testing.assert_allclose(cost, 0.7 * hard + 0.3 * T * T * soft, rtol=1e-5)
  np.testing.assert_allclose(sums['bits'], hard, rtol=1e-5)
  assert sums['words'] == 7


def test_a_teacher_without_weight_is_no_teacher(model, batch):
  plain = {n: x for n, x in batch.items() if not n.startswith('teacher')}
  with_it, _ = measured(Likelihood(teacher_weight=0.0), model, batch)
  without, _ = measured(Likelihood(), model, plain)
  assert with_it == without


def test_smoothing_by_hand(model, batch):
  cost, sums = measured(Likelihood(label_smoothing=0.2), model, batch)
  logits, expected, hard = logits_of(model, batch), 0.0, 0.0
  for b, t in there():
    log2_probs = log2_softmax(logits[b, t])
    hard -= log2_probs[TARGETS[b, t]]
    wanted = np.full(V, 0.2 / V)
    wanted[TARGETS[b, t]] += 0.8
    expected -= wanted @ log2_probs
  np.testing.assert_allclose(cost, expected, rtol=1e-5)
  np.testing.assert_allclose(sums['bits'], hard, rtol=1e-5)


def test_gradient_of_the_soft_cost_by_finite_differences(model, batch):
  network, variables = model
  likelihood = Likelihood(
    label_smoothing=0.1, teacher_weight=0.6, teacher_temperature=2.0
  )

  def cost(params):
    return likelihood(network, {**variables, 'params': params}, batch, None)[0]

  with jax.enable_x64(True):
    params = jax.tree.map(np.float64, variables['params'])
    gradient = jax.jit(jax.grad(cost))(params)
    rng = np.random.default_rng(0)
    direction = jax.tree.map(lambda x: rng.normal(size=x.shape), params)
    value = jax.jit(cost)
    ends = [
      float(value(jax.tree.map(lambda p, d, h=h: p + h * d, params, direction)))
      for h in (1e-6, -1e-6)
    ]
    along = sum(
      np.vdot(g, d)
      for g, d in zip(
        jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True
      )
    )
  np.testing.assert_allclose((ends[0] - ends[1]) / 2e-6, along, rtol=1e-5)


def test_dropped_words_are_unknown_and_by_the_key_of_a_row():
  tokens = np.tile(np.asarray([START, 4, 5, PAD], np.int32), (2, 500))
  keys = jax.random.split(jax.random.key(0), 2)
  drop = jax.jit(drop_tokens, static_argnums=1)
  dropped = np.asarray(drop(tokens, 0.25, keys))
  ordinary = (tokens != START) & (tokens != PAD)
  np.testing.assert_array_equal(dropped[~ordinary], tokens[~ordinary])
  changed = dropped != tokens
  assert set(dropped[changed]) == {UNK}
  assert 0.2 < changed[ordinary].mean() < 0.3
  assert (changed[0] != changed[1]).any()
  second = np.asarray(drop(tokens[1:], 0.25, keys[1:]))
  np.testing.assert_array_equal(second[0], dropped[1])
  assert drop_tokens(tokens, 0.25, None) is tokens


def test_average_by_hand():
  params = [np.float32(x) for x in (5.0, 1.0, 2.0, 4.0)]
  average = {'a': np.float32(100.0)}
  by_hand = None
  for n, value in enumerate(params, 1):
    average = step.averaged(average, {'a': value}, np.int32(n), 0.3)
    decay = min(0.3, (n - 1) / (9 + n))
    by_hand = value if n == 1 else decay * by_hand + (1 - decay) * value
    np.testing.assert_allclose(average['a'], by_hand, rtol=1e-6)
