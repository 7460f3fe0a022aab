"""Photos, some of them bad, to features in memory."""

from drawn_photos import READABLE, twenty_photos
import numpy as np
import pytest
import tiny_encoder

from mrnn_jax import encoders
from mrnn_jax.encoders import encode, photos


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
  """The only encoder, and small parts."""
  return tiny_encoder.install(monkeypatch)


@pytest.fixture
def folder(tmp_path):
  return twenty_photos(tmp_path / 'photos')


def test_encode_photos(folder, tiny):
  found = photos.find_all(str(folder))
  encoded = encode.encode_photos(found, tiny, 'squash', batch_size=3)
  assert encoded.ids == READABLE
  assert encoded.features.shape == (17, 7)
  assert encoded.features.dtype == np.float32
  assert [name for name, _ in encoded.unreadable] == [
    '00.png',
    '07.png',
    '19.png',
  ]
  alone = encode.encode_photos(found[4:5], tiny)
  np.testing.assert_array_equal(alone.features[0], encoded.features[3])
  none = encode.encode_photos(found[:1], tiny)
  assert none.features.shape == (0, 7) and not none.ids


def test_one_shape_is_compiled(folder, tiny):
  count = 0

  def count_traces(params, images):
    nonlocal count
    count += 1
    return tiny_encoder.apply(params, images)

  network = encoders.Network('tiny', '', 8, 7, 4, np.float32(0.5), count_traces)
  encode.encode_photos(photos.find_all(str(folder)), network, batch_size=7)
  assert count == 1


def test_descriptions_are_read_again(tiny):
  for resize in photos.RESIZES:
    name = encode.describe(tiny, resize).name
    assert encode.parse_description(name) == ('tiny', resize)
  for name in (
    'unknown',
    'resnet, squash to 8 x 8',
    'tiny, squash to 8 x 9',
    'tiny, blur to 8 x 8',
  ):
    assert encode.parse_description(name) == ('', '')
