"""Photos of every kind become RGB; broken ones get a reason."""

import io
import struct
import sys
import zlib

import numpy as np
from PIL import Image
import pytest

from mrnn_jax.encoders import photos
from mrnn_jax.runtime import picture_files
from mrnn_jax.runtime.errors import InputError

SIZE = 8
RED, WHITE = (255, 0, 0), (255, 255, 255)


def halves(width=40, height=20):
  """Return a picture that is red on the left and blue on the right."""
  pixels = np.zeros((height, width, 3), np.uint8)
  pixels[:, : width // 2, 0] = 255
  pixels[:, width // 2 :, 2] = 255
  return Image.fromarray(pixels)


def saved(path, image, **options):
  image.save(path, **options)
  return str(path)


def read(path, resize='squash'):
  photos.quiet()
  result = photos.read(path, SIZE, resize)
  assert result.shape == (SIZE, SIZE, 3)
  assert result.dtype == np.uint8
  return result


def colour(result, row, column):
  return tuple(int(x) for x in result[row, column])


def test_rgb_is_squashed_whole(tmp_path):
  result = read(saved(tmp_path / 'a.png', halves()))
  assert colour(result, 0, 0) == RED
  assert colour(result, SIZE - 1, SIZE - 1) == (0, 0, 255)


def test_center_crop_leaves_the_sides_out(tmp_path):
  pixels = np.zeros((200, 400, 3), np.uint8)
  pixels[:, 120:280] = 255
  path = saved(tmp_path / 'a.png', Image.fromarray(pixels))
  # The square of 8/40 of the height lies within the white part.
  assert (read(path, 'center_crop') == 255).all()
  assert colour(read(path), 0, 0) == (0, 0, 0)


def test_the_crop_is_that_of_scaling_first(tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
  path = saved(tmp_path / 'a.png', Image.fromarray(noise))
  scaled = Image.fromarray(noise).resize((80, 60), Image.Resampling.BICUBIC)
  cropped = np.asarray(scaled.crop((26, 16, 54, 44)), np.int32)
  result = photos.read(path, 28, 'center_crop')
  assert np.abs(result - cropped).max() <= 1


@pytest.mark.parametrize(
  ('mode', 'value', 'want'),
  [
    ('1', 1, WHITE),
    ('L', 100, (100, 100, 100)),
    ('LA', (100, 255), (100, 100, 100)),
    ('LA', (100, 0), WHITE),
    ('RGBA', (255, 0, 0, 255), RED),
    ('RGBA', (255, 0, 0, 0), WHITE),
    ('I;16', 65535, WHITE),
    ('I;16', 257, (1, 1, 1)),
  ],
)
def test_modes_of_png(tmp_path, mode, value, want):
  path = saved(tmp_path / 'a.png', Image.new(mode, (5, 4), value))
  assert colour(read(path), 3, 3) == want


@pytest.mark.parametrize(
  ('mode', 'value', 'want'),
  [
    ('CMYK', (0, 255, 255, 0), RED),
    ('I', 65535, WHITE),
    ('I', 200, (200, 200, 200)),
    ('F', 1.0, WHITE),
    ('F', 200.0, (200, 200, 200)),
    ('F', float('nan'), (0, 0, 0)),
  ],
)
def test_modes_of_tiff(tmp_path, mode, value, want):
  path = saved(tmp_path / 'a.tif', Image.new(mode, (5, 4), value))
  assert colour(read(path), 3, 3) == want


def test_cmyk_jpeg(tmp_path):
  image = Image.new('CMYK', (16, 16), (0, 255, 255, 0))
  result = colour(read(saved(tmp_path / 'a.jpg', image)), 3, 3)
  assert np.abs(np.subtract(result, RED)).max() < 6


def test_palettes_with_transparency(tmp_path):
  image = halves().quantize(2)
  left = image.getpixel((0, 0))
  opaque = read(saved(tmp_path / 'a.png', image))
  assert colour(opaque, 0, 0) == RED
  for transparency in (left, bytes([0 if i == left else 255 for i in (0, 1)])):
    path = saved(tmp_path / 'b.png', image, transparency=transparency)
    assert colour(read(path), 0, 0) == WHITE
    assert colour(read(path), 0, SIZE - 1) == (0, 0, 255)


@pytest.mark.parametrize('name', ['a.gif', 'a.png', 'a.webp'])
def test_the_first_frame_of_an_animation(tmp_path, name):
  frames = [Image.new('RGB', (16, 16), c) for c in ('red', 'blue', 'green')]
  options = {'lossless': True} if name == 'a.webp' else {}
  path = saved(
    tmp_path / name,
    frames[0],
    save_all=True,
    append_images=frames[1:],
    **options,
  )
  assert colour(read(path), 4, 4) == RED


def test_one_pixel(tmp_path):
  path = saved(tmp_path / 'a.png', Image.new('RGB', (1, 1), 'red'))
  for resize in photos.RESIZES:
    assert (read(path, resize) == RED).all()


def test_very_long(tmp_path):
  path = saved(tmp_path / 'a.png', Image.new('RGB', (5000, 1), 'red'))
  for resize in photos.RESIZES:
    assert (read(path, resize) == RED).all()


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_turns_the_photo(tmp_path, orientation):
  upright = np.zeros((40, 40, 3), np.uint8)
  upright[:20, :20] = RED
  upright[:20, 20:] = (0, 255, 0)
  upright[20:, :20] = (0, 0, 255)
  undo = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
  }
  image = Image.fromarray(upright)
  if orientation in undo:
    image = image.transpose(undo[orientation])
  exif = Image.Exif()
  exif[0x0112] = orientation
  result = read(saved(tmp_path / 'a.png', image, exif=exif))
  assert colour(result, 1, 1) == RED
  assert colour(result, 1, 6) == (0, 255, 0)
  assert colour(result, 6, 1) == (0, 0, 255)


def test_broken_exif_does_not_matter(tmp_path):
  path = saved(tmp_path / 'a.jpg', halves(), exif=b'Exif\0\0nonsense' * 3)
  assert colour(read(path), 0, 0)[0] > 240


def test_large_jpegs_are_decoded_small_and_look_the_same(tmp_path):
  y, x = np.mgrid[:800, :1200]
  pixels = np.stack([x * 255 / 1200, y * 255 / 800, (x + y) % 256], axis=-1)
  image = Image.fromarray(pixels.astype(np.uint8))
  path = saved(tmp_path / 'a.jpg', image, quality=95)
  want = image.resize((64, 64), Image.Resampling.BICUBIC)
  result = photos.read(path, 64, 'squash').astype(np.int32)
  assert np.abs(result - np.asarray(want, np.int32)).mean() < 3


def broken_files(folder):
  """Write files that cannot be read; return name -> part of the reason."""
  noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)
  for kind in ('jpeg', 'png'):
    data = io.BytesIO()
    Image.fromarray(noise).save(data, kind)
    (folder / f'cut.{kind}').write_bytes(data.getvalue()[:5000])
  (folder / 'empty.jpg').write_bytes(b'')
  (folder / 'text.jpg').write_text('this is no photo')
  (folder / 'program.png').write_text('%!PS-Adobe-3.0 EPSF-3.0\n')
  header = b'IHDR' + struct.pack('>IIBBBBB', 65535, 65535, 8, 2, 0, 0, 0)
  (folder / 'huge.png').write_bytes(
    b'\x89PNG\r\n\x1a\n\0\0\0\r'
    + header
    + struct.pack('>I', zlib.crc32(header))
    + b'\0\0\0\0IDAT'
  )
  Image.new('1', (10_000, 10_000)).save(folder / 'bomb.png')
  return {
    'bomb.png': 'more than 90,000,000 pixels',
    'cut.jpeg': 'truncated',
    'cut.png': 'truncated',
    'empty.jpg': 'empty',
    'huge.png': 'more than 90,000,000 pixels',
    'program.png': 'no image of a known format',
    'text.jpg': 'no image of a known format',
  }


def test_what_cannot_be_read_gets_a_reason(tmp_path):
  photos.quiet()
  for name, reason in broken_files(tmp_path).items():
    with pytest.raises(photos.PhotoError, match=reason):
      photos.read(str(tmp_path / name), SIZE, 'squash')
  with pytest.raises(photos.PhotoError, match='No such file'):
    photos.read(str(tmp_path / 'nowhere.jpg'), SIZE, 'squash')


def test_read_all_keeps_the_order_and_goes_on(tmp_path):
  paths = []
  for i in range(150):
    paths.append(str(tmp_path / f'{i}.png'))
    if i % 7 != 3:
      Image.new('RGB', (20, 20), (i, 0, 0)).save(paths[-1])
  result = list(photos.read_all(paths, SIZE, 'squash', num_threads=3))
  assert len(result) == 150
  for i, image in enumerate(result):
    if i % 7 == 3:
      assert 'No such file' in str(image)
    else:
      assert colour(image, 0, 0) == (i, 0, 0)


def test_read_all_may_be_left_early(tmp_path):
  path = saved(tmp_path / 'a.png', halves())
  images = photos.read_all([path] * 500, SIZE, 'squash')
  next(images)
  images.close()


def test_find_all(tmp_path):
  (tmp_path / 'b').mkdir()
  for name in ('b/2.JPG', 'b/1.png', 'a.jpeg', 'x,y.png', 'notes.txt'):
    (tmp_path / name).write_bytes(b'')
  (tmp_path / 'list').write_text('b/2.JPG\n\n  a.jpeg \n/else/where.jpg\n')

  def found(images):
    return [(x.id, x.path) for x in photos.find_all(images)]

  at = str(tmp_path)
  assert found(at) == [
    ('a.jpeg', f'{at}/a.jpeg'),
    ('b/1.png', f'{at}/b/1.png'),
    ('b/2.JPG', f'{at}/b/2.JPG'),
    ('x,y.png', f'{at}/x,y.png'),
  ]
  assert found(f'{at}/list') == [
    ('b/2.JPG', f'{at}/b/2.JPG'),
    ('a.jpeg', f'{at}/a.jpeg'),
    ('/else/where.jpg', '/else/where.jpg'),
  ]
  both = found(f'{at}/a.jpeg, {at}/b')
  assert [name for name, _ in both] == [f'{at}/a.jpeg', '1.png', '2.JPG']
  assert found(f'{at}/x,y.png') == [(f'{at}/x,y.png', f'{at}/x,y.png')]


def test_find_all_names_what_is_wrong(tmp_path):
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'list').write_text('1.jpg\n2.jpg\n1.jpg\n')
  (tmp_path / 'binary').write_bytes(b'\xff\xfe\x00\x80')
  for name, message in (
    ('empty', 'there is no photo in'),
    ('list', "'1.jpg' 2 times"),
    ('binary', 'neither a photo nor'),
    ('nowhere', 'there is no .*nowhere: name'),
    ('nowhere.jpg', 'there is no .*nowhere.jpg: name'),
  ):
    with pytest.raises(InputError, match=message):
      photos.find_all(str(tmp_path / name))


def found_ids(images):
  return [x.id for x in photos.find_all(str(images))]


def test_photos_that_are_not_read_are_counted(tmp_path, capsys):
  for name in ('a.jpg', 'b.HEIC', 'c/d.heic', 'e.nef', 'a.nef', 'notes.txt'):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'x')
  # Not the original beside its JPEG.
  assert found_ids(tmp_path) == ['a.jpg', 'b.HEIC', 'c/d.heic', 'e.nef']
  with pytest.raises(photos.PhotoError, match='.nef is not read: save it as'):
    photos.read(str(tmp_path / 'e.nef'), SIZE, 'squash')
  assert capsys.readouterr().err == ''
  (tmp_path / 'plan.pdf').write_bytes(b'x')
  assert 'plan.pdf' not in found_ids(tmp_path)
  assert 'kinds that are not read (1 .pdf)' in capsys.readouterr().err


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'pillow_heif', None)
  monkeypatch.delitem(Image.OPEN, 'HEIF', raising=False)
  picture_files._register_heif.cache_clear()
  path = tmp_path / 'a.jpg'  # As phones call them at times.
  path.write_bytes(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic')
  with pytest.raises(photos.PhotoError, match='pip install pillow-heif'):
    photos.read(str(path), SIZE, 'squash')
  picture_files._register_heif.cache_clear()


def test_heic_is_read_with_its_package(tmp_path):
  pillow_heif = pytest.importorskip('pillow_heif')
  pillow_heif.register_heif_opener()
  picture_files._register_heif.cache_clear()
  path = saved(tmp_path / 'a.heic', halves(64, 64))
  result = read(path).astype(int)
  assert abs(result[4, 0] - RED).max() < 20
  assert abs(result[4, -1] - (0, 0, 255)).max() < 20


def test_patterns_and_lists_of_names(tmp_path):
  for name in ('1.jpg', '2.png', 'x,y.jpg', 'notes.txt', 'sub/3.jpg'):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'x')
  at = str(tmp_path)
  assert found_ids(f'{at}/*') == [
    f'{at}/1.jpg',
    f'{at}/2.png',
    '3.jpg',
    f'{at}/x,y.jpg',
  ]
  assert found_ids(f'{at}/[12].*') == [f'{at}/1.jpg', f'{at}/2.png']
  # As a command joins what a shell has made of *.jpg.
  assert found_ids(f'{at}/1.jpg\n{at}/x,y.jpg') == [
    f'{at}/1.jpg',
    f'{at}/x,y.jpg',
  ]
  with pytest.raises(InputError, match='there is no photo in'):
    photos.find_all(f'{at}/*.gif')


def test_photos_as_people_have_them(tmp_path):
  picture = halves()
  path = tmp_path / 'a.png'
  picture.save(path)
  expected = read(str(path))
  array = np.asarray(picture)
  forms = {
    'text': (str(path), str(path)),
    'path': (path, str(path)),
    'paths': ([path], str(path)),
    'picture': (picture, '0'),
    'of a file': (Image.open(path), str(path)),
    'array': (array, '0'),
    'arrays': (np.stack([array, array]), '0'),
  }
  for form, (given, name) in forms.items():
    first, *rest = photos.given(given)
    assert first.id == name, form
    assert len(rest) == (form == 'arrays')
    result = photos.read(first.source, SIZE, 'squash')
    np.testing.assert_array_equal(result, expected, form)
  several = photos.given([path, array, 'nowhere.jpg'])
  assert [x.id for x in several] == [str(path), '1', 'nowhere.jpg']
  *_, lost = photos.read_all([x.source for x in several], SIZE, 'squash')
  assert isinstance(lost, photos.PhotoError)
  for wrong in (np.zeros((4, 4, 3)), [np.zeros((4, 4, 9), np.uint8)], []):
    with pytest.raises(InputError, match='uint8|empty list'):
      photos.given(wrong)


def test_why_photos_cannot_be_read():
  unreadable = [('a', 'empty'), ('b', 'broken'), ('c', 'empty')]
  assert photos.reasons(unreadable) == 'a, c (empty); b (broken)'


def test_two_folders_with_a_photo_of_one_name(tmp_path):
  for name in ('cats/1.jpg', 'dogs/1.jpg', 'dogs/2.jpg'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b'')
  with pytest.raises(
    InputError,
    match="cats/1.jpg and .*dogs/1.jpg would both be called '1.jpg': name the",
  ):
    photos.find_all(f'{tmp_path}/cats,{tmp_path}/dogs')
  assert [x.id for x in photos.find_all(str(tmp_path))] == [
    'cats/1.jpg',
    'dogs/1.jpg',
    'dogs/2.jpg',
  ]
