"""What may stand in a background: sun, trees, a window, ...

Places and lengths are shares of the picture's side; y grows downwards.
"""

import math
import random

from data_prep.scenes.canvas import Canvas, Colour


def sun(canvas: Canvas, rng: random.Random):
  """Draw a sun with a glow."""
  x, y = rng.uniform(0.12, 0.88), rng.uniform(0.1, 0.16)
  for radius, alpha in ((0.13, 50), (0.1, 80)):
    canvas.disc(x, y, radius, (255, 240, 170, alpha))
  canvas.disc(x, y, 0.07, (255, 226, 96))


def clouds(canvas: Canvas, rng: random.Random):
  """Draw two or three clouds."""
  for _ in range(rng.randint(2, 3)):
    x, y = rng.uniform(0.1, 0.9), rng.uniform(0.07, 0.22)
    for dx, dy, radius in (
      (-0.07, 0.012, 0.035),
      (-0.02, -0.012, 0.05),
      (0.04, -0.002, 0.042),
      (0.085, 0.016, 0.028),
    ):
      canvas.disc(x + dx, y + dy, radius, (255, 255, 255, 235))


def tree(canvas: Canvas, x: float, foot: float, crown: Colour):
  """Draw a tree with a round crown."""
  canvas.polygon(
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
    canvas.disc(x + dx, foot + dy, radius, crown)
  canvas.disc(x - 0.02, foot - 0.28, 0.035, (255, 255, 255, 28))


def palm(canvas: Canvas, rng: random.Random):
  """Draw a palm at one side."""
  x = rng.choice((0.07, 0.93))
  lean = 0.04 if x < 0.5 else -0.04
  top = (x + lean, 0.26)
  canvas.polygon(
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
    canvas.polygon(
      [
        top,
        (middle[0], middle[1] - 0.012),
        end,
        (middle[0], middle[1] + 0.016),
      ],
      (38, 128, 66),
    )


def fir(canvas: Canvas, x: float, foot: float):
  """Draw a fir tree with snow on it."""
  canvas.polygon(
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
    canvas.polygon(
      [(x - width, base), (x, base - 0.11), (x + width, base)],
      (40, 98 + 8 * i, 78),
    )
    canvas.polygon(
      [
        (x - width * 0.4, base - 0.066),
        (x, base - 0.11),
        (x + width * 0.4, base - 0.066),
        (x, base - 0.055),
      ],
      (244, 248, 252),
    )


def tufts(
  canvas: Canvas,
  rng: random.Random,
  count: int,
  top: float,
  colours: list[Colour],
):
  """Scatter short blades over the ground, longer the nearer they are."""
  for _ in range(count):
    y = rng.uniform(top + 0.03, 1)
    x, length = rng.random(), 0.012 + 0.03 * (y - top)
    colour = rng.choice(colours)
    canvas.line(
      [
        x,
        y,
        (x + rng.uniform(-0.008, 0.008)),
        (y - length),
      ],
      colour,
      width=2,
    )


def flowers(canvas: Canvas, rng: random.Random, h: float):
  """Draw flowers on the ground below a horizon."""
  for _ in range(26):
    x, y = rng.random(), rng.uniform(h + 0.1, 0.98)
    petal = rng.choice([(255, 255, 255), (255, 224, 70), (250, 170, 210)])
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
      canvas.disc(x + 0.008 * dx, y + 0.008 * dy, 0.007, petal)
    canvas.disc(x, y, 0.006, (240, 160, 30))


def moon(canvas: Canvas, rng: random.Random):
  """Draw a full moon with spots."""
  x, y = rng.uniform(0.12, 0.88), rng.uniform(0.11, 0.16)
  canvas.disc(x, y, 0.115, (240, 236, 200, 34))
  canvas.disc(x, y, 0.075, (244, 240, 212))
  for dx, dy, radius in ((-0.02, -0.015, 0.016), (0.025, 0.02, 0.012)):
    canvas.disc(x + dx, y + dy, radius, (216, 210, 182))


def window(canvas: Canvas, x: float):
  """Draw a window of four panes."""
  canvas.polygon(
    [(x - 0.13, 0.07), (x + 0.13, 0.07), (x + 0.13, 0.37), (x - 0.13, 0.37)],
    (252, 250, 244),
  )
  for left in (x - 0.115, x + 0.008):
    for top in (0.085, 0.228):
      canvas.polygon(
        [
          (left, top),
          (left + 0.107, top),
          (left + 0.107, top + 0.127),
          (left, top + 0.127),
        ],
        (158, 206, 242),
      )


def painting(canvas: Canvas, x: float):
  """Draw a framed painting."""
  canvas.polygon(
    [(x - 0.1, 0.1), (x + 0.1, 0.1), (x + 0.1, 0.27), (x - 0.1, 0.27)],
    (120, 84, 44),
  )
  canvas.polygon(
    [
      (x - 0.085, 0.115),
      (x + 0.085, 0.115),
      (x + 0.085, 0.255),
      (x - 0.085, 0.255),
    ],
    (238, 236, 222),
  )
  canvas.polygon(
    [
      (x - 0.085, 0.255),
      (x - 0.02, 0.16),
      (x + 0.03, 0.22),
      (x + 0.055, 0.19),
      (x + 0.085, 0.255),
    ],
    (120, 150, 160),
  )


def lamp(canvas: Canvas, x: float):
  """Draw a lamp that shines."""
  canvas.line([x, 0, x, 0.1], (70, 60, 54), width=4)
  for radius, alpha in ((0.2, 40), (0.14, 50)):
    canvas.disc(x, 0.15, radius, (255, 246, 200, alpha))
  canvas.polygon(
    [(x - 0.04, 0.09), (x + 0.04, 0.09), (x + 0.09, 0.17), (x - 0.09, 0.17)],
    (196, 92, 62),
  )


def mountains(canvas: Canvas, rng: random.Random, h: float):
  """Draw three snowy mountains on a horizon."""
  for x in (rng.uniform(0.05, 0.3), rng.uniform(0.45, 0.6), 0.9):
    top = h - rng.uniform(0.2, 0.3)
    canvas.polygon([(x - 0.3, h), (x, top), (x + 0.3, h)], (118, 130, 152))
    canvas.polygon(
      [
        (x - 0.066, top + 0.066),
        (x, top),
        (x + 0.066, top + 0.066),
        (x + 0.02, top + 0.05),
        (x - 0.02, top + 0.075),
      ],
      (246, 248, 252),
    )


def cactus(canvas: Canvas, rng: random.Random, h: float):
  """Draw a cactus with two arms."""
  x, foot = rng.choice((0.07, 0.35, 0.65, 0.93)), h + 0.1
  green = (64, 120, 74)
  for box, radius in (
    ((x - 0.022, foot - 0.25, x + 0.022, foot), 0.022),
    ((x - 0.075, foot - 0.18, x - 0.045, foot - 0.08), 0.015),
    ((x - 0.075, foot - 0.11, x, foot - 0.08), 0.015),
    ((x + 0.045, foot - 0.21, x + 0.075, foot - 0.1), 0.015),
    ((x, foot - 0.13, x + 0.075, foot - 0.1), 0.015),
  ):
    canvas.rounded(box, radius, green)
