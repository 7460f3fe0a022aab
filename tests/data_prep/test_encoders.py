"""AlexNet has the published shapes and the seed decides its weights."""

import jax
import numpy as np
import pytest

from data_prep import encoders, scene_types, scenes


@pytest.fixture(scope='module')
def network():
  images = np.random.default_rng(1).integers(0, 256, (4, 224, 224, 3))
  return encoders.ENCODERS['alexnet'](0, images.astype(np.uint8))


def test_shapes_are_torchvisions(network):
  shapes = {
    name: layer['kernel'].shape for name, layer in network.params.items()
  }
  assert shapes == {
    'conv1': (11, 11, 3, 64),
    'conv2': (5, 5, 64, 192),
    'conv3': (3, 3, 192, 384),
    'conv4': (3, 3, 384, 256),
    'conv5': (3, 3, 256, 256),
    'fc6': (9216, 4096),
    'fc7': (4096, 4096),
  }
  # torchvision.models.alexnet has 61,100,840, of which 1000 x 4097 classify.
  total = sum(x.size for x in jax.tree.leaves(network.params))
  assert total == 61_100_840 - 1000 * 4097


def test_encode_gives_each_image_its_own_feature(network):
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (3, 224, 224, 3), np.uint8)
  features = encoders.encode(network, images, total=3, batch_size=2)
  assert features.shape == (3, 4096)
  assert features.dtype == np.float32
  assert (features >= 0).all()
  alone = encoders.encode(network, images[2:], total=1, batch_size=2)
  np.testing.assert_allclose(alone[0], features[2], rtol=1e-4, atol=1e-4)
  assert np.abs(features[0] - features[1]).max() > 0.01


def test_the_name_says_that_weights_are_random(network):
  assert 'random weights, seed 0' in network.name


def accuracy(kernel, num_train, rows, labels):
  """Return the share of rows whose label ridge regression finds."""
  inner = kernel[:num_train, :num_train]
  ridge = 0.3 * np.trace(inner) / num_train * np.eye(num_train)
  mean = labels[:num_train].mean(axis=0, keepdims=True)
  weights = np.linalg.solve(inner + ridge, labels[:num_train] - mean)
  found = kernel[rows, :num_train] @ weights + mean
  return np.mean(found.argmax(axis=1) == labels[rows].argmax(axis=1))


@pytest.mark.slow
def test_features_tell_what_a_scene_shows(tmp_path):
  """Background, colour and shape follow linearly where one object is shown."""
  made = scenes.generate()
  folder = scenes.save_pictures(made.scenes, tmp_path, 0)
  ids = made.raw.splits['train'] + made.raw.splits['validation']
  shown = [made.scenes[image_id] for image_id in ids]
  num_train = len(made.raw.splits['train'])
  some = np.stack(list(scenes.read_pictures(folder, ids[:128])))
  network = encoders.ENCODERS['alexnet'](0, some)
  images = scenes.read_pictures(folder, ids)
  x = encoders.encode(network, images, len(ids))
  mean, std = x[:num_train].mean(axis=0), x[:num_train].std(axis=0) + 1e-6
  x = np.clip((x - mean) / std, -5, 5)
  kernel = x @ x[:num_train].T
  rows = [i for i in range(num_train, len(ids)) if len(shown[i].things) == 1]

  def labels(values, name):
    return np.array(
      [
        [
          value
          in [getattr(s, name, ''), *(getattr(t, name, '') for t in s.things)]
          for value in values
        ]
        for s in shown
      ],
      np.float64,
    )

  for values, name, least in (
    (scene_types.BACKGROUNDS, 'background', 0.98),
    (scene_types.COLOURS, 'colour', 0.8),
    (scene_types.SHAPES, 'shape', 0.7),
    (scene_types.COLUMNS, 'column', 0.9),
    (scene_types.HEIGHTS, 'height', 0.95),
  ):
    found = accuracy(kernel, num_train, rows, labels(values, name))
    assert found > least, name
