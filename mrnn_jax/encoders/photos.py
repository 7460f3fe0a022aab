"""Photos: find them, and read whatever people have as RGB pixels."""

import collections
from collections.abc import Iterator, Sequence
import dataclasses
import functools
import glob
import os
import pathlib
import sys
from typing import Any

import numpy as np
from PIL import Image

from mrnn_jax.runtime import messages, picture_files, picture_pool
from mrnn_jax.runtime.errors import InputError, printable
from mrnn_jax.runtime.picture_views import WHOLE, View, scale

SUFFIXES = (
  *('.jpg', '.jpeg', '.png', '.gif', '.bmp', '.webp', '.tif', '.tiff'),
  *('.jp2', '.avif', '.ppm', '.pgm', '.jfif'),
)
# Read where the package for it is installed.
_HEIF = ('.heic', '.heif')
# What cameras and programs also write: photos that are not read, and counted.
_RAW = (
  *('.jxl', '.dng', '.cr2', '.cr3', '.nef', '.arw', '.raf', '.orf', '.rw2'),
  *('.psd', '.tga'),
)
# Pictures that are hardly photos: left aside, but not without a word.
_GRAPHICS = ('.svg', '.eps', '.ico', '.pdf')
# Whole photo, shape not kept; or the middle of it.
RESIZES = ('squash', 'center_crop')
# The middle is a square of S out of S + 32 pixels, as ImageNet is evaluated.
_CROP_PADDING = 32
_MAX_LIST_BYTES = 1 << 28

# Why a photo cannot be read, for a report that names the photo.
PhotoError = picture_files.PictureError
quiet = picture_files.quiet


@dataclasses.dataclass(frozen=True)
class Photo:
  """A photo to read.

  Attributes:
    id: its name for people and datasets.
    path: its file, or ''.
    image: the picture itself, where it is no file.
  """

  id: str
  path: str
  image: Image.Image | None = None

  @property
  def source(self) -> str | Image.Image:
    """What ``read`` reads."""
    return self.path if self.image is None else self.image


def find_all(images: str) -> list[Photo]:
  """Find the photos that a flag names.

  Args:
    images: one or more of these, separated by commas (or by line ends, where
      names may hold commas): a folder (with all below it), a photo, a pattern
      with ``*``, or a text file that lists photos, one path a line, relative
      ones from where the list lies.

  Returns:
    The photos; those of a folder sorted, with their paths inside it as ids,
    others in the order given, with what was given as ids.  Those of kinds that
    cannot be read are among them, unless they lie beside one that can.

  Raises:
    InputError: there is no such file, or no photo in it, or one id twice.
  """
  # A comma may belong to the name of a file.
  whole = pathlib.Path(images).expanduser().exists()
  separator = '\n' if '\n' in images else ','
  names = (
    [images]
    if whole
    else list(filter(None, map(str.strip, images.split(separator))))
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
    one, other = [photo.path for photo in found if photo.id == name][:2]
    if one != other:
      raise InputError(
        f'{one} and {other} would both be called {name!r}: name the folder'
        ' above them.'
      )
    raise InputError(f'{images} has {name!r} {count} times: name it once.')
  return found


def given(photos: Any) -> list[Photo]:
  """Return the photos that a caller means.

  Args:
    photos: what ``find_all`` takes, as text or a path; a picture (of Pillow, or
      an array [H, W, 3] or [H, W] of uint8); or a list of pictures and paths of
      photos.

  Returns:
    The photos, in their order; pictures without a name are called by their
    places, '0' being the first.

  Raises:
    InputError: it is nothing of this, or there is none.
  """
  if isinstance(photos, str | os.PathLike):
    return find_all(os.fspath(photos))
  single = isinstance(photos, Image.Image)
  if single or (isinstance(photos, np.ndarray) and photos.ndim < 4):
    photos = [photos]
  found = [_given(number, photo) for number, photo in enumerate(photos)]
  if not found:
    raise InputError('there is no photo in an empty list.')
  return found


def _given(number: int, photo: Any) -> Photo:
  """Return one photo of a list."""
  if isinstance(photo, str | os.PathLike):
    path = os.path.expanduser(os.fspath(photo))
    return Photo(os.fspath(photo), path)
  if isinstance(photo, Image.Image):
    return Photo(getattr(photo, 'filename', '') or str(number), '', photo)
  array = np.asarray(photo)
  if array.dtype != np.uint8 or array.shape[2:] not in ((), (3,)):
    raise InputError(
      f'photo {number} is of {array.dtype}, {list(array.shape)}: give paths, '
      'pictures of Pillow, or arrays [height, width, 3] of uint8.'
    )
  return Photo(str(number), '', Image.fromarray(array))


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
    there = [file for file in sorted(path.rglob('*')) if file.is_file()]
    kinds = collections.Counter(file.suffix.lower() for file in there)
    others = [f'{kinds[x]:,} {x}' for x in _GRAPHICS if kinds[x]]
    if others:
      print(
        f'note: {printable(images)} holds pictures of kinds that are not read '
        f'({", ".join(others)}): save them as JPEG or PNG.',
        file=sys.stderr,
      )
    sure = {file.with_suffix('') for file in there if _is_sure(file)}
    return [
      Photo(file.relative_to(path).as_posix(), str(file))
      for file in there
      if _is_sure(file)
      # The original beside its JPEG is no photo of its own.
      or (_is_photo(file) and file.with_suffix('') not in sure)
    ]
  if not path.exists() and set(images) & set('*?['):
    return [
      photo
      for name in sorted(glob.glob(str(path), recursive=True))
      if os.path.isdir(name) or _is_photo(pathlib.Path(name))
      for photo in _find(name)
    ]
  if _is_photo(path) and path.is_file():
    return [Photo(images, str(path))]
  return [Photo(line, str(path.parent / line)) for line in _lines(path)]


def _is_photo(path: pathlib.Path) -> bool:
  """Say whether a file is a photo by its name."""
  return path.suffix.lower() in (*SUFFIXES, *_HEIF, *_RAW)


def _is_sure(path: pathlib.Path) -> bool:
  """Say whether it is one of a kind that is read, whatever is installed."""
  return path.suffix.lower() in SUFFIXES


def _lines(path: pathlib.Path) -> list[str]:
  """Return the lines of a list of photos that are not blank."""
  if not path.exists():
    raise InputError(
      f'there is no {path}: name a folder of photos, a photo, or a text file '
      'with one path a line.'
    )
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


def read(source: str | Image.Image, size: int, resize: str) -> np.ndarray:
  """Read one photo, see ``picture_files.read_rgb``, and scale it to a square.

  Args:
    source: its file, or the picture.
    size: S, pixels of a side of the result.
    resize: 'squash' for the whole photo, its shape not kept, 'center_crop' for
      the middle of it.

  Returns:
    [S, S, 3] uint8.

  Raises:
    PhotoError: it cannot be read; the message is the reason.
  """
  return np.asarray(_resize(_open(source, size), size, resize))


def read_views(
  source: str | Image.Image, size: int, resize: str, views: Sequence[View]
) -> np.ndarray:
  """Read one photo as ``read`` does, and scale K views of it: [K, S, S, 3]."""
  image = _open(source, size)
  return np.stack([np.asarray(_resize(image, size, resize, v)) for v in views])


def _open(source: str | Image.Image, size: int) -> Image.Image:
  """Return a photo as RGB, of whatever size."""
  if isinstance(source, Image.Image):
    return picture_files.as_rgb(source)
  suffix = pathlib.PurePath(source).suffix.lower()
  if suffix in _RAW:  # The picture in it may be a thumbnail.
    raise PhotoError(f'{suffix} is not read: save it as JPEG or PNG')
  return picture_files.read_rgb(source, size)


def decode(data: bytes, size: int, resize: str) -> np.ndarray:
  """Do as ``read`` with the bytes of a photo's file."""
  image = picture_files.decode_rgb(data, size)
  return np.asarray(_resize(image, size, resize))


def read_all(
  sources: Sequence[str | Image.Image],
  size: int,
  resize: str,
  num_threads: int | None = None,
  num_processes: int = 0,
  views: Sequence[Sequence[View]] | None = None,
) -> Iterator[np.ndarray | PhotoError]:
  """Read photos in parallel, a few ahead of what is taken.

  Decoding runs beside Python for the most part, so that threads do where cores
  are few; processes share nothing, and cost a second to start.

  Args:
    sources: see ``read``.
    size: see ``read``.
    resize: see ``read``.
    num_threads: how many are read at a time; the CPU's cores by default.
    num_processes: so many processes read instead; 0: threads of this one do.
    views: K of each photo; None: the whole photos alone.

  Yields:
    For each in its order, the pixels [S, S, 3], of views [K, S, S, 3], or why
    there are none.
  """
  if views is None:
    reader = functools.partial(read, size=size, resize=resize)
    return picture_pool.ahead(reader, sources, num_threads, num_processes)
  items = list(zip(sources, views, strict=True))
  reader = functools.partial(_read_views_of, size=size, resize=resize)
  return picture_pool.ahead(reader, items, num_threads, num_processes)


def _read_views_of(
  item: tuple[str | Image.Image, Sequence[View]], size: int, resize: str
) -> np.ndarray:
  """Return what ``read_views`` does, of a photo and its views."""
  return read_views(item[0], size, resize, item[1])


def _resize(
  image: Image.Image, size: int, resize: str, view: View = WHOLE
) -> Image.Image:
  """Scale a photo, or a view of it, to a square."""
  box: tuple[float, float, float, float] = (0, 0, *image.size)
  if resize != 'squash':
    side = min(image.size) * size / (size + _CROP_PADDING)
    left, top = ((length - side) / 2 for length in image.size)
    box = (left, top, left + side, top + side)
  return scale(image, size, box, view)


def reasons(unreadable: Sequence[tuple[str, str]]) -> str:
  """Return why photos cannot be read: 'a.jpg, b.jpg (the file is empty)'.

  Args:
    unreadable: name and reason of each.
  """
  names: dict[str, list[str]] = {}
  for name, reason in unreadable:
    names.setdefault(reason, []).append(name)
  return '; '.join(
    f'{messages.listed(those)} ({printable(reason)})'
    for reason, those in names.items()
  )
