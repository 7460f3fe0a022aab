"""Photos: find them, and read whatever people have as RGB pixels."""

import collections
from collections.abc import Iterator, Sequence
import concurrent.futures
import dataclasses
import io
import itertools
import os
import pathlib
import warnings

import numpy as np
from PIL import Image

from mrnn_jax.runtime import messages
from mrnn_jax.runtime.errors import InputError

SUFFIXES = (
  *('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.webp', '.tif', '.tiff'),
  *('.jp2', '.avif', '.ppm', '.pgm', '.jfif'),
)
# No others: Pillow hands some of them (EPS) to programs outside.
_FORMATS = (
  *('JPEG', 'MPO', 'PNG', 'GIF', 'BMP', 'WEBP', 'TIFF', 'JPEG2000', 'AVIF'),
  'PPM',
)
# Whole photo, shape not kept; or the middle of it.
RESIZES = ('squash', 'center_crop')
# The middle is a square of S out of S + 32 pixels, as ImageNet is evaluated.
_CROP_PADDING = 32
# Beyond that, a small file can fill the memory.
MAX_PIXELS = 90_000_000
MAX_BYTES = 1 << 29
_MAX_LIST_BYTES = 1 << 28
_TOO_LARGE = f'more than {MAX_PIXELS:,} pixels'
# Photos that wait decoded: so many are read while a batch is computed.
_AHEAD = 64

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


class PhotoError(ValueError):
  """Why a photo cannot be read, for a report that names the photo."""


@dataclasses.dataclass(frozen=True)
class Photo:
  """A photo to read.

  Attributes:
    id: its name for people and datasets.
    path: its file.
  """

  id: str
  path: str


def find_all(images: str) -> list[Photo]:
  """Find the photos that a flag names.

  Args:
    images: one or more of these, separated by commas: a folder (with all below
      it), a photo, or a text file that lists photos, one path a line, relative
      ones from where the list lies.

  Returns:
    The photos; those of a folder sorted, with their paths inside it as ids,
    others in the order given, with what was given as ids.

  Raises:
    InputError: there is no such file, or no photo in it, or one id twice.
  """
  # A comma may belong to the name of a file.
  whole = pathlib.Path(images).expanduser().exists()
  names = (
    [images] if whole else list(filter(None, map(str.strip, images.split(','))))
  )
  found = [photo for name in names for photo in _find(name)]
  if not found:
    raise InputError(
      f'there is no photo in {images!r}: name a folder of photos, a photo, or a'
      ' text file with one path a line.'
    )
  counts = collections.Counter(photo.id for photo in found)
  for photo in found:
    _check_name(photo.id)
  name, count = counts.most_common(1)[0]
  if count > 1:
    raise InputError(f'{images} has {name!r} {count} times: name it once.')
  return found


def _check_name(name: str) -> None:
  """Refuse a name that cannot be written into a list of names.

  Raises:
    InputError: it is not UTF-8, has control characters or is too long.
  """
  if not messages.is_name(name):
    raise InputError(
      f'{messages.shorten(ascii(name))} is no name for a photo: rename it'
      ' without control characters, in UTF-8.'
    )


def _find(images: str) -> list[Photo]:
  """Find the photos of a folder, a photo, or a list."""
  path = pathlib.Path(images).expanduser()
  if path.is_dir():
    return [
      Photo(file.relative_to(path).as_posix(), str(file))
      for file in sorted(path.rglob('*'))
      if file.suffix.lower() in SUFFIXES and file.is_file()
    ]
  if path.suffix.lower() in SUFFIXES and path.is_file():
    return [Photo(images, str(path))]
  return [Photo(line, str(path.parent / line)) for line in _lines(path)]


def _lines(path: pathlib.Path) -> list[str]:
  """Return the lines of a list of photos that are not blank."""
  try:
    with path.open('rb') as file:
      data = file.read(_MAX_LIST_BYTES + 1)
  except OSError as error:
    raise InputError(
      f'{path} cannot be read ({error.strerror}): name a folder of photos, a'
      ' photo, or a text file with one path a line.'
    ) from error
  if len(data) > _MAX_LIST_BYTES:
    raise InputError(
      f'{path} is larger than {_MAX_LIST_BYTES >> 20} MB: name a folder of'
      ' photos, or a text file with one path a line.'
    )
  try:
    text = data.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise InputError(
      f'{path} is neither a photo nor a text file with one path a line.'
    ) from error
  return [line.strip() for line in text.splitlines() if line.strip()]


def read(path: str, size: int, resize: str) -> np.ndarray:
  """Read one photo.

  Grey, palette, CMYK and 16-bit photos become RGB of 8 bits, what is
  transparent becomes white, of an animation the first frame counts, and a
  photo is turned as its EXIF data say.

  Args:
    path: its file.
    size: S, pixels of a side of the result.
    resize: 'squash' for the whole photo, its shape not kept, 'center_crop' for
      the middle of it.

  Returns:
    [S, S, 3] uint8.

  Raises:
    PhotoError: it cannot be read; the message is the reason.
  """
  try:
    with open(path, 'rb') as file:
      data = file.read(MAX_BYTES + 1)
  except OSError as error:
    raise PhotoError(error.strerror or str(error)) from error
  if not data:
    raise PhotoError('the file is empty')
  if len(data) > MAX_BYTES:
    raise PhotoError(f'more than {MAX_BYTES >> 20} MB')
  try:
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
      if image.width * image.height > MAX_PIXELS:
        raise PhotoError(_TOO_LARGE)
      # A JPEG is decoded small if that leaves twice the size that is needed.
      image.draft(None, (2 * size, 2 * size))
      return np.asarray(_resize(_to_rgb(_upright(image)), size, resize))
  except PhotoError:
    raise
  except Image.DecompressionBombError as error:
    raise PhotoError(_TOO_LARGE) from error
  except Image.UnidentifiedImageError as error:
    raise PhotoError('no image of a known format') from error
  # Broken files lead Pillow's decoders to nearly any exception.
  except Exception as error:
    raise PhotoError(f'broken: {messages.first_line(error)}') from error


def read_all(
  paths: Sequence[str], size: int, resize: str, num_threads: int | None = None
) -> Iterator[np.ndarray | PhotoError]:
  """Read photos in parallel, a few ahead of what is taken.

  Args:
    paths: their files.
    size: see ``read``.
    resize: see ``read``.
    num_threads: how many are read at a time; the CPU's cores by default.

  Yields:
    For each path in its order, the pixels or why there are none.
  """
  num_threads = num_threads or os.cpu_count() or 1
  quiet()

  def attempt(path: str) -> np.ndarray | PhotoError:
    try:
      return read(path, size, resize)
    except PhotoError as error:
      return error

  with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
    todo = iter(paths)
    ahead = collections.deque(
      pool.submit(attempt, path)
      for path in itertools.islice(todo, _AHEAD + num_threads)
    )
    try:
      while ahead:
        yield ahead.popleft().result()
        ahead.extend(
          pool.submit(attempt, path) for path in itertools.islice(todo, 1)
        )
    finally:
      pool.shutdown(cancel_futures=True)


def quiet():
  """Silence Pillow's warnings: they name no file, and photos go on in spite."""
  warnings.filterwarnings('ignore', module=r'PIL\.')


def _formats() -> list[str]:
  """Return those of the formats that this Pillow knows."""
  Image.init()
  return [name for name in _FORMATS if name in Image.OPEN]


def _upright(image: Image.Image) -> Image.Image:
  """Turn a photo as its EXIF data say, if they can be read."""
  try:
    orientation = image.getexif().get(_ORIENTATION)
  except Exception:  # As for any broken file; the pixels may be sound.
    orientation = None
  if orientation not in _TRANSPOSE:
    return image
  return image.transpose(_TRANSPOSE[orientation])


def _to_rgb(image: Image.Image) -> Image.Image:
  """Return a photo of any mode as RGB."""
  if image.mode == 'RGB' and 'transparency' not in image.info:
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


def _resize(image: Image.Image, size: int, resize: str) -> Image.Image:
  """Scale a photo to a square."""
  if resize == 'squash':
    box = (0, 0, *image.size)
  else:
    side = min(image.size) * size / (size + _CROP_PADDING)
    left, top = ((length - side) / 2 for length in image.size)
    box = (left, top, left + side, top + side)
  # The filter of the features that are around: they agree to five digits.
  return image.resize((size, size), Image.Resampling.BICUBIC, box)
