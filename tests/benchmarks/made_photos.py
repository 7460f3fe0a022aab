"""Photos made up: soft blots, as large as JPEG makes of real ones."""

import io

import numpy as np
from PIL import Image

_SIDE = 224


def jpegs(count: int) -> list[bytes]:
  """Return squares of 224 pixels as JPEGs."""
  rng = np.random.default_rng(0)
  found = []
  for _ in range(count):
    small = rng.integers(0, 256, (28, 28, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize(
      (_SIDE, _SIDE), Image.Resampling.BICUBIC
    )
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=90)
    found.append(buffer.getvalue())
  return found
