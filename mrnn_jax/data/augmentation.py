"""Photos as training sees them: parts, mirrored, tinted, by chance."""

import dataclasses

import numpy as np
from PIL import Image, ImageEnhance

from mrnn_jax.runtime import picture_files
from mrnn_jax.runtime.picture_views import WHOLE, View, random_part, scale

# What is changed by chance, in this order.
_TINTS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """How photos are changed by chance.

  Attributes:
    area: least area of the part that is seen, as a share; 1: the whole.
    flip: whether every other photo is mirrored.
    color: by how much brightness, contrast and saturation are changed at most,
      as a share; 0: not.
  """

  area: float
  flip: bool
  color: float


def decode(data: bytes, size: int, view: View = WHOLE) -> np.ndarray:
  """Return the pixels [S, S, 3] uint8 of a stored photo, or of a view of it."""
  return np.asarray(_scaled(data, size, view))


def augmented(
  data: bytes,
  size: int,
  how: Augmentation,
  rng: np.random.Generator,
  sided: bool,
) -> np.ndarray:
  """Return the pixels of a photo, changed by chance.

  Args:
    data: the stored photo, a JPEG.
    size: S, pixels of a side of the result.
    how: what may be changed.
    rng: draws as many numbers whatever may be changed.
    sided: whether its captions say left or right, so that it is not mirrored.

  Returns:
    [S, S, 3] uint8.
  """
  part = random_part(rng, min(how.area, 1.0))
  mirrored = rng.random() < 0.5
  tints = 1 + how.color * rng.uniform(-1, 1, len(_TINTS))
  view = part if how.area < 1 else WHOLE
  flipped = bool(how.flip and mirrored and not sided)
  image = _scaled(data, size, dataclasses.replace(view, flipped=flipped))
  if how.color:
    for tint, factor in zip(_TINTS, tints, strict=True):
      image = tint(image).enhance(factor)
  return np.asarray(image)


def _scaled(data: bytes, size: int, view: View) -> Image.Image:
  image = picture_files.decode_rgb(data, size)
  return scale(image, size, (0, 0, *image.size), view)
