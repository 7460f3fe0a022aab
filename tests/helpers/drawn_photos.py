"""Small photos of random colours."""

import numpy as np
from PIL import Image


def draw(path, seed, size=(40, 30)):
  """Write a photo; each seed is another one."""
  rng = np.random.default_rng(seed)
  pixels = rng.integers(0, 256, (4, 4, 3), np.uint8)
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).resize(size).save(path)


# Photos of ``twenty_photos`` that can be read.
READABLE = [f'{i:02}.png' for i in range(20) if i not in (0, 7, 19)]


def twenty_photos(folder):
  """Make a folder of twenty photos, of which three cannot be read."""
  folder.mkdir()
  rng = np.random.default_rng(0)
  for i in range(20):
    path = folder / f'{i:02}.png'
    pixels = rng.integers(0, 256, (12, 10, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    if i in (0, 7, 19):
      path.write_bytes(path.read_bytes()[: 60 * (i > 0)])
  return folder
