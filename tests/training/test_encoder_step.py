"""A step whose errors go back into the encoder."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small_models
import tiny_cnn

from mrnn_jax import config as config_lib
from mrnn_jax import models
from mrnn_jax.data.vocabulary import PAD, START
from mrnn_jax.runtime import parallel
from mrnn_jax.training import optimizers
from mrnn_jax.training import photos as photos_lib
from mrnn_jax.training import step as step_lib
from mrnn_jax.training.objectives import OBJECTIVES
from mrnn_jax.training.step import ENCODER

ROWS, G, V = 4, 3, 12
WORDS, L2 = 20.0, 0.01
NETWORK = tiny_cnn.create('tiny_cnn', 0)
MODEL = models.create_model(
  'm-rnn',
  V,
  tiny_cnn.FEATURES,
  {
    'embedding_size': 3,
    'recurrent_size': 4,
    'multimodal_size': 5,
    'multimodal_dropout': 0.0,
    'word_dropout': 0.0,
    'recurrent_dropout': 0.0,
    'feature_scaling': 'none',
  },
)


def make_batch():
  """Rows of three captions of an image, the last row of two."""
  rng = np.random.default_rng(3)
  tokens = np.full((ROWS, 12), PAD, np.int32)
  targets = np.full((ROWS, 12), PAD, np.int32)
  captions = np.full((ROWS, G), -1)
  for b in range(ROWS):
    t = 0
    for g in range(G if b < ROWS - 1 else 2):
      words = rng.integers(4, V, 2 + g)
      n = len(words) + 1
      tokens[b, t : t + n] = [START, *words]
      targets[b, t : t + n] = [*words, 2]
      captions[b, g] = b * G + g
      t += n
  photos = rng.integers(0, 256, (ROWS, *(tiny_cnn.SIDE,) * 2, 3), np.uint8)
  return {
    'tokens': tokens,
    'targets': targets,
    'captions': captions,
    'photos': photos,
  }


def one_by_one(batch):
  """The same captions, a row each, with the photo of each again."""
  rows = []
  for b in range(ROWS):
    starts = np.flatnonzero(batch['tokens'][b] == START)
    for start, stop in zip(starts, [*starts[1:], 12], strict=True):
      row = {name: np.full(12, PAD, np.int32) for name in ('tokens', 'targets')}
      for name, values in row.items():
        values[: stop - start] = batch[name][b, start:stop]
      rows.append({**row, 'captions': [0], 'photos': batch['photos'][b]})
  return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


@functools.cache
def compiled(trained, devices, parts, dtype, remat, sees_photos):
  """Return optimizer and step; a second one would compile again."""
  optimizer = optax.sgd(1.0)
  encoder = photos_lib.encoder_of(NETWORK, trained, dtype, 'default', remat)
  step = step_lib.compile_train_step(
    parallel.local_devices(devices),
    model=MODEL,
    objective=OBJECTIVES['likelihood'],
    optimizer=optimizer,
    words_per_batch=WORDS,
    l2=L2,
    accumulate_steps=parts,
    encoder=encoder if sees_photos else None,
  )
  return optimizer, step


@functools.cache
def begun():
  return jax.device_get(small_models.init(MODEL, jax.random.key(1)))


def take_step(
  batch,
  trained=NETWORK.blocks,
  network=NETWORK,
  change=None,
  devices=1,
  parts=1,
  dtype='float32',
  remat=False,
):
  """Take a step of plain descent; return parameters before and after, metrics.

  Args:
    change: block, layer and array, a number's place, and by how much it moves.
  """
  variables = begun()
  params, frozen = dict(variables['params']), {}
  if 'photos' in batch:
    blocks = network.params
    params[ENCODER] = {name: blocks[name] for name in trained}
    frozen = {name: blocks[name] for name in blocks if name not in trained}
  params = jax.tree.map(np.array, params)
  if change:
    path, index, by = change
    functools.reduce(dict.get, path, params)[index] += by
  optimizer, step = compiled(
    trained, devices, parts, dtype, remat, 'photos' in batch
  )
  state = step_lib.create_state(
    {'params': params}, optimizer, jax.random.key(0)
  )
  constants = state, variables['statistics'], frozen
  state, statistics, frozen = parallel.replicate(
    constants, parallel.local_devices(devices)
  )
  batch = parallel.split_rows(batch, devices)
  state, metrics = step(state, statistics, batch, frozen)
  after = jax.device_get(parallel.unreplicate(state.params))
  metrics = {k: float(x) for k, x in parallel.unreplicate(metrics).items()}
  return params, after, metrics


def smooth(path, x):
  """Return weights with which no ReLU6 is at an end of its range."""
  if path[-1].key == 'bias':
    return np.full_like(x, 2.5)
  return x * np.float32(0.2)


@pytest.mark.parametrize(
  ('path', 'index'),
  [
    (('stem', 'kernel'), (1, 0, 2, 3)),
    (('block_0', 'depthwise', 'kernel'), (0, 1, 0, 2)),
    (('block_1', 'expand', 'bias'), (5,)),
    (('head', 'kernel'), (3, 2)),
  ],
)
def test_gradient_of_an_encoder_weight_is_that_of_finite_differences(
  path, index
):
  batch, path = make_batch(), (ENCODER, *path)
  params = jax.tree_util.tree_map_with_path(smooth, NETWORK.params)
  network = dataclasses.replace(NETWORK, params=params)
  before, after, _ = take_step(batch, network=network)
  gradient = functools.reduce(dict.get, path, before)[index]
  gradient -= functools.reduce(dict.get, path, after)[index]
  eps = 0.05
  low, high = (
    take_step(batch, network=network, change=(path, index, by))[2]['cost']
    for by in (-eps, eps)
  )
  assert abs(gradient) > 1e-4
  np.testing.assert_allclose(
    gradient, (high - low) / (2 * eps), rtol=0.02, atol=1e-5
  )


def test_one_pass_an_image_is_one_a_caption():
  batch = make_batch()
  _, shared, first = take_step(batch)
  _, each, second = take_step(one_by_one(batch))
  assert first['words'] == second['words'] > 30
  np.testing.assert_allclose(first['cost'], second['cost'], rtol=1e-5)
  np.testing.assert_allclose(
    tiny_cnn.leaves(shared), tiny_cnn.leaves(each), rtol=1e-4, atol=1e-6
  )


def test_the_model_learns_as_from_features_of_the_encoder():
  batch = make_batch()
  features = np.asarray(jax.jit(NETWORK.apply)(NETWORK.params, batch['photos']))
  seen = {n: batch[n] for n in ('tokens', 'targets')}
  seen['features'] = np.repeat(features[:, None], G, axis=1)
  _, plain, first = take_step(seen)
  _, after, second = take_step(batch)
  np.testing.assert_allclose(first['cost'], second['cost'], rtol=1e-6)
  del after[ENCODER]
  np.testing.assert_allclose(
    tiny_cnn.leaves(plain), tiny_cnn.leaves(after), rtol=1e-5, atol=1e-7
  )


@pytest.mark.parametrize(
  'how',
  [
    {'parts': 2, 'remat': True},
    pytest.param({'devices': 2}, marks=pytest.mark.slow),
  ],
)
def test_parts_devices_and_memory_do_not_matter(how):
  batch = make_batch()
  _, whole, _ = take_step(batch)
  _, other, _ = take_step(batch, **how)
  np.testing.assert_allclose(
    tiny_cnn.leaves(whole), tiny_cnn.leaves(other), rtol=1e-4, atol=1e-6
  )


@pytest.mark.slow
def test_bfloat16_is_near_and_not_the_same():
  batch = make_batch()
  before, exact, _ = take_step(batch)
  _, rounded, _ = take_step(batch, dtype='bfloat16')
  step, other = (
    tiny_cnn.leaves(x[ENCODER]) - tiny_cnn.leaves(before[ENCODER])
    for x in (exact, rounded)
  )
  cosine = step @ other / np.linalg.norm(step) / np.linalg.norm(other)
  assert 0.98 < cosine < 1 - 1e-7


def test_blocks_before_the_trained_ones_are_not_among_the_parameters():
  batch = make_batch()
  _, everything, _ = take_step(batch)
  before, after, _ = take_step(batch, trained=('block_1', 'head'))
  assert set(after[ENCODER]) == {'block_1', 'head'}
  # Their gradient is what it is where all are trained.
  for name in after[ENCODER]:
    np.testing.assert_allclose(
      tiny_cnn.leaves(after[ENCODER][name]),
      tiny_cnn.leaves(everything[ENCODER][name]),
      rtol=1e-4,
      atol=1e-6,
    )
    assert (
      tiny_cnn.leaves(after[ENCODER][name])
      != tiny_cnn.leaves(before[ENCODER][name])
    ).any()


def test_what_is_carried_and_not_trained_gets_no_gradient():
  encoder = photos_lib.encoder_of(NETWORK, ('head',), 'float32', 'high', False)
  blocks = {name: NETWORK.params[name] for name in ('block_1', 'head')}
  frozen = {
    name: block for name, block in NETWORK.params.items() if name not in blocks
  }
  photos = jnp.asarray(make_batch()['photos'])
  gradient = jax.jit(jax.grad(lambda x: encoder(x, frozen, photos).sum()))(
    blocks
  )
  assert not tiny_cnn.leaves(gradient['block_1']).any()
  assert tiny_cnn.leaves(gradient['head']).any()


def test_what_is_carried_and_not_trained_keeps_every_bit():
  """Also -0, and in the average: it is known by its checksum."""
  config = config_lib.Config(optimizer='adamw', weight_decay=0.5)
  optimizer = optimizers.create_optimizer(
    config, optax.constant_schedule(0.1), carries_encoder=True
  )
  rng = np.random.default_rng(0)
  block = rng.normal(size=(50, 3)).astype(np.float32)
  block[:2] = -0.0
  params = {'w': np.ones((2, 2), np.float32), ENCODER: {'head': block}}
  state, average = optimizer.init(params), params
  gradient = jax.tree.map(np.ones_like, params)

  @jax.jit
  def take(params, state, average, n, scale):
    updates, state = optimizer.update(gradient, state, params)
    updates = jax.tree.map(lambda u: u * scale, updates)
    params = optax.apply_updates(params, updates)
    return params, state, step_lib.averaged(average, params, n, 0.999)

  for n in range(1, 6):
    params, state, average = take(params, state, average, n, 0.5)
  for found in (params, average):
    assert (found['w'] != 1).all()
    bits = np.asarray(found[ENCODER]['head']).view(np.uint32)
    np.testing.assert_array_equal(bits, block.view(np.uint32))
