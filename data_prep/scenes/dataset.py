"""Scenes: pictures and sentences that the program makes itself.

A scene is a background with one to three objects, each with a shape, a
colour, a size and a place.  Some combinations of background, shape and colour
are kept for the test split: every test picture shows one that no training
picture shows, though each of its parts is well known.  Everything follows from
a seed.
"""

from collections.abc import Iterable
import dataclasses
import itertools
import random

from etils import epath

from data_prep import records
from data_prep.scenes import pictures, sentences
from data_prep.scenes.types import (
  BACKGROUNDS,
  COLOURS,
  COLUMNS,
  EXTRAS,
  HEIGHTS,
  SHAPES,
  SIZES,
  Scene,
  Thing,
)
from data_prep.writing import places
from mrnn_jax.encoders import photos
from mrnn_jax.runtime import progress

# To be raised whenever the same seed begins to give other pictures.
VERSION = 1
NUM_SCENES = 2000
NUM_SENTENCES = 5

_HELD_OUT_COLOURS = 2  # For each background and shape.


@dataclasses.dataclass(frozen=True)
class Scenes:
  """Drawn data before it is drawn.

  Attributes:
    scenes: image id -> scene, training first, then validation, then test.
    raw: sentences and splits, as a reader returns them.
  """

  scenes: dict[str, Scene]
  raw: records.RawDataset


def generate(num_scenes: int = NUM_SCENES, seed: int = 0) -> Scenes:
  """Invent scenes and what people say about them.

  Args:
    num_scenes: pictures in all; an eighth each is for validation and test.
    seed: decides everything.

  Returns:
    The scenes, five sentences for each, and the three splits.
  """
  num_held_back = num_scenes // 8
  sizes = {
    'train': num_scenes - 2 * num_held_back,
    'validation': num_held_back,
    'test': num_held_back,
  }
  rng = random.Random(f'scenes {VERSION} {seed}')
  held_out = held_out_combinations(seed)
  scenes: dict[str, Scene] = {}
  captions: dict[str, list[str]] = {}
  splits: dict[str, list[str]] = {}
  numbers = itertools.count()
  for split, size in sizes.items():
    splits[split] = []
    for _ in range(size):
      image_id = f'scene_{next(numbers):05d}'
      scene = _invent(rng, held_out, split == 'test')
      scenes[image_id] = scene
      captions[image_id] = sentences.describe(scene, NUM_SENTENCES, rng)
      splits[split].append(image_id)
  return Scenes(scenes, records.RawDataset(captions, splits))


def held_out_combinations(seed: int) -> set[tuple[str, str, str]]:
  """Choose the (background, shape, colour) that training never shows.

  Args:
    seed: decides.

  Returns:
    Two colours for each background and shape.
  """
  rng = random.Random(f'held out {seed}')
  return {
    (background, shape, colour)
    for background in BACKGROUNDS
    for shape in SHAPES
    for colour in rng.sample(COLOURS, _HELD_OUT_COLOURS)
  }


def combinations(scene: Scene) -> set[tuple[str, str, str]]:
  """Return the (background, shape, colour) of each object of a scene."""
  return {
    (scene.background, thing.shape, thing.colour) for thing in scene.things
  }


def save_pictures(
  scenes: dict[str, Scene], data_dir: epath.PathLike, seed: int
) -> epath.Path:
  """Draw the pictures as JPEG files, unless they are there.

  Args:
    scenes: image id -> scene.
    data_dir: TFDS's data directory.
    seed: the seed of the scenes; with their number it names the folder.

  Returns:
    The folder of files ``IMAGE_ID.jpg`` below ``DATA_DIR/scenes_images``; it
    appears only when all are drawn.
  """
  parent = epath.Path(data_dir).expanduser() / 'scenes_images'
  folder = parent / f'{len(scenes)}_seed{seed}_v{VERSION}'
  places.recover(folder)
  if folder.exists():
    return folder
  with places.workshop(folder) as workshop:
    items = progress.track(scenes.items(), len(scenes), 'draw', 'pictures')
    made = workshop / 'pictures'
    made.mkdir()
    for image_id, scene in items:
      with (made / f'{image_id}.jpg').open('wb') as file:
        pictures.draw(scene).save(file, 'JPEG', quality=92)
    places.move_in(made, folder)
  return folder


def find_pictures(
  folder: epath.Path, image_ids: Iterable[str]
) -> list[photos.Photo]:
  """Return the pictures of a folder as photos to encode."""
  return [photos.Photo(i, str(folder / f'{i}.jpg')) for i in image_ids]


def _invent(
  rng: random.Random, held_out: set[tuple[str, str, str]], test: bool
) -> Scene:
  """Return a scene; in test, its first object is of a held-out combination."""
  background = rng.choice(BACKGROUNDS)
  kept: list[tuple[str, str]] = []
  allowed: list[tuple[str, str]] = []
  for shape, colour in itertools.product(SHAPES, COLOURS):
    unseen = (background, shape, colour) in held_out
    (kept if unseen else allowed).append((shape, colour))
  columns = rng.sample(COLUMNS, rng.choices((1, 2, 3), (5, 4, 2))[0])
  things = []
  for i, column in enumerate(columns):
    shape, colour = rng.choice(kept if test and i == 0 else allowed)
    things.append(
      Thing(
        shape=shape,
        colour=colour,
        size=rng.choice(SIZES),
        column=column,
        height=rng.choices(HEIGHTS, (3, 2))[0],
      )
    )
  rng.shuffle(things)
  extra = rng.choice(EXTRAS[background])
  return Scene(background, extra, tuple(things), rng.getrandbits(32))
