"""Small photos of random colours."""

import numpy as np
from PIL import Image


def draw(path, seed, size=(40, 30)):
  """Write a photo; each seed is another one."""
  rng = np.random.default_rng(seed)
  pixels = rng.integers(0, 256, (4, 4, 3), np.uint8)
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(pixels).resize(size).save(path)
