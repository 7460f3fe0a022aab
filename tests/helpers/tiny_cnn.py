"""An encoder of 16 x 16 pixels that can be trained, and photos for it."""

import json

import jax
import numpy as np
from PIL import Image

from data_prep import build
from mrnn_jax import encoders
from mrnn_jax.encoders import efficientnet, fine_tuning
from mrnn_jax.encoders.network import Network, exactly

SIDE, FEATURES = 16, 6
CHECKSUM = 'cd34' * 16
NAME = 'tiny_cnn, squash to 16 x 16'
MODULE = efficientnet.EfficientNetLite(
  blocks=(
    efficientnet.Block(3, 1, 1, 4, 4),
    efficientnet.Block(3, 2, 2, 4, 5),
  ),
  stem=4,
  features=FEATURES,
)
COLOURS = {'red': (220, 40, 40), 'green': (40, 200, 60), 'blue': (40, 60, 220)}
PLACES = ['left', 'middle', 'right']


def create(name, weights):
  """Return the network; ``weights``: a seed, or None for none."""
  made = Network(
    name,
    CHECKSUM if weights is not None else '',
    SIDE,
    FEATURES,
    4,
    None,
    exactly(MODULE),
    MODULE,
    efficientnet.block_names(MODULE),
  )
  if weights is None:
    return made
  rng = np.random.default_rng(weights)
  drawn = {}
  for path, shape in fine_tuning.shapes(made).items():
    fan_in = max(1, int(np.prod(shape[:-1])))
    scale = 0.3 if path.endswith('bias') else (2 / fan_in) ** 0.5
    drawn[path] = (scale * rng.normal(size=shape)).astype(np.float32)
  params = encoders.network.nested(drawn)
  # Responses that are neither 0 for all nor beyond 6.
  params['head']['bias'] += np.float32(1)
  return Network(**{**vars(made), 'params': params})


def install(patch):
  """Make it one of the encoders; its weights are drawn by seed 0."""
  load = encoders.load
  patch.setitem(encoders.ENCODERS, 'tiny_cnn', encoders.Recipe(create))
  patch.setattr(
    encoders,
    'load',
    lambda name, weights=None: (
      create(name, 0) if name == 'tiny_cnn' else load(name, weights)
    ),
  )
  return create('tiny_cnn', 0)


def make_photos(folder, num_train=24, num_other=8):
  """Draw photos of a colour at a place, with captions that say it."""
  rng = np.random.default_rng(1)
  (folder / 'photos').mkdir(parents=True)
  lines = []
  for split, count in (
    ('train', num_train),
    ('validation', num_other),
    ('test', num_other),
  ):
    for i in range(count):
      colour = list(COLOURS)[rng.integers(3)]
      place = rng.integers(3)
      pixels = rng.integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
      pixels[4:12, 5 * place : 5 * place + 6] = COLOURS[colour]
      name = f'{split}{i}.jpg'
      Image.fromarray(pixels).save(
        folder / 'photos' / name, quality=95, subsampling=0
      )
      captions = [f'a {colour} box', f'the {PLACES[place]} {colour} one'][
        : 1 + i % 2
      ]
      line = {'image_id': name, 'captions': captions, 'split': split}
      lines.append(json.dumps(line))
  (folder / 'captions.jsonl').write_text('\n'.join(lines))


def make_dataset(folder, name='boxes', **changes):
  """Build the dataset of ``make_photos`` for the encoder."""
  options = {'photos': str(folder / 'photos'), 'encoder': NAME, **changes}
  build.build(
    build.BuildConfig(
      dataset=name,
      captions=str(folder / 'captions.jsonl'),
      data_dir=str(folder),
      **options,
    )
  )


def leaves(tree):
  """Return the arrays of a tree as one vector."""
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])
