"""Folds of images, and splits of some of their images."""

import hashlib
import io

import numpy as np
from PIL import Image
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax.data import datasets, folds
from mrnn_jax.data.image_features import feature_statistics
from mrnn_jax.runtime.errors import InputError


def test_a_fold_is_known_by_names_alone():
  ids = [f'photo{i}.jpg' for i in range(900)]
  parts = np.stack([folds.is_in(ids, f'{i}/3') for i in (1, 2, 3)])
  np.testing.assert_array_equal(parts.sum(0), 1)  # Each in one of them.
  assert (abs(parts.sum(1) - 300) < 60).all()
  # By the hash itself, and whatever stands beside.
  number = int.from_bytes(hashlib.sha256(b'photo7.jpg').digest()[:8], 'little')
  assert parts[number % 3, 7]
  assert folds.is_in(['photo7.jpg'], f'{number % 3 + 1}/3').all()
  assert not folds.is_in(ids, '').any()


@pytest.mark.parametrize(
  'fold', ['0/2', '3/2', '1/1', '1', '/2', 'a/b', '1/101']
)
def test_what_is_no_fold_is_refused(fold):
  with pytest.raises(InputError, match='write the first of three as 1/3'):
    config_lib.Config(held_out_fold=fold)


def test_some_images_in_another_order(split):
  images = np.asarray([5, 2, 11])
  some = folds.select(split, images)
  assert some.image_ids == [split.image_ids[i] for i in images]
  assert some.captions == [split.captions[i] for i in images]
  own = [[c for c, o in enumerate(split.owner) if o == i] for i in images]
  assert some.owner.tolist() == [
    n for n, captions in enumerate(own) for _ in captions
  ]
  for n, c in enumerate(c for captions in own for c in captions):
    np.testing.assert_array_equal(
      some.caption_tokens(n), split.caption_tokens(c)
    )
  whole = split.features.all()
  np.testing.assert_array_equal(some.features.all(), whole[images])
  np.testing.assert_array_equal(some.features[1:], whole[images[1:]])
  np.testing.assert_array_equal(some.features[np.asarray([[2]])], whole[[[11]]])
  np.testing.assert_allclose(
    feature_statistics(some.features)['mean'], whole[images].mean(0), rtol=1e-6
  )
  with pytest.raises(TypeError):
    some.features.keep(0, {})


def test_views_of_some_images():
  rng = np.random.default_rng(0)
  records = [
    {
      'feature': rng.normal(size=3).astype(np.float32),
      'views': rng.normal(size=(1, 3)).astype(np.float32),
    }
    for _ in range(6)
  ]
  whole = datasets.Features(records, 10, (False, True))
  for i, record in enumerate(records):
    whole.keep(i, record)
  images = np.asarray([4, 1])
  some = folds.SelectedFeatures(whole, images)
  assert (len(some), some.num_views, some.view_flips.tolist()) == (
    2,
    2,
    [False, True],
  )
  np.testing.assert_array_equal(
    some.views(np.asarray([1])),
    [[records[1]['feature'], records[1]['views'][0]]],
  )
  np.testing.assert_array_equal(
    some.drawn(np.asarray([0, 1]), np.asarray([1, 0])),
    [records[4]['views'][0], records[1]['feature']],
  )


def test_photos_of_some_images(split, monkeypatch):
  def jpeg(shade):
    buffer = io.BytesIO()
    Image.new('L', (4, 4), shade).save(buffer, 'JPEG')
    return buffer.getvalue()

  records = [{'photo': jpeg(i)} for i in range(len(split.image_ids))]
  monkeypatch.setattr(datasets, 'open_folder', lambda path: (None, {}))
  monkeypatch.setattr(datasets, 'Records', lambda dataset, name: records)
  dataset = datasets.Dataset('tiny', None, None, {'photo_size': 4})
  photos = datasets.Photos(dataset, 'train', split.image_ids)
  some = photos.select(np.asarray([7, 3])).select(np.asarray([1]))
  assert (len(some), some.image_ids) == (1, [split.image_ids[3]])
  assert some[0] == records[3]['photo']
  assert len(photos) == len(records) and photos[0] == records[0]['photo']


def test_a_fold_of_all_or_none_is_told(split):
  one = folds.select(split, np.asarray([0]))
  first = folds.is_in(one.image_ids, '1/2')[0]
  for fold in ('1/2', '2/2'):
    what = 'all' if (fold == '1/2') == first else 'none'
    with pytest.raises(InputError, match=f'holds {what} of the 1 images'):
      folds.without(one, fold)
  assert folds.without(split, '') is split
