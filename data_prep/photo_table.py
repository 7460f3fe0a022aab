"""The photos of a dataset: found by image, scaled to squares, kept as JPEG."""

from collections.abc import Iterable, Iterator, Sequence
import dataclasses
import functools
import hashlib
import io

from PIL import Image

from data_prep import checks
from mrnn_jax.data import image_names
from mrnn_jax.encoders import photos
from mrnn_jax.runtime import picture_files, picture_pool, progress
from mrnn_jax.runtime.errors import InputError, printable

# Hardly to be told from the original, in a fifth of the bytes of a PNG.
_QUALITY = 95


@dataclasses.dataclass(frozen=True)
class Stored:
  """How the photos of a dataset are stored.

  Attributes:
    size: S, pixels of a side.
    resize: how they became squares, one of ``photos.RESIZES``.
  """

  size: int
  resize: str


class PhotoTable:
  """Photos, looked up by image.

  Attributes:
    ids: what they are called, by row.
    names: the same names, to find a row by any spelling of them.
    stored: how they are stored.
  """

  def __init__(self, found: Sequence[photos.Photo], stored: Stored):
    """Index photos.

    Args:
      found: the photos.
      stored: how they are to be stored.

    Raises:
      InputError: two of them have one name.
    """
    self._found = list(found)
    self.ids = [photo.id for photo in found]
    self.stored = stored
    self.names = image_names.Names()
    for row, name in enumerate(self.ids):
      first = self.names.add(name)
      if first != row:
        raise InputError(
          f'the photos {printable(self.ids[first])} and {printable(name)} are '
          'one name, as endings do not count: rename one of them.'
        )

  @classmethod
  @functools.lru_cache(maxsize=1)
  def open(cls, images: str, stored: Stored) -> 'PhotoTable':
    """Find the photos of a folder or a list, see ``photos.find_all``."""
    return cls(photos.find_all(images), stored)

  def get(self, image_id: str) -> bytes:
    """Return the JPEG of an image.

    Raises:
      KeyError: there is no such image.
      AmbiguousNameError: the name fits several.
      PhotoError: it cannot be read; the message is the reason.
    """
    row = self.names.find(image_id)
    if row is None:
      raise KeyError(image_id)
    return encode(self._found[row].path, self.stored)

  def all_of(
    self, image_ids: Iterable[str]
  ) -> Iterator[bytes | photos.PhotoError]:
    """Yield the JPEG of each image, or why there is none, read in parallel."""
    return picture_pool.ahead(self.get, image_ids)


def encode(path: str, stored: Stored) -> bytes:
  """Return a photo's file as a JPEG of a square.

  The file itself where it is that already: so the features of such a photo are
  those of its file, to the bit.

  Args:
    path: the photo.
    stored: size and shape of the square.

  Raises:
    PhotoError: it cannot be read; the message is the reason.
  """
  pixels = photos.read(path, stored.size, stored.resize)
  data = picture_files.read_bytes(path)
  if stored.resize == 'squash' and picture_files.is_plain_jpeg(
    data, stored.size
  ):
    return data
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'JPEG', quality=_QUALITY)
  return file.getvalue()


def check(
  checked: checks.Checked, table: PhotoTable
) -> tuple[checks.Checked, str]:
  """Read the photos of all records once: are they there, can they be read?

  Args:
    checked: what was found so far.
    table: the photos.

  Returns:
    The same with the photos in its report, and 64 hexadecimal digits by which
    all that is stored is known again.  It is a fault if an image of a split
    has no photo, one that cannot be read, or one that could be another's.
  """
  digest, faults = hashlib.sha256(), list(checked.faults)
  missing: dict[str, list[str]] = {}
  broken: dict[str, list[str]] = {}
  found = []
  for split, rows in checked.splits.items():
    missing[split], broken[split] = [], []
    for row in rows:
      try:
        there = table.names.find(row.image_id) is not None
      except image_names.AmbiguousNameError as error:
        broken[split].append(f'{row.image_id} (it could be {error.fits})')
        continue
      if there:
        found.append((split, row.image_id))
      else:
        missing[split].append(row.image_id)
  files = progress.track(
    table.all_of(image_id for _, image_id in found),
    len(found),
    'check',
    'photos',
  )
  for (split, image_id), data in zip(found, files, strict=True):
    if isinstance(data, photos.PhotoError):
      broken[split].append(f'{image_id} ({data})')
    else:
      digest.update(data)
  for split in checked.splits:
    for names, lack in (
      (missing[split], 'no photo'),
      (broken[split], 'a photo that cannot be read'),
    ):
      faults += checks.lacking_of(names, split, lack, 'photos')
  size = table.stored.size
  told = f'\nPhotos: {len(table.ids):,}, stored as {size} x {size} pixels.'
  return dataclasses.replace(
    checked, report=checked.report + told, faults=faults
  ), digest.hexdigest()
