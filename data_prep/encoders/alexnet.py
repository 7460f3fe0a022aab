"""AlexNet in Flax, up to fc7: the decaf-like features of the paper.

The shapes are torchvision's (convolutions 64-192-384-256-256, no local
response normalisation, 4096-4096 fully connected).  There are no trained
weights here: they are drawn at random by a seed.  Random features keep much of
colours, places and coarse shapes and know nothing of the world, so what is
learnt from them says nothing about features of a trained CNN.
"""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data_prep.encoders.network import Network

IMAGE_SIZE = 224
FEATURE_SIZE = 4096

# Mean and deviation of photos, as torchvision's weights expect them.
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class AlexNet(nn.Module):
  """AlexNet without its classifier: the output is fc7 after ReLU."""

  @nn.compact
  def __call__(self, images: jax.Array) -> jax.Array:
    """Encode images.

    Args:
      images: [B, 224, 224, 3] uint8.

    Returns:
      [B, 4096] float32, not negative.
    """
    x = (images / 255.0 - jnp.array(_MEAN)) / jnp.array(_STD)

    def conv(x, name, channels, size, stride=1, padding=1):
      layer = nn.Conv(
        channels,
        (size, size),
        (stride, stride),
        padding,
        name=name,
      )
      return nn.relu(layer(x))

    def pool(x):
      return nn.max_pool(x, (3, 3), (2, 2))

    x = pool(conv(x, 'conv1', 64, 11, stride=4, padding=2))
    x = pool(conv(x, 'conv2', 192, 5, padding=2))  # --> [B, 13, 13, 192]
    x = conv(x, 'conv3', 384, 3)
    x = conv(x, 'conv4', 256, 3)
    x = pool(conv(x, 'conv5', 256, 3))  # --> [B, 6, 6, 256]
    x = x.reshape(x.shape[0], -1)  # --> [B, 9216]
    x = nn.relu(nn.Dense(4096, name='fc6')(x))
    return nn.relu(nn.Dense(FEATURE_SIZE, name='fc7')(x))


def name(seed: int) -> str:
  """Return what a dataset says about the origin of these features."""
  return f'alexnet (random weights, seed {seed})'


def create(seed: int = 0) -> Network:
  """Return AlexNet with He-initialised random weights.

  Args:
    seed: decides the weights.

  Returns:
    The network; its name says that the weights are random.
  """
  model = AlexNet()
  images = jax.ShapeDtypeStruct((1, IMAGE_SIZE, IMAGE_SIZE, 3), jnp.uint8)
  shapes = jax.eval_shape(model.init, jax.random.key(0), images)['params']
  # By numpy: JAX's generator needs half a minute of a CPU for 60 million.
  rng = np.random.default_rng(seed)
  params = {name: _draw(rng, layer) for name, layer in sorted(shapes.items())}
  return Network(
    name=name(seed),
    image_size=IMAGE_SIZE,
    feature_size=FEATURE_SIZE,
    params=params,
    apply=lambda params, images: model.apply({'params': params}, images),
  )


def _draw(rng: np.random.Generator, layer) -> dict[str, np.ndarray]:
  """Draw a layer's weights: He et al. 2015, biases zero."""
  shape = layer['kernel'].shape
  kernel = rng.standard_normal(shape, np.float32)
  kernel *= np.sqrt(2 / np.prod(shape[:-1]), dtype=np.float32)
  return {'kernel': kernel, 'bias': np.zeros(layer['bias'].shape, np.float32)}
