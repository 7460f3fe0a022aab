"""AlexNet in Flax, up to fc7: the decaf-like features of the paper.

The shapes are torchvision's (convolutions 64-192-384-256-256, no local
response normalisation, 4096-4096 fully connected).  There are no trained
weights here: they are drawn at random by a seed.  Such features keep colours,
places and something of shapes and know nothing of the world, so what is learnt
from them says nothing about features of a trained CNN.

Weights drawn independently would lose almost everything in seven layers.  They
are drawn as trained ones tend to look.  The first layer sees blobs and edges,
each beside its negative, so that the second can see an edge whichever side is
the lighter one.  Later units look at few channels each, most of the middle
layers passes its input on, fc7 all of it, and a unit of fc6 looks at a window
instead of at every place by itself.  All other responses are standardised on
some images (Mishkin & Matas 2016), so that no unit is always on or off.
"""

import dataclasses

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data_prep.encoders.network import Network

IMAGE_SIZE = 224
FEATURE_SIZE = 4096

_LAYERS = ('conv1', 'conv2', 'conv3', 'conv4', 'conv5', 'fc6', 'fc7')
# Mean and deviation of photos, as torchvision's weights expect them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
# To be raised whenever the same seed begins to give other weights.
VERSION = 1


@dataclasses.dataclass(frozen=True)
class _Draw:
  """The weights of a layer before they are standardised.

  Attributes:
    kernel: what a unit looks at.
    threshold: [units] how many deviations above its mean a response has to be
      to pass the ReLU: it says more where most are silent.
    passing: how many of the units, the first ones, hand an input on as it is
      and are not standardised.
  """

  kernel: np.ndarray
  threshold: np.ndarray | float = 0.0
  passing: int = 0


class AlexNet(nn.Module):
  """AlexNet without its classifier: the output is fc7 after ReLU."""

  def setup(self):
    """Name the layers as torchvision's order has them."""
    self.conv1 = nn.Conv(64, (11, 11), (4, 4), 2)
    self.conv2 = nn.Conv(192, (5, 5), padding=2)
    self.conv3 = nn.Conv(384, (3, 3), padding=1)
    self.conv4 = nn.Conv(256, (3, 3), padding=1)
    self.conv5 = nn.Conv(256, (3, 3), padding=1)
    self.fc6 = nn.Dense(4096)
    self.fc7 = nn.Dense(FEATURE_SIZE)

  def __call__(self, images: jax.Array) -> jax.Array:
    """Encode images.

    Args:
      images: [B, 224, 224, 3] uint8.

    Returns:
      [B, 4096] float32, not negative.
    """
    x = normalize(images)
    for layer in _LAYERS:
      x = nn.relu(self.respond(layer, x))
    return x

  def respond(self, layer: str, x: jax.Array) -> jax.Array:
    """Return a layer's responses before ReLU.

    Args:
      layer: its name.
      x: the output of the layer before it.

    Returns:
      [B, height, width, channels] for a convolution, else [B, units].
    """
    if layer in ('conv2', 'conv3', 'fc6'):
      x = nn.max_pool(x, (3, 3), (2, 2))
    if layer == 'fc6':
      x = x.reshape(x.shape[0], -1)  # [B, 6, 6, 256] --> [B, 9216]
    return getattr(self, layer)(x)


def normalize(images: jax.Array) -> jax.Array:
  """Return uint8 images as float32 of about zero mean and unit deviation."""
  mean = jnp.array(_MEAN).reshape(1, 1, 1, 3)
  std = jnp.array(_STD).reshape(1, 1, 1, 3)
  return (images / 255.0 - mean) / std


def name(seed: int) -> str:
  """Return what a dataset says about the origin of these features."""
  return f'alexnet (random weights, seed {seed})'


def create(seed: int, images: np.ndarray) -> Network:
  """Return AlexNet with random weights.

  Args:
    seed: decides the weights.
    images: [B, 224, 224, 3] uint8, some of those to be encoded, on which
      every layer is standardised; 64 or more do well.

  Returns:
    The network; its name says that the weights are random.
  """
  model = AlexNet()
  # By numpy: JAX's generator needs half a minute of a CPU for 60 million.
  rng = np.random.default_rng(seed)
  layers = {
    'conv1': _blobs_and_edges(rng),
    'conv2': _colours_and_corners(rng),
    'conv3': _passing_on(rng, 192, 384),
    'conv4': _passing_on(rng, 384, 256),
    'conv5': _passing_on(rng, 256, 256),
    'fc6': _windows(rng, 6, 256, 4096),
    'fc7': _Draw(np.eye(4096, FEATURE_SIZE, dtype=np.float32), passing=4096),
  }
  respond = jax.jit(
    lambda params, layer, x: model.apply(
      {'params': params}, layer, x, method='respond'
    ),
    static_argnums=1,
  )
  params = {}
  x = normalize(jnp.asarray(images))
  for layer, draw in layers.items():
    zero = np.zeros(draw.kernel.shape[-1], np.float32)
    y = respond({layer: {'kernel': draw.kernel, 'bias': zero}}, layer, x)
    y = np.asarray(y).reshape(-1, zero.size)
    mean, std = y.mean(axis=0), y.std(axis=0) + 1e-5
    bias = -mean / std - draw.threshold
    bias[: draw.passing], std[: draw.passing] = 0, 1
    params[layer] = {
      'kernel': draw.kernel / std,
      'bias': bias.astype(np.float32),
    }
    x = nn.relu(respond({layer: params[layer]}, layer, x))
  return Network(
    name=name(seed),
    image_size=IMAGE_SIZE,
    feature_size=FEATURE_SIZE,
    params=params,
    apply=lambda params, images: model.apply({'params': params}, images),
  )


# conv1: 8 blobs and 24 edges, then the negative of each.
_NUM_BLOBS, _NUM_EDGES = 8, 24


def _blobs_and_edges(rng: np.random.Generator) -> _Draw:
  """Draw conv1: Gaussians of a colour, and odd Gabor functions."""
  u, v = np.meshgrid(*[np.arange(11) - 5] * 2)
  half = []
  for _ in range(_NUM_BLOBS):
    width = rng.uniform(1.6, 3.5)
    blob = np.exp(-(u**2 + v**2) / (2 * width**2))
    half.append(blob[..., None] * rng.standard_normal(3))
  for i in range(_NUM_EDGES):
    angle = np.pi * (i % 8) / 8 + rng.uniform(-0.1, 0.1)
    length, width = ((7, 2), (10, 2.8), (14, 3.5))[i // 8]
    along = u * np.cos(angle) + v * np.sin(angle)
    edge = np.exp(-(u**2 + v**2) / (2 * width**2))
    edge *= np.sin(2 * np.pi * along / length)
    # Every second edge is one of brightness, the others are of a colour.
    colour = 1 + (i % 2) * rng.standard_normal(3)
    half.append(edge[..., None] * colour)
  kernel = np.stack(half, axis=-1).astype(np.float32)
  return _Draw(np.concatenate([kernel, -kernel], axis=-1), 0.2)


def _colours_and_corners(rng: np.random.Generator) -> _Draw:
  """Draw conv2: 64 units that see blobs, 128 that see edges of any sign."""
  num_half = _NUM_BLOBS + _NUM_EDGES
  num_colours, num_units = 64, 192
  kernel = np.zeros((5, 5, 2 * num_half, num_units), np.float32)
  for i in range(num_colours):
    blobs = rng.choice(_NUM_BLOBS, 3, replace=False)
    blobs += num_half * rng.integers(0, 2, 3)
    # Every second one sees colours alone, wherever they are.
    size = (1, 1, 3) if i % 2 else (5, 5, 3)
    kernel[..., blobs, i] = rng.standard_normal(size)
  for i in range(num_colours, num_units):
    edges = _NUM_BLOBS + rng.choice(_NUM_EDGES, 4, replace=False)
    places = rng.standard_normal((5, 5, 4))
    kernel[..., edges, i] = places
    kernel[..., edges + num_half, i] = places
  threshold = np.where(np.arange(num_units) < num_colours, 0.5, 1.0)
  return _Draw(kernel, threshold)


def _passing_on(rng: np.random.Generator, inputs: int, outputs: int) -> _Draw:
  """Draw units of which most hand one channel on.

  The others see four channels each.  More of them would wash out what the
  first two layers have found.
  """
  passing = min(inputs, outputs * 3 // 4)
  kernel = np.zeros((3, 3, inputs, outputs), np.float32)
  kernel[1, 1, np.arange(passing), np.arange(passing)] = 1
  for i in range(passing, outputs):
    chosen = rng.choice(inputs, 4, replace=False)
    kernel[..., chosen, i] = rng.standard_normal((3, 3, 4))
  return _Draw(kernel, 1.0, passing)


def _windows(
  rng: np.random.Generator, side: int, channels: int, units: int
) -> _Draw:
  """Draw units that see eight channels, the same in a whole window.

  Every second unit sees the whole picture: colour and shape are found with
  few examples only where they do not hang on the place.
  """
  kernel = np.zeros((units, side, side, channels), np.float32)
  spans = [slice(a, b) for a in range(side) for b in range(a + 2, side + 1)]
  for i in range(units):
    rows = columns = slice(None)
    if i % 2:
      rows, columns = (spans[k] for k in rng.integers(len(spans), size=2))
    weights = np.zeros(channels, np.float32)
    chosen = rng.choice(channels, 8, replace=False)
    weights[chosen] = rng.standard_normal(8)
    kernel[i, rows, columns] = weights
  return _Draw(np.ascontiguousarray(kernel.reshape(units, -1).T))
