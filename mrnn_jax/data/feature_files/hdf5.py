"""Features in HDF5.

Three layouts are read: ``features`` [images, dimension] with ``ids``;
``features`` whose names stand in a text file; one dataset for each image,
named after it.  The attributes ``encoder`` and ``weights`` are passed on.
"""

import mmap
import os
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.data.feature_files import names
from mrnn_jax.data.feature_files.table import Encoder, FeatureTable
from mrnn_jax.runtime import bounded_files, errors, messages, progress

_FEATURES = ('features', 'feats', 'feature', 'image_features')
_ENCODER = {'encoder': 'name', 'weights': 'weights'}
# How a collection of texts begins: name, version, three zeros.
_COLLECTION = b'GCOL\x01\0\0\0'
_HEAP_HEADER = 16
_IDS = ('ids', 'image_ids', 'names', 'image_names', 'filenames')


def load(path: epath.Path, ids_path: epath.Path | None) -> FeatureTable:
  """Read the features of an HDF5 file in any of the three layouts.

  Raises:
    InputError: it is in none of them.
  """
  with open_file(path) as file:
    found = datasets(file)
    inside = next((found[name] for name in _IDS if name in found), None)
    if any(x in file.attrs for x in _ENCODER):
      _check_heaps(path, file)
    encoder = Encoder(
      **{
        field: names.text(file.attrs[entry], str(path))
        for entry, field in _ENCODER.items()
        if entry in file.attrs
      }
    )
    matrix = next((found[name] for name in _FEATURES if name in found), None)
    if matrix is None:
      names.refuse(path, ids_path)
      return _one_for_each(path, found, encoder)
    if inside is None:
      ids = names.find(path, ids_path)
    else:
      names.refuse(path, ids_path)
      ids = names.as_names(np.asarray(read(path, inside)), str(path))
    features = names.images_first(read(path, matrix), len(ids))
  return FeatureTable(ids, features, str(path), encoder)


def open_file(path: epath.Path) -> Any:
  """Open an HDF5 file, local or not, for reading."""
  import h5py  # Late: other kinds of files do without it.

  local = os.fspath(path)
  if os.path.exists(local):
    return h5py.File(local, 'r')
  return h5py.File(path.open('rb'), 'r')


def datasets(file: Any) -> dict[str, Any]:
  """Return the datasets of a file by name, those in groups by their path.

  Links to other files are not followed.
  """
  import h5py

  found = {}

  def visit(name: str, item: Any):
    # MATLAB keeps what it refers to in a group of its own.
    if isinstance(item, h5py.Dataset) and not name.startswith('#'):
      found[name] = item

  file.visititems(visit)
  return found


def read(path: epath.Path, data: Any) -> np.ndarray:
  """Return a dataset, memory-mapped where it lies in one piece on a disk.

  Raises:
    InputError: its numbers lie in another file.
  """
  _check(path, data)
  local, offset = os.fspath(path), data.id.get_offset()
  # Only numbers, and only as they stand there: None if packed or in chunks.
  if offset is not None and data.dtype.kind == 'f' and os.path.exists(local):
    return np.memmap(local, data.dtype, 'r', offset, data.shape)
  return data[()]


def _check(path: epath.Path, data: Any) -> None:
  """Refuse a dataset in another file, too large, or that cannot be read."""
  if data.external or data.is_virtual:
    raise errors.InputError(
      f'{path} keeps {data.name} in other files: save it in one file.'
    )
  # A dataset of any size takes no room in the file until it is written.
  bounded_files.check_packing(path, data.nbytes, data.id.get_storage_size())
  if data.dtype.kind == 'O':
    _check_heaps(path, data.file)
    _check_lengths(path, data)


def _check_lengths(path: epath.Path, data: Any) -> None:
  """Refuse texts whose length alone, four bytes, would fill the memory.

  Only where they stand in one piece, as usual; elsewhere the library takes up
  to 4 GB before it sees that they are not there.
  """
  local, offset = os.fspath(path), data.id.get_offset()
  if offset is None or not data.size or not os.path.exists(local):
    return
  # A reference: length, place of the collection, number in it.
  stored = data.id.get_storage_size()
  references = np.memmap(local, '<u4', 'r', offset, (data.size, 4))
  longest = references[:, 0].max() if stored == references.nbytes else 0
  if longest > 4 * messages.MAX_NAME:
    raise errors.InputError(
      f'{path} is broken (a name of {longest:,} bytes): save it again.'
    )


def _check_heaps(path: epath.Path, file: Any) -> None:
  """Refuse a file whose texts HDF5's library would look for for ever.

  Texts of any length lie in collections, one behind another; the library goes
  from each to the next by its size, also where that is nothing.

  Raises:
    InputError: it is such a file.
  """
  local = os.fspath(path)
  if not os.path.exists(local):
    return
  width = file.id.get_create_plist().get_sizes()[1]
  with (
    open(local, 'rb') as raw,
    mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data,
  ):
    begin = data.find(_COLLECTION)
    while begin >= 0:
      if not _is_finite(data, begin, width):
        raise errors.InputError(
          f'{path} is broken (a collection of texts without an end): save it'
          ' again.'
        )
      begin = data.find(_COLLECTION, begin + 1)


def _is_finite(data: mmap.mmap, begin: int, width: int) -> bool:
  """Whether the texts of a collection lead to its end.

  Args:
    data: the file.
    begin: where its collection begins.
    width: bytes of a size, as the file has them.
  """

  def size_at(position: int) -> int:
    found = data[position + 8 : position + 8 + width]
    return int.from_bytes(found, 'little')

  end = min(begin + size_at(begin), len(data))
  position = begin + _HEAP_HEADER
  while position + _HEAP_HEADER <= end:
    size = size_at(position)
    if data[position : position + 2] == bytes(2):
      # What is free counts its own header.
      step = size
    else:
      step = _HEAP_HEADER + (size + 7) // 8 * 8
    if step < _HEAP_HEADER:
      return False
    position += step
  return True


def _one_for_each(
  path: epath.Path, found: dict[str, Any], encoder: Encoder
) -> FeatureTable:
  """Read one dataset [D] (or [1, D]) for each image."""
  if not found:
    raise errors.InputError(
      f'{path} holds no dataset: save "features" [images, dimension] and "ids".'
    )
  first = next(iter(found.values()))
  features = np.empty((0, 0), first.dtype)
  items = progress.track(found.items(), len(found), 'read', 'features')
  for row, (name, data) in enumerate(items):
    if data.size != max(data.shape or (0,)) or data.dtype != first.dtype:
      raise errors.InputError(
        f'{path} has neither "features" nor one vector for each image:'
        f' {name!r} is {data.dtype} of shape {data.shape}.'
      )
    if not row:
      size = len(found) * data.nbytes
      bounded_files.check_packing(path, size, path.stat().length)
      features = np.empty((len(found), data.size), data.dtype)
    if data.size != features.shape[1]:
      raise errors.InputError(
        f'{path} holds {data.size:,} numbers for {name!r} and'
        f' {features.shape[1]:,} for {next(iter(found))!r}: save all features'
        ' alike.'
      )
    _check(path, data)
    features[row] = np.reshape(data[()], -1)
  ids = [names.text(name, str(path)) for name in found]
  return FeatureTable(ids, features, str(path), encoder)
