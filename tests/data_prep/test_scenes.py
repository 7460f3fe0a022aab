"""Scenes: the same for a seed, and new combinations in the test split."""

import hashlib
import pathlib

import numpy as np
import pytest

from data_prep.scenes import dataset as scenes
from data_prep.scenes import pictures as scene_pictures
from data_prep.scenes import types as scene_types
from mrnn_jax import encoders
from mrnn_jax.data import vocabulary
from mrnn_jax.encoders import encode


@pytest.fixture(scope='module')
def made():
  return scenes.generate(400, seed=0)


def in_split(made, split):
  return [made.scenes[i] for i in made.raw.splits[split]]


def test_sizes(made):
  sizes = {split: len(ids) for split, ids in made.raw.splits.items()}
  assert sizes == {'train': 300, 'validation': 50, 'test': 50}


def test_seed_decides(made):
  again = scenes.generate(400, seed=0)
  assert again == made
  assert scenes.generate(400, seed=1).raw.captions != made.raw.captions


def test_every_test_picture_shows_an_unseen_combination(made):
  seen = set()
  for split in ('train', 'validation'):
    for scene in in_split(made, split):
      seen |= scenes.combinations(scene)
  for scene in in_split(made, 'test'):
    assert scenes.combinations(scene) - seen
  held_out = scenes.held_out_combinations(0)
  assert not seen & held_out
  assert len(held_out) == 128


def test_parts_of_unseen_combinations_are_known(made):
  seen = [scenes.combinations(scene) for scene in in_split(made, 'train')]
  for values, position in (
    (scene_types.BACKGROUNDS, 0),
    (scene_types.SHAPES, 1),
    (scene_types.COLOURS, 2),
  ):
    known = {combination[position] for s in seen for combination in s}
    assert known == set(values)


def test_sentences(made):
  for captions in made.raw.captions.values():
    assert len(set(captions)) == 5
    for caption in captions:
      assert 5 <= len(vocabulary.tokenize(caption)) <= 18
      assert '  ' not in caption
  words = vocabulary.count_words(
    caption for captions in made.raw.captions.values() for caption in captions
  )
  assert len(words) > 180


def test_sentences_tell_the_truth(made):
  """A named colour of the plain words belongs to an object of the scene."""
  for image_id, scene in made.scenes.items():
    colours = {thing.colour for thing in scene.things}
    for caption in made.raw.captions[image_id]:
      words = set(vocabulary.tokenize(caption))
      for colour in ('red', 'yellow', 'purple', 'pink', 'black'):
        assert colour not in words or colour in colours


@pytest.mark.parametrize('background', scene_types.BACKGROUNDS)
def test_every_background_is_drawn_the_same_twice(background):
  things = tuple(
    scene_types.Thing(shape, 'red', 'big', 'left', height)
    for shape in scene_types.SHAPES
    for height in scene_types.HEIGHTS
  )
  for extra in scene_types.EXTRAS[background]:
    scene = scene_types.Scene(background, extra, things, seed=1)
    first = np.asarray(scene_pictures.draw(scene))
    assert first.shape == (224, 224, 3)
    np.testing.assert_array_equal(first, scene_pictures.draw(scene))


def test_pictures_are_saved_as_a_whole_and_reused(tmp_path, monkeypatch):
  few = scenes.generate(40, seed=0).scenes

  def fail(scene):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(scene_pictures, 'draw', fail)
    with pytest.raises(KeyboardInterrupt):
      scenes.save_pictures(few, tmp_path, 0)
  assert list((tmp_path / 'scenes_images').iterdir()) == []
  folder = scenes.save_pictures(few, tmp_path, 0)
  assert len(list(folder.iterdir())) == 40
  monkeypatch.setattr(scene_pictures, 'draw', fail)
  assert scenes.save_pictures(few, tmp_path, 0) == folder
  pictures = scenes.find_pictures(folder, list(few)[:2])
  assert [picture.id for picture in pictures] == list(few)[:2]
  assert all(pathlib.Path(picture.path).exists() for picture in pictures)


def test_golden_scene(made):
  """The first sentences must not move without a new ``scenes.VERSION``."""
  text = '\n'.join(c for cs in made.raw.captions.values() for c in cs)
  assert hashlib.sha256(text.encode()).hexdigest()[:16] == 'e3a5022cf97de211'


def accuracy(kernel, num_train, rows, labels):
  """Return the share of rows whose label ridge regression finds."""
  inner = kernel[:num_train, :num_train]
  ridge = 0.3 * np.trace(inner) / num_train * np.eye(num_train)
  mean = labels[:num_train].mean(axis=0, keepdims=True)
  weights = np.linalg.solve(inner + ridge, labels[:num_train] - mean)
  found = kernel[rows, :num_train] @ weights + mean
  return np.mean(found.argmax(axis=1) == labels[rows].argmax(axis=1))


@pytest.mark.slow
def test_features_tell_what_a_scene_shows(tmp_path):
  """What a picture of one object shows follows linearly from its feature.

  The features are means over the picture, so they say little about columns.
  """
  made = scenes.generate()
  folder = scenes.save_pictures(made.scenes, tmp_path, 0)
  ids = made.raw.splits['train'] + made.raw.splits['validation']
  shown = [made.scenes[image_id] for image_id in ids]
  num_train = len(made.raw.splits['train'])
  x = encode.encode_photos(
    scenes.find_pictures(folder, ids), encoders.load(encoders.DEFAULT)
  ).features
  mean, std = x[:num_train].mean(axis=0), x[:num_train].std(axis=0) + 1e-6
  x = np.clip((x - mean) / std, -5, 5)
  kernel = x @ x[:num_train].T
  rows = [i for i in range(num_train, len(ids)) if len(shown[i].things) == 1]

  def labels(values, name):
    return np.array(
      [
        [
          value
          in [getattr(s, name, ''), *(getattr(t, name, '') for t in s.things)]
          for value in values
        ]
        for s in shown
      ],
      np.float64,
    )

  for values, name, least in (
    (scene_types.BACKGROUNDS, 'background', 0.98),
    (scene_types.COLOURS, 'colour', 0.7),
    (scene_types.SHAPES, 'shape', 0.93),
    (scene_types.COLUMNS, 'column', 0.5),
    (scene_types.HEIGHTS, 'height', 0.95),
  ):
    found = accuracy(kernel, num_train, rows, labels(values, name))
    assert found > least, name
