"""Photos for a page: found by image id, as small pictures inside the page."""

import base64
import collections
from collections.abc import Sequence
import concurrent.futures
import contextlib
import dataclasses
import io
import os
import pathlib
import urllib.parse

from mrnn_jax.data import image_names
from mrnn_jax.encoders.photos import SUFFIXES
from mrnn_jax.runtime import picture_files
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.progress import track

# Tried after the id as it stands.
_ENDINGS = ('.jpg', '.jpeg', '.png', '.JPG', '.JPEG', '.webp', '.gif', '.bmp')
_QUALITY = 60
# A page that holds more than so many pictures opens slowly.
MOST_INSIDE = 2000


@dataclasses.dataclass(frozen=True)
class Photos:
  """What a page knows of the photos of N images.

  Attributes:
    links: [N] where each photo lies, seen from the page's folder, as a URL;
      '' where there is none.
    thumbnails: [N] small pictures as base64 of JPEG, '' where there is none;
      None where the page shows the photos themselves.
    missing: ids of images without a photo.
    broken: ids of images whose photo cannot be read.
  """

  links: list[str]
  thumbnails: list[str] | None
  missing: list[str]
  broken: list[str]


def find_photos(
  folder: str, image_ids: Sequence[str], page_folder: str, size: int
) -> Photos:
  """Find the photos of images in a folder and make small ones.

  Args:
    folder: the photos; an id is a path below it, with or without its ending,
      or finds one there by ``image_names.Names``.
    image_ids: [N].
    page_folder: where the page will lie, for relative links.
    size: pixels of the longer side of small pictures; 0, or more than
      ``MOST_INSIDE`` images: the page loads the photos as they come into view.

  Raises:
    InputError: the folder is not there, or holds none of the photos.
  """
  root = pathlib.Path(folder).expanduser()
  if not root.is_dir():
    raise InputError(f'--photos={folder} is not a folder.')
  paths = [photo_path(root, image_id) for image_id in image_ids]
  if not all(paths):
    paths = _find_below(root, image_ids, paths)
  if not any(paths):
    raise InputError(
      f'{folder} holds none of the {len(image_ids)} photos, for example '
      f'{image_ids[0]}: name the folder that their ids begin in by --photos.'
    )
  return show(paths, image_ids, page_folder, size)


def show(
  paths: Sequence[pathlib.Path | None],
  image_ids: Sequence[str],
  page_folder: str,
  size: int,
) -> Photos:
  """Return photos for a page, by their files.

  Args:
    paths: [N] a photo each, None where there is none.
    image_ids: [N] what they are called.
    page_folder: see ``find_photos``.
    size: see ``find_photos``.
  """
  links = [_link(path, page_folder) if path else '' for path in paths]
  missing = [i for i, path in zip(image_ids, paths, strict=True) if not path]
  if not size or len(image_ids) > MOST_INSIDE:
    return Photos(links, None, missing, [])
  thumbnails, broken = [], []
  picture_files.quiet()
  with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
    # Pillow lets other threads run while it decodes.
    results = pool.map(lambda path: path and thumbnail(path, size), paths)
    results = track(results, len(paths), 'shrink', 'photos')
    for number, result in enumerate(results):
      if paths[number] and not result:
        broken.append(image_ids[number])
      thumbnails.append(base64.b64encode(result or b'').decode())
  return Photos(links, thumbnails, missing, broken)


def photo_path(root: pathlib.Path, image_id: str) -> pathlib.Path | None:
  """Return the photo of an image, or None; never one outside ``root``."""
  relative = pathlib.PurePosixPath(image_id.replace('\\', '/'))
  # An id comes from data: it may not climb out of the folder.
  if relative.is_absolute() or '..' in relative.parts or '\0' in image_id:
    return None
  base = root / relative
  for path in (base, *(base.with_name(base.name + e) for e in _ENDINGS)):
    if base.name and path.is_file():
      return path
  return None


def _find_below(
  root: pathlib.Path,
  image_ids: Sequence[str],
  paths: Sequence[pathlib.Path | None],
) -> list[pathlib.Path | None]:
  """Find what is still to be found in folders below, where no doubt is left."""
  files = [
    pathlib.Path(folder, name)
    for folder, _, names in os.walk(root)
    for name in names
    if name.lower().endswith(SUFFIXES)
  ]
  below = image_names.Names(x.relative_to(root).as_posix() for x in files)
  found = list(paths)
  for i, path in enumerate(paths):
    if path is None:
      with contextlib.suppress(image_names.AmbiguousNameError):
        number = below.find(image_ids[i])
        found[i] = None if number is None else files[number]
  # A photo that two ids find may be the other's.
  counts = collections.Counter(found)
  return [
    x if paths[i] or counts[x] == 1 else None for i, x in enumerate(found)
  ]


def _link(path: pathlib.Path, page_folder: str) -> str:
  """Return a relative URL of a path, seen from a folder."""
  relative = os.path.relpath(
    os.path.abspath(path), os.path.abspath(os.path.expanduser(page_folder))
  )
  # With './' no file name can be taken for a scheme such as "javascript:".
  return './' + urllib.parse.quote(pathlib.PurePath(relative).as_posix())


def thumbnail(path: pathlib.Path, size: int) -> bytes:
  """Return a photo as a small JPEG, upright; b'' if it cannot be read."""
  try:
    image = picture_files.read_rgb(path, size)
    image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=_QUALITY, optimize=True)
  except Exception:  # Decoders raise whatever a broken file makes them.
    return b''
  return buffer.getvalue()
