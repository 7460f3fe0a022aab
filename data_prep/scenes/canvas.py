"""A canvas on which scenes are drawn with Pillow.

Places and lengths are shares of the picture's side; y grows downwards.
"""

from collections.abc import Iterable
import math
import random

import numpy as np
from PIL import Image, ImageDraw

SIZE = 224
# Drawn at twice the size and then reduced, which smooths the edges.
_SCALE = 2
_SIDE = _SCALE * SIZE

Colour = tuple[int, ...]
Points = Iterable[tuple[float, float]]


class Canvas:
  """A picture in the making; colours with a fourth number are translucent."""

  def __init__(self, stops: list[tuple[float, Colour]]):
    """Fill the canvas with colours that change from top to bottom.

    Args:
      stops: (height, colour) from top to bottom; two stops at one height make
        an edge.
    """
    places = [height + 1e-6 * i for i, (height, _) in enumerate(stops)]
    heights = np.linspace(0, 1, _SIDE)
    channels = [
      np.interp(heights, places, [colour[k] for _, colour in stops])
      for k in range(3)
    ]
    column = np.stack(channels, axis=1).round().astype(np.uint8)
    pixels = np.broadcast_to(column[:, None], (_SIDE, _SIDE, 3))
    self._image = Image.fromarray(np.ascontiguousarray(pixels))
    self._pen = ImageDraw.Draw(self._image, 'RGBA')

  def picture(self) -> Image.Image:
    """Return the RGB picture of 224 x 224 pixels."""
    return self._image.reduce(_SCALE)

  def disc(self, x: float, y: float, radius: float, colour: Colour):
    """Draw a disc."""
    self.oval(x, y, radius, radius, colour)

  def oval(
    self, x: float, y: float, width: float, height: float, colour: Colour
  ):
    """Draw an ellipse around (x, y) with the given half axes."""
    box = (x - width, y - height, x + width, y + height)
    self._pen.ellipse([v * _SIDE for v in box], fill=colour)

  def band(
    self, x: float, y: float, radius: float, width: float, colour: Colour
  ):
    """Draw a circle's edge, ``width`` wide inwards."""
    box = (x - radius, y - radius, x + radius, y + radius)
    pixels = max(1, round(width * _SIDE))
    self._pen.ellipse([v * _SIDE for v in box], outline=colour, width=pixels)

  def polygon(self, points: Points, colour: Colour):
    """Draw a filled polygon."""
    self._pen.polygon([(x * _SIDE, y * _SIDE) for x, y in points], colour)

  def rounded(self, box: Iterable[float], radius: float, colour: Colour):
    """Draw a rectangle (left, top, right, bottom) with round corners."""
    self._pen.rounded_rectangle(
      [v * _SIDE for v in box], radius * _SIDE, fill=colour
    )

  def line(self, points: Iterable[float], colour: Colour, width: int = 2):
    """Draw a line through x, y, x, y, ...; its width is in half pixels."""
    self._pen.line([v * _SIDE for v in points], fill=colour, width=width)

  def hill(self, rng: random.Random, top: float, height: float, colour: Colour):
    """Draw wavy hills that fill the picture downwards."""
    phase, waves = rng.uniform(0, 6), rng.uniform(0.7, 1.6)
    xs = [i / 40 for i in range(41)]
    points = [
      (x, top - height * (0.5 + 0.5 * math.sin(phase + 6 * waves * x)))
      for x in xs
    ]
    self.polygon([*points, (1, 1), (0, 1)], colour)
