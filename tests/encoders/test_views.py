"""Views of photos: what they show, and what is drawn of them."""

import numpy as np
from PIL import Image
import pytest
import tiny_encoder

from data_prep import extract
from mrnn_jax.data import feature_files
from mrnn_jax.encoders import photos, views
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.picture_views import View, random_part


def test_views_of_a_photo_are_its_own_and_the_first_of_more():
  few, many = views.views_of('a.jpg', 3), views.views_of('a.jpg', 12)
  assert many[:3] == few
  assert many[0] == View() and many[1] == View(flipped=True)
  assert views.views_of('b.jpg', 3)[2] != few[2]
  assert [view.flipped for view in many] == [False, True] * 6
  assert views.flips(12) == [False, True] * 6
  for view in many[2:]:
    width, height = view.right - view.left, view.bottom - view.top
    assert 0.5 <= width * height <= 0.95
    assert 0 <= view.left <= 1 - width + 1e-12
    assert 0 <= view.top <= 1 - height + 1e-12


def test_parts_have_the_areas_and_shapes_that_are_asked_for():
  rng = np.random.default_rng(0)
  parts = [random_part(rng, 0.3) for _ in range(2000)]
  width = np.array([part.right - part.left for part in parts])
  height = np.array([part.bottom - part.top for part in parts])
  area, ratio = width * height, width / height
  # Uniform between 0.3 and 1: mean 0.65, standard error .005.
  assert abs(area.mean() - 0.65) < 0.02
  assert area.min() > 0.3 - 1e-9 and area.max() <= 1 + 1e-9
  assert ratio.min() > 0.75 - 1e-9 and ratio.max() < 4 / 3 + 1e-9
  assert abs(np.log(ratio).mean()) < 0.02
  assert all(x.left >= 0 and x.right <= 1 and x.bottom <= 1 for x in parts)


def test_a_view_shows_its_part_of_the_photo(tmp_path):
  # Columns of 10 pixels, each of its own grey: what is seen can be counted.
  pixels = np.repeat(np.arange(10, dtype=np.uint8) * 20, 10)
  pixels = np.broadcast_to(pixels[None, :, None], (50, 100, 3))
  path = tmp_path / 'a.png'
  Image.fromarray(np.ascontiguousarray(pixels)).save(path)
  shown = photos.read_views(
    str(path),
    8,
    'squash',
    [View(), View(flipped=True), View(left=0.5), View(0.5, flipped=True)],
  )
  assert shown.shape == (4, 8, 8, 3)
  np.testing.assert_array_equal(shown[0], photos.read(str(path), 8, 'squash'))
  np.testing.assert_array_equal(shown[1], shown[0][:, ::-1])
  np.testing.assert_array_equal(shown[3], shown[2][:, ::-1])
  # The right half: greys 100 to 180, and their mean.
  assert shown[2].min() >= 95 and shown[2].max() <= 185
  assert abs(shown[2].mean() - 140) < 2


@pytest.fixture
def extracted(tmp_path, monkeypatch):
  """Features of five photos in four views, by the mean of colours."""
  network = tiny_encoder.install(monkeypatch)
  folder = tmp_path / 'photos'
  folder.mkdir()
  rng = np.random.default_rng(0)
  for i in range(5):
    pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(pixels).save(folder / f'{i}.png')
  (folder / '2.png').write_bytes(b'no photo')

  def make(name, *more):
    argv = ['extract', f'--images={folder}', f'--output={tmp_path / name}']
    argv += ['--encoder=tiny', '--batch_size=2', '--dtype=float32', *more]
    try:
      extract.run(argv)
    except SystemExit as end:
      return tmp_path / name, end.code
    return tmp_path / name, 0

  return network, folder, make


def test_extract_writes_views_beside_the_features(extracted, capsys):
  network, folder, make = extracted
  one, _ = make('one.npz')
  four, code = make('four.npz', '--views=4')
  assert not code
  assert '4 photos, 4 views of 7 numbers each' in capsys.readouterr().out
  plain, table = feature_files.load(one), feature_files.load(four)
  np.testing.assert_array_equal(plain.features, table.features)
  assert plain.view_flips == [False]
  assert table.view_flips == [False, True, False, True]
  assert plain.views_at(0).shape == (0, 7)
  for i, name in enumerate(['0.png', '1.png', '3.png', '4.png']):
    # As each view is encoded by itself.
    image = Image.open(folder / name)
    for k, view in enumerate(views.views_of(name, 4)[1:]):
      box = [view.left * 30, view.top * 20, view.right * 30, view.bottom * 20]
      part = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC, box))
      if view.flipped:
        part = part[:, ::-1]
      want = np.asarray(tiny_encoder.apply(network.params, part[None]))[0]
      np.testing.assert_allclose(table.views_at(i)[k], want, rtol=1e-6)


def test_other_views_are_another_file(extracted, capsys):
  _, _, make = extracted
  make('f.npz', '--views=3')
  assert make('f.npz', '--views=3')[1] == 0
  assert 'is there already' in capsys.readouterr().out
  assert make('f.npz', '--views=4')[1] == 1
  assert '--overwrite' in capsys.readouterr().err
  assert make('g.npz', '--views=0')[1] == 1
  assert '--views=0: give a number from 1' in capsys.readouterr().err


def test_views_that_do_not_fit_the_features_are_refused(tmp_path):
  path = tmp_path / 'f.npz'
  features = np.ones((2, 3), np.float16)
  np.savez(
    path,
    ids=['a', 'b'],
    features=features,
    views=np.ones((2, 2, 3), np.float16),
    view_flips=[False, True],
  )
  with pytest.raises(InputError, match='views .* save views'):
    feature_files.load(path)
