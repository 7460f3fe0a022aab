"""The backgrounds of scenes, painted with Pillow.

Places and lengths are shares of the picture's side; y grows downwards.
"""

from collections.abc import Callable
import math
import random

import numpy as np
from PIL import Image, ImageDraw

SIZE = 224
# Drawn at twice the size and then reduced, which smooths the edges.
CANVAS = 2 * SIZE

HORIZON = {
  'meadow': 0.58,
  'beach': 0.42,
  'night': 0.66,
  'snow': 0.56,
  'road': 0.5,
  'room': 0.66,
  'lake': 0.5,
  'desert': 0.6,
}

_Colour = tuple[int, ...]
_Points = list[tuple[float, float]]


def _gradient(stops: list[tuple[float, _Colour]]) -> Image.Image:
  """Return a picture that changes colour from top to bottom.

  Args:
    stops: (height from 0 to 1, colour) from top to bottom; two stops at one
      height make an edge.
  """
  heights = np.linspace(0, 1, CANVAS)
  places = [place + 1e-6 * i for i, (place, _) in enumerate(stops)]
  column = np.stack(
    [np.interp(heights, places, [c[k] for _, c in stops]) for k in range(3)],
    axis=1,
  )
  column = column.round().astype(np.uint8)
  pixels = np.broadcast_to(column[:, None], (CANVAS, CANVAS, 3))
  return Image.fromarray(np.ascontiguousarray(pixels))


def pen_of(image: Image.Image) -> ImageDraw.ImageDraw:
  """Return a pen that mixes translucent colours with what is there."""
  return ImageDraw.Draw(image, 'RGBA')


def _disc(pen, x: float, y: float, radius: float, colour: _Colour):
  """Draw a disc; x, y and radius as shares of the picture's side."""
  box = [(x - radius) * CANVAS, (y - radius) * CANVAS]
  box += [(x + radius) * CANVAS, (y + radius) * CANVAS]
  pen.ellipse(box, fill=colour)


def _polygon(pen, points: _Points, colour: _Colour):
  """Draw a polygon; points as shares of the picture's side."""
  pen.polygon([(x * CANVAS, y * CANVAS) for x, y in points], fill=colour)


def _hill(pen, rng, top: float, height: float, colour: _Colour):
  """Draw a wavy hill whose foot is the lower edge of the picture."""
  phase, waves = rng.uniform(0, 6), rng.uniform(0.7, 1.6)
  xs = [i / 40 for i in range(41)]
  points = [
    (x, top - height * (0.5 + 0.5 * math.sin(phase + 6 * waves * x)))
    for x in xs
  ]
  _polygon(pen, [*points, (1, 1), (0, 1)], colour)


def _sun(pen, rng):
  x, y = rng.uniform(0.12, 0.88), rng.uniform(0.1, 0.16)
  for radius, alpha in ((0.13, 50), (0.1, 80)):
    _disc(pen, x, y, radius, (255, 240, 170, alpha))
  _disc(pen, x, y, 0.07, (255, 226, 96))


def _clouds(pen, rng):
  for _ in range(rng.randint(2, 3)):
    x, y = rng.uniform(0.1, 0.9), rng.uniform(0.07, 0.22)
    for dx, dy, radius in (
      (-0.07, 0.012, 0.035),
      (-0.02, -0.012, 0.05),
      (0.04, -0.002, 0.042),
      (0.085, 0.016, 0.028),
    ):
      _disc(pen, x + dx, y + dy, radius, (255, 255, 255, 235))


def _tree(pen, x: float, foot: float, crown: _Colour):
  _polygon(
    pen,
    [
      (x - 0.015, foot),
      (x - 0.01, foot - 0.2),
      (x + 0.01, foot - 0.2),
      (x + 0.015, foot),
    ],
    (112, 78, 50),
  )
  for dx, dy, radius in (
    (-0.05, -0.2, 0.06),
    (0.05, -0.2, 0.06),
    (0, -0.26, 0.075),
  ):
    _disc(pen, x + dx, foot + dy, radius, crown)
  _disc(pen, x - 0.02, foot - 0.28, 0.035, (255, 255, 255, 28))


def _palm(pen, rng):
  x = rng.choice((0.07, 0.93))
  lean = 0.04 if x < 0.5 else -0.04
  top = (x + lean, 0.26)
  _polygon(
    pen,
    [
      (x - 0.014, 0.68),
      (top[0] - 0.008, 0.26),
      (top[0] + 0.008, 0.26),
      (x + 0.014, 0.68),
    ],
    (126, 92, 56),
  )
  for angle in (-0.5, 0.1, 0.75, 2.4, 3.0, 3.6):
    end = (top[0] + 0.13 * math.cos(angle), top[1] + 0.1 * math.sin(angle))
    middle = (
      (top[0] + end[0]) / 2,
      (top[1] + end[1]) / 2 - 0.035,
    )
    _polygon(
      pen,
      [
        top,
        (middle[0], middle[1] - 0.012),
        end,
        (middle[0], middle[1] + 0.016),
      ],
      (38, 128, 66),
    )


def _fir(pen, x: float, foot: float):
  _polygon(
    pen,
    [
      (x - 0.012, foot),
      (x - 0.012, foot - 0.05),
      (x + 0.012, foot - 0.05),
      (x + 0.012, foot),
    ],
    (96, 70, 50),
  )
  for i, width in enumerate((0.085, 0.068, 0.048)):
    base = foot - 0.04 - 0.065 * i
    _polygon(
      pen,
      [(x - width, base), (x, base - 0.11), (x + width, base)],
      (40, 98 + 8 * i, 78),
    )
    _polygon(
      pen,
      [
        (x - width * 0.4, base - 0.066),
        (x, base - 0.11),
        (x + width * 0.4, base - 0.066),
        (x, base - 0.055),
      ],
      (244, 248, 252),
    )


def _tufts(pen, rng, count: int, top: float, colours: list[_Colour]):
  """Scatter short blades over the ground, longer the nearer they are."""
  for _ in range(count):
    y = rng.uniform(top + 0.03, 1)
    x, length = rng.random(), 0.012 + 0.03 * (y - top)
    colour = rng.choice(colours)
    pen.line(
      [
        x * CANVAS,
        y * CANVAS,
        (x + rng.uniform(-0.008, 0.008)) * CANVAS,
        (y - length) * CANVAS,
      ],
      fill=colour,
      width=2,
    )


def _meadow(rng, extra: str) -> Image.Image:
  h = HORIZON['meadow']
  image = _gradient(
    [
      (0, (96, 168, 236)),
      (h, (206, 232, 250)),
      (h, (128, 190, 84)),
      (1, (74, 148, 52)),
    ]
  )
  pen = pen_of(image)
  if extra == 'sun':
    _sun(pen, rng)
  elif extra == 'clouds':
    _clouds(pen, rng)
  _hill(pen, rng, h + 0.01, 0.1, (112, 176, 92))
  _polygon(
    pen, [(0, h + 0.02), (1, h + 0.02), (1, 1), (0, 1)], (104, 176, 70, 255)
  )
  _tufts(pen, rng, 110, h, [(60, 130, 46, 160), (150, 210, 96, 150)])
  if extra == 'tree':
    _tree(pen, rng.choice((0.07, 0.35, 0.65, 0.93)), h + 0.07, (52, 128, 58))
  elif extra == 'flowers':
    for _ in range(26):
      x, y = rng.random(), rng.uniform(h + 0.1, 0.98)
      petal = rng.choice([(255, 255, 255), (255, 224, 70), (250, 170, 210)])
      for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        _disc(pen, x + 0.008 * dx, y + 0.008 * dy, 0.007, petal)
      _disc(pen, x, y, 0.006, (240, 160, 30))
  return image


def _beach(rng, extra: str) -> Image.Image:
  h = HORIZON['beach']
  image = _gradient(
    [
      (0, (84, 176, 236)),
      (h, (214, 240, 250)),
      (h, (22, 120, 178)),
      (h + 0.2, (88, 196, 206)),
      (h + 0.2, (236, 212, 156)),
      (1, (220, 186, 124)),
    ]
  )
  pen = pen_of(image)
  if extra == 'sun':
    _sun(pen, rng)
  elif extra == 'clouds':
    _clouds(pen, rng)
  for _ in range(12):
    x, y = rng.random(), rng.uniform(h + 0.02, h + 0.15)
    pen.line(
      [x * CANVAS, y * CANVAS, (x + 0.07) * CANVAS, y * CANVAS],
      fill=(255, 255, 255, 90),
      width=2,
    )
  phase = rng.uniform(0, 6)
  shore = [
    (i / 40, h + 0.19 + 0.014 * math.sin(phase + i / 4)) for i in range(41)
  ]
  _polygon(pen, [*shore, (1, 1), (0, 1)], (255, 255, 255, 220))
  _polygon(
    pen, [*((x, y + 0.016) for x, y in shore), (1, 1), (0, 1)], (234, 208, 150)
  )
  for _ in range(130):
    _disc(
      pen,
      rng.random(),
      rng.uniform(h + 0.24, 1),
      0.003,
      rng.choice([(196, 160, 100, 170), (255, 240, 200, 190)]),
    )
  if extra == 'palm':
    _palm(pen, rng)
  return image


def _night(rng, extra: str) -> Image.Image:
  h = HORIZON['night']
  image = _gradient(
    [
      (0, (10, 14, 46)),
      (h, (54, 60, 124)),
      (h, (26, 44, 52)),
      (1, (16, 28, 34)),
    ]
  )
  pen = pen_of(image)
  for _ in range(70 if extra == 'stars' else 18):
    size = rng.choice((0.0025, 0.004, 0.0055))
    _disc(
      pen,
      rng.random(),
      rng.uniform(0, h - 0.1),
      size,
      (255, 250, 220, rng.randint(130, 255)),
    )
  if extra == 'moon':
    x, y = rng.uniform(0.12, 0.88), rng.uniform(0.11, 0.16)
    _disc(pen, x, y, 0.115, (240, 236, 200, 34))
    _disc(pen, x, y, 0.075, (244, 240, 212))
    for dx, dy, radius in ((-0.02, -0.015, 0.016), (0.025, 0.02, 0.012)):
      _disc(pen, x + dx, y + dy, radius, (216, 210, 182))
  _hill(pen, rng, h + 0.02, 0.12, (30, 42, 76))
  _hill(pen, rng, h + 0.06, 0.06, (24, 46, 50))
  return image


def _snow(rng, extra: str) -> Image.Image:
  h = HORIZON['snow']
  image = _gradient(
    [
      (0, (150, 172, 200)),
      (h, (220, 228, 238)),
      (h, (238, 242, 248)),
      (1, (212, 222, 238)),
    ]
  )
  pen = pen_of(image)
  _hill(pen, rng, h + 0.02, 0.13, (204, 214, 230))
  _hill(pen, rng, h + 0.08, 0.07, (236, 241, 248))
  if extra == 'fir':
    for _ in range(rng.randint(1, 3)):
      _fir(pen, rng.choice((0.06, 0.16, 0.35, 0.65, 0.84, 0.94)), h + 0.06)
  for _ in range(90 if extra == 'flakes' else 0):
    _disc(
      pen,
      rng.random(),
      rng.random(),
      rng.uniform(0.004, 0.009),
      (255, 255, 255, 225),
    )
  for _ in range(30):
    x, y = rng.random(), rng.uniform(h + 0.1, 1)
    pen.line(
      [x * CANVAS, y * CANVAS, (x + 0.05) * CANVAS, y * CANVAS],
      fill=(176, 192, 216, 90),
      width=3,
    )
  return image


def _road(rng, extra: str) -> Image.Image:
  h = HORIZON['road']
  image = _gradient(
    [
      (0, (122, 178, 226)),
      (h, (226, 232, 236)),
      (h, (150, 168, 100)),
      (1, (112, 132, 70)),
    ]
  )
  pen = pen_of(image)
  if extra == 'sun':
    _sun(pen, rng)
  elif extra == 'clouds':
    _clouds(pen, rng)
  x = 0.0
  while x < 1:  # A town far away.
    width, height = rng.uniform(0.04, 0.09), rng.uniform(0.03, 0.15)
    shade = rng.randint(148, 184)
    _polygon(
      pen,
      [(x, h), (x, h - height), (x + width, h - height), (x + width, h)],
      (shade, shade + 4, shade + 14),
    )
    x += width
  _polygon(pen, [(0.44, h), (0.56, h), (1.12, 1), (-0.12, 1)], (92, 94, 100))
  for side in (-1, 1):
    _polygon(
      pen,
      [
        (0.5 + side * 0.056, h),
        (0.5 + side * 0.06, h),
        (0.5 + side * 0.6, 1),
        (0.5 + side * 0.56, 1),
      ],
      (236, 236, 232),
    )
  for near in (0.08, 0.2, 0.38, 0.62, 0.9):
    far = near + 0.09
    _polygon(
      pen,
      [
        (0.5 - 0.022 * near, h + (1 - h) * near),
        (0.5 + 0.022 * near, h + (1 - h) * near),
        (0.5 + 0.022 * far, h + (1 - h) * far),
        (0.5 - 0.022 * far, h + (1 - h) * far),
      ],
      (250, 224, 110),
    )
  return image


def _room(rng, extra: str) -> Image.Image:
  h = HORIZON['room']
  image = _gradient(
    [
      (0, (226, 206, 178)),
      (h, (240, 224, 200)),
      (h, (166, 116, 72)),
      (1, (136, 90, 54)),
    ]
  )
  pen = pen_of(image)
  for i in range(1, 12):  # Stripes of the wallpaper.
    pen.line(
      [i / 12 * CANVAS, 0, i / 12 * CANVAS, h * CANVAS],
      fill=(206, 182, 150, 110),
      width=5,
    )
  for i in range(-8, 17):  # Boards.
    pen.line(
      [
        (0.5 + (i / 8 - 0.5) * 0.6) * CANVAS,
        h * CANVAS,
        (0.5 + (i / 8 - 0.5) * 1.5) * CANVAS,
        CANVAS,
      ],
      fill=(104, 66, 38, 150),
      width=2,
    )
  _polygon(pen, [(0, h - 0.03), (1, h - 0.03), (1, h), (0, h)], (250, 244, 232))
  x = rng.choice((0.25, 0.5, 0.75))
  if extra == 'window':
    _polygon(
      pen,
      [(x - 0.13, 0.07), (x + 0.13, 0.07), (x + 0.13, 0.37), (x - 0.13, 0.37)],
      (252, 250, 244),
    )
    for left in (x - 0.115, x + 0.008):
      for top in (0.085, 0.228):
        _polygon(
          pen,
          [
            (left, top),
            (left + 0.107, top),
            (left + 0.107, top + 0.127),
            (left, top + 0.127),
          ],
          (158, 206, 242),
        )
  elif extra == 'picture':
    _polygon(
      pen,
      [(x - 0.1, 0.1), (x + 0.1, 0.1), (x + 0.1, 0.27), (x - 0.1, 0.27)],
      (120, 84, 44),
    )
    _polygon(
      pen,
      [
        (x - 0.085, 0.115),
        (x + 0.085, 0.115),
        (x + 0.085, 0.255),
        (x - 0.085, 0.255),
      ],
      (238, 236, 222),
    )
    _polygon(
      pen,
      [
        (x - 0.085, 0.255),
        (x - 0.02, 0.16),
        (x + 0.03, 0.22),
        (x + 0.055, 0.19),
        (x + 0.085, 0.255),
      ],
      (120, 150, 160),
    )
  elif extra == 'lamp':
    pen.line(
      [x * CANVAS, 0, x * CANVAS, 0.1 * CANVAS], fill=(70, 60, 54), width=4
    )
    for radius, alpha in ((0.2, 40), (0.14, 50)):
      _disc(pen, x, 0.15, radius, (255, 246, 200, alpha))
    _polygon(
      pen,
      [(x - 0.04, 0.09), (x + 0.04, 0.09), (x + 0.09, 0.17), (x - 0.09, 0.17)],
      (196, 92, 62),
    )
  return image


def _lake(rng, extra: str) -> Image.Image:
  h = HORIZON['lake']
  image = _gradient(
    [
      (0, (120, 184, 232)),
      (h, (226, 238, 246)),
      (h, (122, 182, 214)),
      (1, (30, 96, 152)),
    ]
  )
  pen = pen_of(image)
  if extra == 'sun':
    _sun(pen, rng)
  elif extra == 'clouds':
    _clouds(pen, rng)
  elif extra == 'mountains':
    for x in (rng.uniform(0.05, 0.3), rng.uniform(0.45, 0.6), 0.9):
      top = h - rng.uniform(0.2, 0.3)
      _polygon(pen, [(x - 0.3, h), (x, top), (x + 0.3, h)], (118, 130, 152))
      _polygon(
        pen,
        [
          (x - 0.066, top + 0.066),
          (x, top),
          (x + 0.066, top + 0.066),
          (x + 0.02, top + 0.05),
          (x - 0.02, top + 0.075),
        ],
        (246, 248, 252),
      )
  _polygon(
    pen,
    [(0, h - 0.025), (1, h - 0.012), (1, h + 0.004), (0, h + 0.004)],
    (70, 122, 84),
  )
  for _ in range(70):
    y = rng.uniform(h + 0.02, 1)
    x, length = rng.random(), 0.03 + 0.12 * (y - h)
    pen.line(
      [x * CANVAS, y * CANVAS, (x + length) * CANVAS, y * CANVAS],
      fill=rng.choice([(255, 255, 255, 70), (16, 70, 124, 80)]),
      width=2 + int(4 * (y - h)),
    )
  return image


def _desert(rng, extra: str) -> Image.Image:
  h = HORIZON['desert']
  image = _gradient(
    [
      (0, (232, 150, 96)),
      (h, (252, 220, 160)),
      (h, (222, 158, 92)),
      (1, (196, 124, 64)),
    ]
  )
  pen = pen_of(image)
  if extra == 'sun':
    _sun(pen, rng)
  _hill(pen, rng, h + 0.03, 0.14, (212, 142, 84))
  _hill(pen, rng, h + 0.09, 0.07, (228, 164, 98))
  for i in range(9):
    y, phase = h + 0.14 + 0.035 * i, rng.uniform(0, 6)
    pen.line(
      [
        v
        for j in range(41)
        for v in (
          j / 40 * CANVAS,
          (y + 0.006 * math.sin(phase + j / 2)) * CANVAS,
        )
      ],
      fill=(180, 108, 54, 70),
      width=3,
    )
  if extra == 'cactus':
    x, foot = rng.choice((0.07, 0.35, 0.65, 0.93)), h + 0.1
    green = (64, 120, 74)
    for box, radius in (
      ((x - 0.022, foot - 0.25, x + 0.022, foot), 0.022),
      ((x - 0.075, foot - 0.18, x - 0.045, foot - 0.08), 0.015),
      ((x - 0.075, foot - 0.11, x, foot - 0.08), 0.015),
      ((x + 0.045, foot - 0.21, x + 0.075, foot - 0.1), 0.015),
      ((x, foot - 0.13, x + 0.075, foot - 0.1), 0.015),
    ):
      pen.rounded_rectangle(
        [v * CANVAS for v in box], radius * CANVAS, fill=green
      )
  return image


_PAINTERS: dict[str, Callable[[random.Random, str], Image.Image]] = {
  'meadow': _meadow,
  'beach': _beach,
  'night': _night,
  'snow': _snow,
  'road': _road,
  'room': _room,
  'lake': _lake,
  'desert': _desert,
}


def paint(background: str, extra: str, rng: random.Random) -> Image.Image:
  """Paint a background.

  Args:
    background: one of ``scene_types.BACKGROUNDS``.
    extra: one of its ``scene_types.EXTRAS``.
    rng: decides about details.

  Returns:
    An RGB picture of ``CANVAS`` x ``CANVAS`` pixels.
  """
  return _PAINTERS[background](rng, extra)
