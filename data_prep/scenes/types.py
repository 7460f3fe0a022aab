"""What a scene consists of."""

import dataclasses

BACKGROUNDS = (
  'meadow',
  'beach',
  'night',
  'snow',
  'road',
  'room',
  'lake',
  'desert',
)
SHAPES = (
  'ball',
  'box',
  'triangle',
  'star',
  'heart',
  'ring',
  'diamond',
  'cross',
)
COLOURS = (
  'red',
  'orange',
  'yellow',
  'green',
  'blue',
  'purple',
  'pink',
  'white',
  'black',
)
SIZES = ('small', 'medium', 'big')
COLUMNS = ('left', 'middle', 'right')
HEIGHTS = ('ground', 'air')
# What else may be in the picture, by background.
EXTRAS = {
  'meadow': ('', 'sun', 'clouds', 'tree', 'flowers'),
  'beach': ('', 'sun', 'clouds', 'palm'),
  'night': ('moon', 'stars'),
  'snow': ('', 'flakes', 'fir'),
  'road': ('', 'clouds', 'sun'),
  'room': ('', 'window', 'picture', 'lamp'),
  'lake': ('', 'mountains', 'sun', 'clouds'),
  'desert': ('', 'cactus', 'sun'),
}


@dataclasses.dataclass(frozen=True)
class Thing:
  """An object of a scene: one value of each tuple above."""

  shape: str
  colour: str
  size: str
  column: str
  height: str


@dataclasses.dataclass(frozen=True)
class Scene:
  """A background, something that belongs to it, and one to three objects.

  Attributes:
    background: one of ``BACKGROUNDS``.
    extra: one of its ``EXTRAS``; '' is nothing.
    things: the objects, each in a column of its own.
    seed: decides what the above leaves open (shades, exact places).
  """

  background: str
  extra: str
  things: tuple[Thing, ...]
  seed: int
