"""The backgrounds of scenes, painted with Pillow.

Places and lengths are shares of the picture's side; y grows downwards.
"""

from collections.abc import Callable
import math
import random

from data_prep.scenes import props
from data_prep.scenes.canvas import Canvas

_HORIZON = {
  'meadow': 0.58,
  'beach': 0.42,
  'night': 0.66,
  'snow': 0.56,
  'road': 0.5,
  'room': 0.66,
  'lake': 0.5,
  'desert': 0.6,
}


def _meadow(rng, extra: str) -> Canvas:
  h = _HORIZON['meadow']
  canvas = Canvas(
    [
      (0, (96, 168, 236)),
      (h, (206, 232, 250)),
      (h, (128, 190, 84)),
      (1, (74, 148, 52)),
    ]
  )
  if extra == 'sun':
    props.sun(canvas, rng)
  elif extra == 'clouds':
    props.clouds(canvas, rng)
  canvas.hill(rng, h + 0.01, 0.1, (112, 176, 92))
  canvas.polygon(
    [(0, h + 0.02), (1, h + 0.02), (1, 1), (0, 1)], (104, 176, 70, 255)
  )
  props.tufts(canvas, rng, 110, h, [(60, 130, 46, 160), (150, 210, 96, 150)])
  if extra == 'tree':
    props.tree(
      canvas, rng.choice((0.07, 0.35, 0.65, 0.93)), h + 0.07, (52, 128, 58)
    )
  elif extra == 'flowers':
    props.flowers(canvas, rng, h)
  return canvas


def _beach(rng, extra: str) -> Canvas:
  h = _HORIZON['beach']
  canvas = Canvas(
    [
      (0, (84, 176, 236)),
      (h, (214, 240, 250)),
      (h, (22, 120, 178)),
      (h + 0.2, (88, 196, 206)),
      (h + 0.2, (236, 212, 156)),
      (1, (220, 186, 124)),
    ]
  )
  if extra == 'sun':
    props.sun(canvas, rng)
  elif extra == 'clouds':
    props.clouds(canvas, rng)
  for _ in range(12):
    x, y = rng.random(), rng.uniform(h + 0.02, h + 0.15)
    canvas.line(
      [x, y, (x + 0.07), y],
      (255, 255, 255, 90),
      width=2,
    )
  phase = rng.uniform(0, 6)
  shore = [
    (i / 40, h + 0.19 + 0.014 * math.sin(phase + i / 4)) for i in range(41)
  ]
  canvas.polygon([*shore, (1, 1), (0, 1)], (255, 255, 255, 220))
  canvas.polygon(
    [*((x, y + 0.016) for x, y in shore), (1, 1), (0, 1)], (234, 208, 150)
  )
  for _ in range(130):
    canvas.disc(
      rng.random(),
      rng.uniform(h + 0.24, 1),
      0.003,
      rng.choice([(196, 160, 100, 170), (255, 240, 200, 190)]),
    )
  if extra == 'palm':
    props.palm(canvas, rng)
  return canvas


def _night(rng, extra: str) -> Canvas:
  h = _HORIZON['night']
  canvas = Canvas(
    [
      (0, (10, 14, 46)),
      (h, (54, 60, 124)),
      (h, (26, 44, 52)),
      (1, (16, 28, 34)),
    ]
  )
  for _ in range(70 if extra == 'stars' else 18):
    size = rng.choice((0.0025, 0.004, 0.0055))
    canvas.disc(
      rng.random(),
      rng.uniform(0, h - 0.1),
      size,
      (255, 250, 220, rng.randint(130, 255)),
    )
  if extra == 'moon':
    props.moon(canvas, rng)
  canvas.hill(rng, h + 0.02, 0.12, (30, 42, 76))
  canvas.hill(rng, h + 0.06, 0.06, (24, 46, 50))
  return canvas


def _snow(rng, extra: str) -> Canvas:
  h = _HORIZON['snow']
  canvas = Canvas(
    [
      (0, (150, 172, 200)),
      (h, (220, 228, 238)),
      (h, (238, 242, 248)),
      (1, (212, 222, 238)),
    ]
  )
  canvas.hill(rng, h + 0.02, 0.13, (204, 214, 230))
  canvas.hill(rng, h + 0.08, 0.07, (236, 241, 248))
  if extra == 'fir':
    for _ in range(rng.randint(1, 3)):
      props.fir(
        canvas, rng.choice((0.06, 0.16, 0.35, 0.65, 0.84, 0.94)), h + 0.06
      )
  for _ in range(90 if extra == 'flakes' else 0):
    canvas.disc(
      rng.random(),
      rng.random(),
      rng.uniform(0.004, 0.009),
      (255, 255, 255, 225),
    )
  for _ in range(30):
    x, y = rng.random(), rng.uniform(h + 0.1, 1)
    canvas.line(
      [x, y, (x + 0.05), y],
      (176, 192, 216, 90),
      width=3,
    )
  return canvas


def _road(rng, extra: str) -> Canvas:
  h = _HORIZON['road']
  canvas = Canvas(
    [
      (0, (122, 178, 226)),
      (h, (226, 232, 236)),
      (h, (150, 168, 100)),
      (1, (112, 132, 70)),
    ]
  )
  if extra == 'sun':
    props.sun(canvas, rng)
  elif extra == 'clouds':
    props.clouds(canvas, rng)
  x = 0.0
  while x < 1:  # A town far away.
    width, height = rng.uniform(0.04, 0.09), rng.uniform(0.03, 0.15)
    shade = rng.randint(148, 184)
    canvas.polygon(
      [(x, h), (x, h - height), (x + width, h - height), (x + width, h)],
      (shade, shade + 4, shade + 14),
    )
    x += width
  canvas.polygon([(0.44, h), (0.56, h), (1.12, 1), (-0.12, 1)], (92, 94, 100))
  for side in (-1, 1):
    canvas.polygon(
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
    canvas.polygon(
      [
        (0.5 - 0.022 * near, h + (1 - h) * near),
        (0.5 + 0.022 * near, h + (1 - h) * near),
        (0.5 + 0.022 * far, h + (1 - h) * far),
        (0.5 - 0.022 * far, h + (1 - h) * far),
      ],
      (250, 224, 110),
    )
  return canvas


def _room(rng, extra: str) -> Canvas:
  h = _HORIZON['room']
  canvas = Canvas(
    [
      (0, (226, 206, 178)),
      (h, (240, 224, 200)),
      (h, (166, 116, 72)),
      (1, (136, 90, 54)),
    ]
  )
  for i in range(1, 12):  # Stripes of the wallpaper.
    canvas.line(
      [i / 12, 0, i / 12, h],
      (206, 182, 150, 110),
      width=5,
    )
  for i in range(-8, 17):  # Boards.
    canvas.line(
      [
        (0.5 + (i / 8 - 0.5) * 0.6),
        h,
        (0.5 + (i / 8 - 0.5) * 1.5),
        1,
      ],
      (104, 66, 38, 150),
      width=2,
    )
  canvas.polygon(
    [(0, h - 0.03), (1, h - 0.03), (1, h), (0, h)], (250, 244, 232)
  )
  x = rng.choice((0.25, 0.5, 0.75))
  if extra == 'window':
    props.window(canvas, x)
  elif extra == 'picture':
    props.painting(canvas, x)
  elif extra == 'lamp':
    props.lamp(canvas, x)
  return canvas


def _lake(rng, extra: str) -> Canvas:
  h = _HORIZON['lake']
  canvas = Canvas(
    [
      (0, (120, 184, 232)),
      (h, (226, 238, 246)),
      (h, (122, 182, 214)),
      (1, (30, 96, 152)),
    ]
  )
  if extra == 'sun':
    props.sun(canvas, rng)
  elif extra == 'clouds':
    props.clouds(canvas, rng)
  elif extra == 'mountains':
    props.mountains(canvas, rng, h)
  canvas.polygon(
    [(0, h - 0.025), (1, h - 0.012), (1, h + 0.004), (0, h + 0.004)],
    (70, 122, 84),
  )
  for _ in range(70):
    y = rng.uniform(h + 0.02, 1)
    x, length = rng.random(), 0.03 + 0.12 * (y - h)
    canvas.line(
      [x, y, (x + length), y],
      rng.choice([(255, 255, 255, 70), (16, 70, 124, 80)]),
      width=2 + int(4 * (y - h)),
    )
  return canvas


def _desert(rng, extra: str) -> Canvas:
  h = _HORIZON['desert']
  canvas = Canvas(
    [
      (0, (232, 150, 96)),
      (h, (252, 220, 160)),
      (h, (222, 158, 92)),
      (1, (196, 124, 64)),
    ]
  )
  if extra == 'sun':
    props.sun(canvas, rng)
  canvas.hill(rng, h + 0.03, 0.14, (212, 142, 84))
  canvas.hill(rng, h + 0.09, 0.07, (228, 164, 98))
  for i in range(9):
    y, phase = h + 0.14 + 0.035 * i, rng.uniform(0, 6)
    canvas.line(
      [
        v
        for j in range(41)
        for v in (
          j / 40,
          (y + 0.006 * math.sin(phase + j / 2)),
        )
      ],
      (180, 108, 54, 70),
      width=3,
    )
  if extra == 'cactus':
    props.cactus(canvas, rng, h)
  return canvas


_PAINTERS: dict[str, Callable[[random.Random, str], Canvas]] = {
  'meadow': _meadow,
  'beach': _beach,
  'night': _night,
  'snow': _snow,
  'road': _road,
  'room': _room,
  'lake': _lake,
  'desert': _desert,
}


def paint(background: str, extra: str, rng: random.Random) -> Canvas:
  """Paint a background.

  Args:
    background: one of ``scene_types.BACKGROUNDS``.
    extra: one of its ``scene_types.EXTRAS``.
    rng: decides about details.

  Returns:
    A canvas to draw the objects on.
  """
  return _PAINTERS[background](rng, extra)
