"""What people say about a scene: a small grammar.

Nobody mentions everything: a sentence speaks of one object or of all, names
the colour mostly, size, place and background often, and puts each in one of
several ways.
"""

import collections
import random

from data_prep.scenes.types import Scene, Thing
from mrnn_jax.data import vocabulary

MIN_WORDS = 5
MAX_WORDS = 18

_NOUNS = {
  'ball': ('ball', 'ball', 'ball', 'sphere', 'globe'),
  'box': ('box', 'box', 'cube', 'cube', 'block', 'crate'),
  'triangle': ('triangle', 'triangle', 'triangle', 'pyramid', 'wedge'),
  'star': ('star', 'star', 'star', 'five-pointed star'),
  'heart': ('heart', 'heart', 'heart', 'heart shape'),
  'ring': ('ring', 'ring', 'ring', 'hoop', 'circle'),
  'diamond': ('diamond', 'diamond', 'diamond', 'gem', 'rhombus'),
  'cross': ('cross', 'cross', 'cross', 'plus sign'),
}
_PLURALS = {
  'ball': 'balls',
  'box': 'boxes',
  'triangle': 'triangles',
  'star': 'stars',
  'heart': 'hearts',
  'ring': 'rings',
  'diamond': 'diamonds',
  'cross': 'crosses',
}
_COLOURS = {
  'red': ('red', 'red', 'red', 'red', 'bright red', 'scarlet'),
  'orange': ('orange', 'orange', 'orange', 'bright orange'),
  'yellow': ('yellow', 'yellow', 'yellow', 'golden', 'bright yellow'),
  'green': ('green', 'green', 'green', 'green', 'dark green'),
  'blue': ('blue', 'blue', 'blue', 'blue', 'deep blue', 'dark blue'),
  'purple': ('purple', 'purple', 'purple', 'violet'),
  'pink': ('pink', 'pink', 'pink', 'pink', 'light pink', 'rosy'),
  'white': ('white', 'white', 'white', 'plain white', 'pale'),
  'black': ('black', 'black', 'black', 'dark'),
}
_SIZES = {
  'small': ('small', 'small', 'little', 'tiny'),
  'medium': ('medium-sized', 'middle-sized'),
  'big': ('big', 'big', 'large', 'large', 'huge', 'giant'),
}
# How often somebody bothers to mention a size.
_SIZE_SAID = {'small': 0.5, 'medium': 0.1, 'big': 0.55}
_PLACES = {
  'left': ('on the left', 'on the left side', 'to the left', 'at the left'),
  'middle': ('in the middle', 'in the center', 'at the center'),
  'right': ('on the right', 'on the right side', 'to the right'),
}
_VERBS = {
  'ground': ('is', 'is', 'lies', 'sits', 'stands', 'rests'),
  'air': ('floats', 'floats', 'hovers', 'hangs', 'is flying', 'is floating'),
}
_PARTICIPLES = {
  'ground': ('lying', 'sitting', 'standing', 'resting', 'placed'),
  'air': ('floating', 'hovering', 'hanging', 'flying', 'soaring'),
}
# Where an object on the ground or in the air is, by background.
_WHERE: dict[str, dict[str, tuple[str, ...]]] = {
  'meadow': {
    'ground': ('on the grass', 'in a green meadow', 'in a field', 'on a lawn'),
    'air': ('over the grass', 'above a green meadow', 'in a blue sky'),
  },
  'beach': {
    'ground': ('on the sand', 'on a beach', 'at the beach', 'by the sea'),
    'air': ('above the beach', 'over the ocean', 'in the sky by the sea'),
  },
  'night': {
    'ground': ('in the dark', 'on the dark ground', 'on a hill at night'),
    'air': ('in the night sky', 'in the dark sky', 'above dark hills'),
  },
  'snow': {
    'ground': ('in the snow', 'on the snow', 'on snowy ground'),
    'air': ('above the snow', 'over a snowy field', 'in a gray winter sky'),
  },
  'road': {
    'ground': ('on the road', 'on a street', 'on an empty highway'),
    'air': ('above the road', 'over a street', 'in front of the city'),
  },
  'room': {
    'ground': ('on the floor', 'on a wooden floor', 'in a room'),
    'air': ('in front of the wall', 'in a room', 'above the floor'),
  },
  'lake': {
    'ground': ('in the water', 'on a lake', 'on the water', 'in a blue lake'),
    'air': ('over the lake', 'above the water', 'in the sky over a lake'),
  },
  'desert': {
    'ground': ('in the desert', 'on the hot sand', 'among the dunes'),
    'air': ('above the desert', 'over the dunes', 'in the orange sky'),
  },
}
# The background as the place of the whole picture.
_SETTINGS = {
  'meadow': ('outside on the grass', 'in a meadow', 'on a summer day'),
  'beach': ('at the beach', 'at the seaside', 'on a sunny beach'),
  'night': ('at night', 'on a dark night', 'in the evening'),
  'snow': ('in winter', 'in a snowy landscape', 'on a cold day'),
  'road': ('near a city', 'on a long straight road', 'outside of town'),
  'room': ('indoors', 'inside a room', 'in an empty room'),
  'lake': ('at a lake', 'by the water', 'at a calm lake'),
  'desert': ('in the desert', 'in a dry sandy place', 'in a hot desert'),
}
_EXTRAS = {
  'sun': ('under the sun', 'while the sun shines', 'with the sun in the sky'),
  'clouds': ('under white clouds', 'under a cloudy sky', 'below some clouds'),
  'tree': ('near a tree', 'with a tree behind', 'beside a leafy tree'),
  'flowers': ('among flowers', 'with small flowers around'),
  'palm': ('near a palm tree', 'with a palm tree at the side'),
  'moon': ('under the moon', 'with a full moon', 'in the moonlight'),
  'stars': ('under the stars', 'below a starry sky'),
  'flakes': ('while it is snowing', 'with snow falling', 'in falling snow'),
  'fir': ('near fir trees', 'with evergreen trees behind'),
  'window': ('near a window', 'with a window in the wall'),
  'picture': ('with a picture on the wall', 'beside a framed painting'),
  'lamp': ('under a lamp', 'with a lamp above'),
  'mountains': ('with mountains behind', 'before snowy mountains'),
  'cactus': ('near a cactus', 'with a cactus standing by'),
}
_NUMBERS = {2: 'two', 3: 'three'}
_COLUMN_ORDER = {'left': 0, 'middle': 1, 'right': 2}
_SIZE_ORDER = {'small': 0, 'medium': 1, 'big': 2}


def describe(scene: Scene, count: int, rng: random.Random) -> list[str]:
  """Return different sentences about a scene.

  Args:
    scene: what is to be seen.
    count: how many sentences.
    rng: decides about what is said and how.

  Returns:
    ``count`` sentences of 5 to 18 words, each with a capital and a full stop.
  """
  sentences: list[str] = []
  while len(sentences) < count:
    text = ' '.join(_sentence(scene, rng).split())
    if not MIN_WORDS <= len(vocabulary.tokenize(text)) <= MAX_WORDS:
      continue
    text = text[0].upper() + text[1:] + ' .'
    if text not in sentences:
      sentences.append(text)
  return sentences


def _sentence(scene: Scene, rng: random.Random) -> str:
  """Return one sentence in one of the forms that fit the scene."""
  forms = [_about_one, _about_one, _there_is, _picture_of]
  if len(scene.things) > 1:
    forms += [_about_two, _about_two, _relation, _relation, _both_sides]
    forms += [_how_many]
  return rng.choice(forms)(scene, rng)


def _name(thing: Thing, rng: random.Random, article: str = 'a') -> str:
  """Name an object: article, often size and colour, noun."""
  words = []
  if rng.random() < _SIZE_SAID[thing.size]:
    words.append(rng.choice(_SIZES[thing.size]))
  if rng.random() < 0.92:
    words.append(rng.choice(_COLOURS[thing.colour]))
  words.append(rng.choice(_NOUNS[thing.shape]))
  name = ' '.join(words)
  if article == 'a' and name[0] in 'aeiou':
    article = 'an'
  return f'{article} {name}'


def _maybe(rng: random.Random, share: float, *choices: str) -> str:
  """Return one of the choices, or nothing."""
  return rng.choice(choices) if rng.random() < share else ''


def _where(scene: Scene, thing: Thing, rng: random.Random) -> str:
  """Say where an object is: in the background, in the picture, or both."""
  ground = rng.choice(_WHERE[scene.background][thing.height])
  place = rng.choice(_PLACES[thing.column])
  return rng.choices((ground, f'{ground} {place}', place), (6, 2, 1))[0]


def _around(scene: Scene, rng: random.Random, share: float = 0.3) -> str:
  """Mention what else is in the picture, sometimes."""
  if not scene.extra or rng.random() > share:
    return ''
  return rng.choice(_EXTRAS[scene.extra])


def _about_one(scene: Scene, rng: random.Random) -> str:
  thing = rng.choice(scene.things)
  forms = _VERBS if rng.random() < 0.6 else _PARTICIPLES
  verb = rng.choice(forms[thing.height])
  return (
    f'{_name(thing, rng)} {verb} {_where(scene, thing, rng)}'
    f' {_around(scene, rng)}'
  )


def _there_is(scene: Scene, rng: random.Random) -> str:
  thing = rng.choice(scene.things)
  start = rng.choice(
    (
      'there is',
      'we see',
      'you can see',
      'someone has put' if thing.height == 'ground' else 'up high is',
    )
  )
  return (
    f'{start} {_name(thing, rng)} {_where(scene, thing, rng)}'
    f' {_around(scene, rng)}'
  )


def _picture_of(scene: Scene, rng: random.Random) -> str:
  thing = rng.choice(scene.things)
  start = rng.choice(
    ('a picture of', 'a view of', 'this is', 'it shows', 'an image of')
  )
  return (
    f'{start} {_name(thing, rng)} {rng.choice(_SETTINGS[scene.background])}'
    f' {_around(scene, rng)}'
  )


def _about_two(scene: Scene, rng: random.Random) -> str:
  first, second = rng.sample(scene.things, 2)
  pair = f'{_name(first, rng)} and {_name(second, rng)}'
  if first.height == second.height:
    verb = rng.choice(
      {
        'ground': ('are', 'lie', 'sit', 'stand', 'side by side'),
        'air': ('float', 'hover', 'fly', 'hang', 'are floating'),
      }[first.height]
    )
    where = rng.choice(_WHERE[scene.background][first.height])
  else:
    verb = _maybe(rng, 0.3, 'are seen', 'together', 'can be seen')
    where = rng.choice(_SETTINGS[scene.background])
  return f'{pair} {verb} {where} {_around(scene, rng, 0.2)}'


def _relation(scene: Scene, rng: random.Random) -> str:
  first, second = rng.sample(scene.things, 2)
  relations = ['next to', 'not far from', 'and near it']
  if first.height != second.height:
    above = first.height == 'air'
    relations += ['above', 'higher than'] if above else ['below', 'under']
  if _COLUMN_ORDER[first.column] < _COLUMN_ORDER[second.column]:
    relations += ['to the left of', 'left of']
  else:
    relations += ['to the right of', 'right of']
  if _SIZE_ORDER[first.size] > _SIZE_ORDER[second.size]:
    relations += ['bigger than', 'larger than']
  elif _SIZE_ORDER[first.size] < _SIZE_ORDER[second.size]:
    relations += ['smaller than']
  setting = _maybe(rng, 0.5, *_SETTINGS[scene.background])
  verb = _maybe(rng, 0.5, 'is')
  relation = rng.choice(relations)
  if relation.startswith('and'):
    verb = ''
  elif relation.endswith('than'):
    verb = 'is'
  return f'{_name(first, rng)} {verb} {relation} {_name(second, rng)} {setting}'


def _both_sides(scene: Scene, rng: random.Random) -> str:
  first, second = rng.sample(scene.things, 2)
  second_place = rng.choice(_PLACES[second.column])
  link = rng.choice(('and', 'while', ', and'))
  verb = 'is' if link == 'while' else _maybe(rng, 0.3, 'is')
  return (
    f'{rng.choice(_PLACES[first.column])} is {_name(first, rng)} {link}'
    f' {second_place} {verb} {_name(second, rng)}'
  )


def _how_many(scene: Scene, rng: random.Random) -> str:
  """Count objects: those of one shape or colour if there are several."""
  shapes = collections.Counter(thing.shape for thing in scene.things)
  colours = collections.Counter(thing.colour for thing in scene.things)
  shape, num_shape = shapes.most_common(1)[0]
  colour, num_colour = colours.most_common(1)[0]
  if num_shape > 1:
    what = f'{_NUMBERS[num_shape]} {_PLURALS[shape]}'
  elif num_colour > 1:
    what = f'{_NUMBERS[num_colour]} {colour} {rng.choice(_SHAPES_WORDS)}'
  else:
    mood = rng.choice(('', 'colorful', 'different', 'bright'))
    what = f'{_NUMBERS[len(scene.things)]} {mood} {rng.choice(_SHAPES_WORDS)}'
  start = _maybe(rng, 0.4, 'there are', 'we see', 'a picture of')
  setting = rng.choice(_SETTINGS[scene.background])
  return f'{start} {what} {setting} {_around(scene, rng, 0.5)}'


_SHAPES_WORDS = ('shapes', 'objects', 'things', 'figures', 'toys')
