"""Opens picture files of others, whatever they are called: the only place.

Nothing here takes more memory than a photo may need, and no file is handed to
a program outside, as Pillow does with EPS.
"""

import functools
import io
import os
import warnings

import numpy as np
from PIL import Image, JpegImagePlugin

from mrnn_jax.runtime import messages

# No others: Pillow hands some of them (EPS) to programs outside.
_FORMATS = (
  *('JPEG', 'MPO', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF', 'JPEG2000', 'AVIF'),
  'PPM',
)
_HEIF = 'HEIF'  # Of a package that is not everybody's.
_HEIF_BRANDS = (b'heic', b'heix', b'hevc', b'heim', b'heis', b'mif1', b'msf1')
# Beyond that, a small file can fill the memory.
MAX_PIXELS = 90_000_000
MAX_BYTES = 1 << 29
_TOO_LARGE = f'more than {MAX_PIXELS:,} pixels: save it smaller, or as JPEG'
_TOO_LARGE_JPEG = (
  f'more than {MAX_PIXELS:,} pixels: save it smaller, or without "progressive"'
)

# Beginnings of the segments of a JPEG.
_FRAMES, _SEQUENTIAL, _SCAN = range(0xC0, 0xD0), (0xC0, 0xC1), 0xDA
_TABLES = (0xC4, 0xC8, 0xCC)  # Between the frames, but none.

_ORIENTATION = 0x0112
_TRANSPOSE = {
  2: Image.Transpose.FLIP_LEFT_RIGHT,
  3: Image.Transpose.ROTATE_180,
  4: Image.Transpose.FLIP_TOP_BOTTOM,
  5: Image.Transpose.TRANSPOSE,
  6: Image.Transpose.ROTATE_270,
  7: Image.Transpose.TRANSVERSE,
  8: Image.Transpose.ROTATE_90,
}


class PictureError(ValueError):
  """Why a picture cannot be read, for a report that names its file."""


def read_rgb(path: str | os.PathLike, side: int) -> Image.Image:
  """Read a picture as RGB.

  Grey, palette, CMYK and 16-bit pictures become RGB of 8 bits, what is
  transparent becomes white, of an animation the first frame counts, and a
  photo is turned as its EXIF data say.

  Args:
    path: its file.
    side: pixels of a side that are needed; a JPEG may be decoded smaller than
      it is, but not below twice as many.

  Raises:
    PictureError: it cannot be read; the message is the reason.
  """
  return decode_rgb(read_bytes(path), side)


def read_bytes(path: str | os.PathLike) -> bytes:
  """Return the bytes of a picture's file, if it is no larger than it may be.

  Raises:
    PictureError: it cannot be read; the message is the reason.
  """
  try:
    with open(path, 'rb') as file:
      data = file.read(MAX_BYTES + 1)
  except OSError as error:
    raise PictureError(error.strerror or str(error)) from error
  if len(data) > MAX_BYTES:
    raise PictureError(f'more than {MAX_BYTES >> 20} MB')
  return data


def decode_rgb(data: bytes, side: int) -> Image.Image:
  """Do as ``read_rgb`` with the bytes of a file."""
  if not data:
    raise PictureError('the file is empty')
  try:
    with _open(data) as image:
      _draft(image, data, 2 * side)
      if image.width * image.height > MAX_PIXELS:
        raise PictureError(_TOO_LARGE)
      return _to_rgb(_upright(image))
  except PictureError:
    raise
  except Image.DecompressionBombError as error:
    raise PictureError(_TOO_LARGE) from error
  except Image.UnidentifiedImageError as error:
    if data[4:8] == b'ftyp' and data[8:12] in _HEIF_BRANDS:
      raise PictureError(
        'HEIC is read after: pip install pillow-heif'
      ) from error
    raise PictureError('no image of a known format') from error
  # Broken files lead Pillow's decoders to nearly any exception.
  except Exception as error:
    raise PictureError(f'broken: {messages.first_line(error)}') from error


def as_rgb(image: Image.Image) -> Image.Image:
  """Return a picture that is open as ``read_rgb`` does those of files.

  Raises:
    PictureError: it is too large, or cannot be decoded.
  """
  if image.width * image.height > MAX_PIXELS:
    raise PictureError(_TOO_LARGE)
  try:
    return _to_rgb(_upright(image))
  except Exception as error:  # As for a file.
    raise PictureError(f'broken: {messages.first_line(error)}') from error


def upright_size(data: bytes) -> tuple[int, int]:
  """Return width and height of a photo as it is seen, without decoding it.

  Raises:
    PictureError: it is none.
  """
  try:
    with _open(data) as image:
      width, height = image.size
      turned = _orientation(image) in (5, 6, 7, 8)
  except Exception as error:  # As for any broken file.
    raise PictureError(f'broken: {messages.first_line(error)}') from error
  return (height, width) if turned else (width, height)


def is_plain_jpeg(data: bytes, side: int) -> bool:
  """Return whether bytes are an upright RGB JPEG, a square of that side."""
  try:
    with _open(data) as image:
      plain = image.format == 'JPEG' and image.mode == 'RGB'
      upright = _orientation(image) not in _TRANSPOSE
      return plain and upright and image.size == (side, side)
  except Exception:  # As for any broken file.
    return False


def quiet():
  """Silence Pillow's warnings: they name no file, and photos go on in spite."""
  warnings.filterwarnings('ignore', module=r'PIL\.')


def _open(data: bytes) -> Image.Image:
  """Open a picture of one of the formats, without decoding it."""
  Image.init()
  _register_heif()
  formats = [name for name in (*_FORMATS, _HEIF) if name in Image.OPEN]
  try:
    return Image.open(io.BytesIO(data), formats=formats)
  except Image.DecompressionBombError:
    if not data.startswith(b'\xff\xd8'):
      raise
    # Pillow's own limit does not know that a JPEG can be decoded small.
    return JpegImagePlugin.JpegImageFile(io.BytesIO(data))


@functools.cache
def _register_heif() -> None:
  """Let Pillow open HEIC, where the package for it is installed."""
  try:
    import pillow_heif
  except ImportError:
    return
  pillow_heif.register_heif_opener()


def _draft(image: Image.Image, data: bytes, side: int) -> None:
  """Have a JPEG decoded small, if that leaves the size that is needed.

  One that is too large gets as small as it must, if rows of it are decoded one
  after another.

  Raises:
    PictureError: it is too large, and decoded as a whole, however small.
  """
  scale = 1
  if image.width * image.height > MAX_PIXELS:
    if isinstance(image, JpegImagePlugin.JpegImageFile) and not _by_rows(data):
      raise PictureError(_TOO_LARGE_JPEG)
    while scale < 8 and image.width * image.height > MAX_PIXELS * scale**2:
      scale *= 2
  width, height = (max(1, min(side, x // scale)) for x in image.size)
  image.draft(None, (width, height))


def _by_rows(data: bytes) -> bool:
  """Whether a JPEG is decoded row by row: all colours in one sequential scan.

  Of others the library keeps all coefficients, up to 6 bytes a pixel.
  """
  place, sequential, colours = 2, False, 0
  while place + 10 <= len(data) and data[place] == 0xFF:
    kind = data[place + 1]
    if kind == _SCAN:
      return sequential and data[place + 4] == colours
    if kind in _FRAMES and kind not in _TABLES:
      sequential, colours = kind in _SEQUENTIAL, data[place + 9]
    place += 2 + int.from_bytes(data[place + 2 : place + 4], 'big')
  return False


def _upright(image: Image.Image) -> Image.Image:
  """Turn a photo as its EXIF data say, if they can be read."""
  orientation = _orientation(image)
  if orientation not in _TRANSPOSE:
    return image
  return image.transpose(_TRANSPOSE[orientation])


def _orientation(image: Image.Image) -> int | None:
  try:
    return image.getexif().get(_ORIENTATION)
  except Exception:  # As for any broken file; the pixels may be sound.
    return None


def _to_rgb(image: Image.Image) -> Image.Image:
  """Return a picture of any mode as RGB."""
  if image.mode == 'RGB' and 'transparency' not in image.info:
    image.load()  # Its file is closed behind it.
    return image
  if image.mode == 'F' or image.mode.startswith('I'):
    grey = _to_8_bits(np.asarray(image), image.mode)
    return Image.fromarray(grey).convert('RGB')
  if 'transparency' in image.info or image.mode in ('LA', 'PA', 'RGBA', 'RGBa'):
    image = image.convert('RGBA')
    white = Image.new('RGBA', image.size, 'white')
    return Image.alpha_composite(white, image).convert('RGB')
  return image.convert('RGB')


def _to_8_bits(values: np.ndarray, mode: str) -> np.ndarray:
  """Return grey values of more than 8 bits as uint8.

  Args:
    values: what Pillow gives.
    mode: 'I;16' and the like are of 16 bits; so are those of 'I' unless all
      fit into 8; those of 'F' lie between 0 and 1 unless one is larger.
  """
  values = np.nan_to_num(np.asarray(values, np.float64))
  highest = values.max()
  if mode.startswith('I;16') or (mode == 'I' and highest > 255):
    values = values / 257
  elif mode == 'F' and highest <= 1:
    values = values * 255
  return np.clip(np.round(values), 0, 255).astype(np.uint8)
