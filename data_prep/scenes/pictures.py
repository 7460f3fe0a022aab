"""Draw a scene: its background, then its objects."""

import math
import random

from PIL import Image

from data_prep.scenes import backgrounds
from data_prep.scenes.types import Scene, Thing

_RGB = {
  'red': (214, 40, 40),
  'orange': (244, 132, 26),
  'yellow': (252, 216, 44),
  'green': (28, 146, 62),
  'blue': (36, 86, 212),
  'purple': (126, 54, 172),
  'pink': (252, 136, 190),
  'white': (250, 250, 248),
  'black': (32, 32, 36),
}
_RADIUS = {'small': 0.075, 'medium': 0.115, 'big': 0.165}
_COLUMN = {'left': 0.19, 'middle': 0.5, 'right': 0.81}
# Where the feet of an object may stand; the air ends well above it.
_GROUND = (0.84, 0.93)
_AIR = (0.2, 0.34)

_Points = list[tuple[float, float]]


def draw(scene: Scene) -> Image.Image:
  """Draw a scene.

  Args:
    scene: what to draw.

  Returns:
    An RGB picture of 224 x 224 pixels; the same scene gives the same pixels.
  """
  rng = random.Random(scene.seed)
  canvas = backgrounds.paint(scene.background, scene.extra, rng)
  for thing in scene.things:
    _draw_thing(canvas, thing, scene.background, rng)
  return canvas.picture()


def _draw_thing(canvas, thing: Thing, background: str, rng: random.Random):
  """Draw an object with its shadow, its outline and some light on it."""
  radius = _RADIUS[thing.size] * rng.uniform(0.93, 1.07)
  x = _COLUMN[thing.column] + rng.uniform(-0.025, 0.025)
  x = min(max(x, radius + 0.02), 0.98 - radius)
  if thing.height == 'ground':
    foot = rng.uniform(*_GROUND)
    y = foot - radius * _bottom(thing.shape)
    _shadow(canvas, x, foot, radius, background)
  else:
    y = max(rng.uniform(*_AIR), radius + 0.03)
  shade = rng.uniform(0.93, 1.05)
  colour = tuple(min(255, int(v * shade)) for v in _RGB[thing.colour])
  # White gets a grey outline and black a lighter one, to stand out anywhere.
  dark = _mix(colour, (96, 96, 112) if thing.colour == 'black' else (0, 0, 0))
  _PAINTERS.get(thing.shape, _paint_flat)(
    canvas, thing, x, y, radius, colour, dark
  )


def _mix(colour, other, share: float = 0.38) -> tuple[int, ...]:
  """Mix a share of another colour in."""
  return tuple(
    int((1 - share) * a + share * b) for a, b in zip(colour, other, strict=True)
  )


def _shadow(canvas, x: float, foot: float, radius: float, background: str):
  """Draw what shows that an object stands: a shadow, or rings in water."""
  width, height = 1.15 * radius, 0.24 * radius
  if background == 'lake':
    for grow in (1.0, 1.35):
      canvas.oval(x, foot, grow * width, grow * height, (240, 250, 255, 110))
  else:
    canvas.oval(x + 0.12 * radius, foot, width, height, (0, 0, 0, 70))


def _polygon(canvas, points: _Points, x, y, scale, colour):
  """Draw a polygon of unit size at a place."""
  canvas.polygon([(x + scale * u, y + scale * v) for u, v in points], colour)


def _star() -> _Points:
  """Return a star of five points."""
  points = []
  for i in range(10):
    radius, angle = (0.44 if i % 2 else 1.0), math.pi * (i / 5 - 0.5)
    points.append((radius * math.cos(angle), radius * math.sin(angle)))
  return points


def _heart() -> _Points:
  """Return a heart."""
  points = []
  for i in range(60):
    t = 2 * math.pi * i / 60
    u = 16 * math.sin(t) ** 3
    v = (
      13 * math.cos(t)
      - 5 * math.cos(2 * t)
      - 2 * math.cos(3 * t)
      - math.cos(4 * t)
    )
    points.append((u / 17, -v / 17))
  return points


_ARM = 0.36  # Half the width of a cross's arm.
_OUTLINES: dict[str, _Points] = {
  'triangle': [(0, -1), (0.98, 0.8), (-0.98, 0.8)],
  'star': _star(),
  'heart': _heart(),
  'diamond': [(0, -1.08), (0.74, 0), (0, 1.08), (-0.74, 0)],
  'cross': [
    (-_ARM, -1),
    (_ARM, -1),
    (_ARM, -_ARM),
    (1, -_ARM),
    (1, _ARM),
    (_ARM, _ARM),
    (_ARM, 1),
    (-_ARM, 1),
    (-_ARM, _ARM),
    (-1, _ARM),
    (-1, -_ARM),
    (-_ARM, -_ARM),
  ],
}


def _bottom(shape: str) -> float:
  """Return how far below its centre a shape of unit size ends."""
  if shape in _OUTLINES:
    return max(v for _, v in _OUTLINES[shape])
  return 0.78 if shape == 'box' else 1.0


def _paint_flat(canvas, thing, x, y, radius, colour, dark):
  """Draw a polygon: outline, body, and a lighter half towards the light."""
  points = _OUTLINES[thing.shape]
  _polygon(canvas, points, x, y, radius, dark)
  _polygon(canvas, points, x, y, 0.9 * radius, colour)
  # The points left of the axis and the axis: half of every symmetric shape.
  bright = [(u, v) for u, v in points if u <= 1e-6]
  _polygon(canvas, bright, x, y, 0.9 * radius, (255, 255, 255, 46))


def _paint_ball(canvas, thing, x, y, radius, colour, dark):
  """Draw a ball with light from the upper left."""
  del thing
  canvas.oval(x, y, radius, radius, dark)
  canvas.oval(x, y, 0.94 * radius, 0.94 * radius, _mix(colour, dark, 0.45))
  for i in range(12):
    part = 1 - i / 12
    shift = 0.3 * radius * (1 - part)
    body = _mix(_mix(colour, dark, 0.45), colour, min(1, 0.25 + i / 8))
    canvas.oval(
      x - shift, y - shift, 0.9 * part * radius, 0.9 * part * radius, body
    )
  for size, alpha in ((0.3, 60), (0.17, 150)):
    canvas.oval(
      x - 0.36 * radius,
      y - 0.38 * radius,
      size * radius,
      0.8 * size * radius,
      (255, 255, 255, alpha),
    )


def _paint_box(canvas, thing, x, y, radius, colour, dark):
  """Draw a box that shows its front, its top and its right side."""
  del thing
  front = [(-0.9, -0.5), (0.4, -0.5), (0.4, 0.78), (-0.9, 0.78)]
  top = [(-0.9, -0.5), (-0.4, -0.95), (0.9, -0.95), (0.4, -0.5)]
  side = [(0.4, -0.5), (0.9, -0.95), (0.9, 0.33), (0.4, 0.78)]
  _polygon(canvas, front, x, y, radius, colour)
  _polygon(canvas, top, x, y, radius, _mix(colour, (255, 255, 255), 0.35))
  _polygon(canvas, side, x, y, radius, dark)
  for face in (front, top, side):
    corners = [*face, face[0]]
    canvas.line(
      [v for a, b in corners for v in (x + radius * a, y + radius * b)],
      _mix(dark, (0, 0, 0), 0.3),
      width=3,
    )


def _paint_ring(canvas, thing, x, y, radius, colour, dark):
  """Draw a ring through which the background is seen."""
  del thing

  canvas.band(x, y, radius, 0.44 * radius, dark)
  canvas.band(x, y, 0.93 * radius, 0.3 * radius, colour)
  canvas.band(x, y, 0.88 * radius, 0.08 * radius, (255, 255, 255, 90))


_PAINTERS = {'ball': _paint_ball, 'box': _paint_box, 'ring': _paint_ring}
