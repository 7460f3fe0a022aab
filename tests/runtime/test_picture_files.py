"""One function opens pictures, for everybody, and none can do harm."""

import ast
import base64
import io
import pathlib
import struct
import sys
import warnings
import zlib

import numpy as np
from PIL import EpsImagePlugin, Image
import pytest

from mrnn_jax.encoders import photos as encoders_photos
from mrnn_jax.reports import photos as reports_photos
from mrnn_jax.runtime import picture_files

ROOT = pathlib.Path(__file__).parents[2]
EPS = (
  b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n'
  b'0 0 40 40 rectfill\nshowpage\n%%EOF\n'
)


def encode(path):
  """Read as encoders do; None if it cannot be read."""
  (result,) = encoders_photos.read_all([str(path)], 8, 'squash', 1)
  return None if isinstance(result, ValueError) else result


def shrink(path):
  """Read as a results page does; None if it cannot be read."""
  folder = path.parent
  found = reports_photos.find_photos(str(folder), [path.name], str(folder), 8)
  if found.broken:
    return None
  data = base64.b64decode(found.thumbnails[0])
  return np.asarray(Image.open(io.BytesIO(data)))


USERS = [encode, shrink]


def picture(width, height):
  """Return a picture, red on the left and blue on the right."""
  pixels = np.zeros((height, width, 3), np.uint8)
  pixels[:, : width // 2, 0] = 255
  pixels[:, width // 2 :, 2] = 255
  return Image.fromarray(pixels)


def is_red_and_blue(pixels):
  left, right = pixels[1, 0].astype(int), pixels[-2, -1].astype(int)
  return left[0] > 200 > 99 > left[2] and right[2] > 200 > 99 > right[0]


@pytest.fixture
def small_limits(monkeypatch):
  """Limits of a hundredth of a second: ours, and the library's own."""
  monkeypatch.setattr(picture_files, 'MAX_PIXELS', 10_000)
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 9_000)
  with warnings.catch_warnings():
    yield


@pytest.fixture
def programs(monkeypatch):
  """The programs that are started, by their arguments."""
  started = []
  on = [True]

  def hook(event, arguments):
    if on and event in ('subprocess.Popen', 'os.system', 'os.posix_spawn'):
      started.append(arguments)

  sys.addaudithook(hook)  # It cannot be taken away again.
  # What the library has found out once it does not ask again.
  monkeypatch.setattr(EpsImagePlugin, 'gs_binary', None)
  yield started
  on.clear()


@pytest.mark.parametrize('user', USERS)
@pytest.mark.parametrize('name', ['a.jpg', 'a.png'])
def test_no_picture_starts_a_program(tmp_path, programs, user, name):
  (tmp_path / name).write_bytes(EPS)
  assert user(tmp_path / name) is None
  assert programs == []


def test_there_is_no_other_way_to_open_one():
  # What of Pillow makes pictures, and opens none but by ``open``.
  makers = {'PIL.Image', 'PIL.ImageDraw', 'PIL.ImageEnhance'}
  others = []
  for path in [*ROOT.glob('mrnn_jax/**/*.py'), *ROOT.glob('data_prep/**/*.py')]:
    text = path.read_text()
    if path == pathlib.Path(picture_files.__file__):
      continue
    if not any(x in text for x in ('PIL', 'imread', 'cv2', 'imageio')):
      continue
    for node in ast.walk(ast.parse(text)):
      names = []
      if isinstance(node, ast.ImportFrom):
        names = [f'{node.module}.{x.name}' for x in node.names]
      elif isinstance(node, ast.Import):
        names = [x.name for x in node.names]
      elif isinstance(node, ast.Attribute):
        names = [ast.unparse(node)]
      where = f'{path.relative_to(ROOT)}:{node.lineno}' if names else ''
      for name in names:
        library = name.startswith(('PIL', 'cv2', 'imageio'))
        opens = name == 'Image.open' or name.endswith('.imread')
        if opens or (library and name not in makers):
          others.append(f'{where} {name}')
  assert others == []


@pytest.mark.parametrize('user', USERS)
def test_users_open_by_this_module_alone(tmp_path, monkeypatch, user):
  picture(40, 20).save(tmp_path / 'a.png')
  opening, callers = Image.open, []

  def watched(*args, **kwargs):
    callers.append(sys._getframe(1).f_globals['__name__'])
    return opening(*args, **kwargs)

  monkeypatch.setattr(Image, 'open', watched)
  assert is_red_and_blue(user(tmp_path / 'a.png'))
  assert callers[0] == picture_files.__name__
  assert {*callers} <= {picture_files.__name__, __name__}


@pytest.mark.parametrize('user', USERS)
def test_small_files_of_many_pixels_are_refused(tmp_path, user):
  header = b'IHDR' + struct.pack('>IIBBBBB', 12_000, 8_000, 8, 2, 0, 0, 0)
  (tmp_path / 'huge.png').write_bytes(
    b'\x89PNG\r\n\x1a\n\0\0\0\r'
    + header
    + struct.pack('>I', zlib.crc32(header))
    + b'\0\0\0\0IDAT'
  )
  # One of whole pixels, all of them there, in 12 kB.
  Image.new('1', (10_000, 10_000)).save(tmp_path / 'bomb.png')
  for name in ('huge.png', 'bomb.png'):
    assert user(tmp_path / name) is None
    with pytest.raises(picture_files.PictureError, match='save it smaller'):
      picture_files.read_rgb(tmp_path / name, 8)


@pytest.mark.parametrize('user', USERS)
@pytest.mark.parametrize('size', [(120, 90), (400, 300), (640, 320)])
def test_large_jpegs_are_decoded_small(tmp_path, small_limits, user, size):
  picture(*size).save(tmp_path / 'a.jpg')
  assert is_red_and_blue(user(tmp_path / 'a.jpg'))


def test_large_jpegs_get_no_smaller_than_they_must(tmp_path, small_limits):
  picture_files.quiet()
  for size, want in (((100, 100), (100, 100)), ((400, 300), (100, 75))):
    picture(*size).save(tmp_path / 'a.jpg')
    assert picture_files.read_rgb(tmp_path / 'a.jpg', 500).size == want
  assert picture_files.read_rgb(tmp_path / 'a.jpg', 18).size == (50, 38)


@pytest.mark.parametrize('user', USERS)
@pytest.mark.parametrize(
  ('name', 'size', 'options', 'reason'),
  [
    ('a.png', (400, 300), {}, 'pixels: save it smaller, or as JPEG'),
    ('a.tif', (120, 90), {}, 'or as JPEG'),
    # An eighth of a side is too much as well.
    ('a.jpg', (1200, 900), {}, 'more than'),
    # Its coefficients would be in memory as a whole.
    ('a.jpg', (400, 300), {'progressive': True}, 'or without "progressive"'),
  ],
)
def test_what_stays_too_large(
  tmp_path, small_limits, user, name, size, options, reason
):
  picture(*size).save(tmp_path / name, **options)
  assert user(tmp_path / name) is None
  with pytest.raises(picture_files.PictureError, match=reason):
    picture_files.read_rgb(tmp_path / name, 8)


def test_how_a_jpeg_is_decoded_is_read_from_its_segments():
  def saved(mode, **options):
    buffer = io.BytesIO()
    picture(40, 20).convert(mode).save(buffer, 'JPEG', **options)
    return buffer.getvalue()

  for mode in ('L', 'RGB', 'CMYK'):
    data = saved(mode)
    assert picture_files._by_rows(data)
    assert not picture_files._by_rows(saved(mode, progressive=True))
    assert not picture_files._by_rows(data[:20])
  # A scan of its own for a colour: whole images are kept for that, too.
  scan = data.index(b'\xff\xda')
  data = data[: scan + 4] + b'\1' + data[scan + 5 :]
  assert not picture_files._by_rows(data)
  for cut in range(0, len(data), 7):
    picture_files._by_rows(data[:cut])


@pytest.mark.parametrize('user', USERS)
@pytest.mark.parametrize(
  ('name', 'mode', 'options'),
  [
    ('a.jpg', 'RGB', {}),
    ('a.jpg', 'RGB', {'progressive': True}),
    ('a.jpg', 'CMYK', {}),
    ('a.mpo', 'RGB', {'save_all': True}),
    ('a.png', 'P', {}),
    ('a.png', 'RGBA', {'save_all': True}),
    ('a.gif', 'P', {'save_all': True}),
    ('a.webp', 'RGB', {'save_all': True, 'lossless': True}),
    ('a.tif', 'RGB', {}),
    ('a.tif', 'CMYK', {}),
    ('a.bmp', 'RGB', {}),
    ('a.ppm', 'RGB', {}),
  ],
)
def test_every_kind_for_every_user(tmp_path, user, name, mode, options):
  image = picture(40, 20)
  if mode == 'P':
    image = image.quantize(4)
  if 'save_all' in options:
    options = {
      **options,
      'append_images': [Image.new('RGB', (40, 20), 'green')],
    }
  image.convert(mode).save(tmp_path / name, **options)
  assert is_red_and_blue(user(tmp_path / name))


@pytest.mark.parametrize('user', USERS)
def test_photos_are_turned(tmp_path, user):
  exif = Image.Exif()
  exif[0x0112] = 6  # What is stored as left is above.
  image = picture(40, 40).transpose(Image.Transpose.ROTATE_90)
  image.save(tmp_path / 'a.jpg', exif=exif)
  assert is_red_and_blue(user(tmp_path / 'a.jpg'))


def test_the_first_picture_of_a_large_one_of_several(tmp_path, small_limits):
  picture(400, 300).save(
    tmp_path / 'a.mpo', save_all=True, append_images=[Image.new('RGB', (9, 9))]
  )
  with pytest.raises(Image.DecompressionBombError):
    Image.open(tmp_path / 'a.mpo')
  assert is_red_and_blue(encode(tmp_path / 'a.mpo'))
