"""Views of pictures: parts of them, mirrored or not, scaled to a square."""

import dataclasses

import numpy as np
from PIL import Image

# How many times its height the width of a part is, the whole being as wide as
# high.
_RATIOS = 3 / 4, 4 / 3


@dataclasses.dataclass(frozen=True)
class View:
  """A part of a picture.

  Attributes:
    left: where it begins, from 0 to 1 of the width.
    top: the same of the height.
    right: where it ends.
    bottom: the same of the height.
    flipped: whether it is mirrored.
  """

  left: float = 0.0
  top: float = 0.0
  right: float = 1.0
  bottom: float = 1.0
  flipped: bool = False


WHOLE = View()


def random_part(
  rng: np.random.Generator,
  least: float,
  most: float = 1.0,
  flipped: bool = False,
) -> View:
  """Draw a part of a picture.

  Args:
    rng: draws four numbers, whatever comes of them.
    least: area, as a share of the whole.
    most: area.
    flipped: whether the part is mirrored.
  """
  area = rng.uniform(least, most)
  ratio = np.exp(rng.uniform(*np.log(_RATIOS)))
  # No part is wider or higher than the whole; its area stays.
  width = min(1.0, max(area, np.sqrt(area * ratio)))
  height = area / width
  left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
  right, bottom = min(1.0, left + width), min(1.0, top + height)
  return View(left, top, right, bottom, flipped)


def scale(
  image: Image.Image,
  size: int,
  box: tuple[float, float, float, float],
  view: View = WHOLE,
) -> Image.Image:
  """Scale a view of what a box of a picture shows to a square.

  Args:
    image: the picture.
    size: pixels of a side of the result.
    box: left, top, right, bottom in pixels.
    view: of the box.
  """
  left, top, right, bottom = box
  wide, high = right - left, bottom - top
  part = (
    left + view.left * wide,
    top + view.top * high,
    left + view.right * wide,
    top + view.bottom * high,
  )
  # The filter of the features that are around: they agree to five digits.
  square = image.resize((size, size), Image.Resampling.BICUBIC, part)
  if view.flipped:
    return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  return square
