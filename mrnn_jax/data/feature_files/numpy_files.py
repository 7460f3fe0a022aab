"""Features as NumPy saves them: ``.npz``, ``.npy``, a folder of ``.npy``."""

from concurrent import futures
import os
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.data.feature_files import names
from mrnn_jax.data.feature_files.table import Encoder, FeatureTable
from mrnn_jax.runtime import (
  errors,
  json_files,
  json_forms,
  messages,
  npz,
  progress,
)

_READERS = 16


def load_npz(path: epath.Path, ids_path: epath.Path | None) -> FeatureTable:
  """Read ``ids``, ``features`` and their views, and who made them if told."""
  names.refuse(path, ids_path)
  with path.open('rb') as file:
    try:
      return _from_archive(npz.Reader(file), str(path))
    except npz.UnusableError as error:
      raise errors.InputError(f'{path} {error}.') from error


def _from_archive(archive: npz.Reader, source: str) -> FeatureTable:
  for name in ('ids', 'features'):
    if name not in archive.names:
      raise errors.InputError(
        f'{source} has no array {name!r} (only'
        f' {messages.listed(archive.names)}): save it with'
        ' np.savez(file, ids=..., features=...).'
      )
  told = {}
  for field, entry in (('name', 'encoder'), ('weights', 'weights')):
    if entry in archive.names and (value := archive.read(entry)).size:
      told[field] = names.text(value.reshape(-1)[0], source)
  ids = names.as_names(archive.read('ids'), source)
  views: dict[str, Any] = {}
  if {'views', 'view_flips'} <= set(archive.names):
    views = {
      'views': archive.read('views'),
      'view_flips': archive.read('view_flips').reshape(-1).tolist(),
    }
  return FeatureTable(
    ids, archive.read('features'), source, Encoder(**told), **views
  )


def load_npy(path: epath.Path, ids_path: epath.Path | None) -> FeatureTable:
  """Map an array [images, dimension] whose names stand in a text file.

  Who made them stands beside it, in ``NAME.encoder.json``, if that is told.
  """
  ids = names.find(path, ids_path)
  try:
    # Not np.load, which would take it for an archive where it begins like one.
    features: np.ndarray = np.lib.format.open_memmap(path, mode='r')
  except FileNotFoundError:
    # A remote file exists for epath, but only local ones can be mapped.
    with path.open('rb') as file:
      features = np.lib.format.read_array(file)
  told = encoder_path(path)
  encoder = Encoder()
  if told.exists():
    value = json_files.read_object(told)
    if wrong := json_forms.misfit(value, {'encoder': str, 'weights': str}):
      raise errors.InputError(f'{told} {wrong}: correct or delete it.')
    encoder = Encoder(value['encoder'], value['weights'])
  return FeatureTable(ids, features, str(path), encoder)


def encoder_path(path: epath.Path) -> epath.Path:
  """Return the file beside a ``.npy`` that says who made the features."""
  return path.with_suffix('.encoder.json')


def load_folder(path: epath.Path, ids_path: epath.Path | None) -> FeatureTable:
  """Read one ``.npy`` for each image, in folders or not.

  The name of an image is its file's, without ``.npy``: ``25.npy``,
  ``25.jpg.npy`` and ``00/25.npy`` will do.

  Raises:
    InputError: there is none, or one is no vector like the first.
  """
  names.refuse(path, ids_path)
  paths = _files(path)
  if not paths:
    raise errors.InputError(
      f'No .npy lies in {path}: give a folder with one .npy for each image.'
    )
  first = _read_vector(paths[0])
  features = np.empty((len(paths), first.size), first.dtype)
  with futures.ThreadPoolExecutor(_READERS) as pool:
    # Many small files: on remote storage each waits for its answer.
    vectors = pool.map(_read_vector, paths)
    vectors = progress.track(vectors, len(paths), 'read', 'feature files')
    for row, (file, vector) in enumerate(zip(paths, vectors, strict=True)):
      if vector.size != first.size or vector.dtype != first.dtype:
        raise errors.InputError(
          f'{file} holds {vector.size:,} numbers of {vector.dtype} where'
          f' {paths[0].name} holds {first.size:,} of {first.dtype}: save all'
          ' features alike.'
        )
      features[row] = vector
  ids = [os.fspath(file.relative_to(path))[: -len('.npy')] for file in paths]
  return FeatureTable(ids, features, str(path))


def _files(folder: epath.Path) -> list[epath.Path]:
  """Return the ``.npy`` files of a folder, hidden ones aside, in order."""
  found = [*folder.glob('*.npy'), *folder.glob('*/*.npy')]
  return sorted(path for path in found if not path.name.startswith('.'))


def _read_vector(path: epath.Path) -> np.ndarray:
  """Return the [D] feature in a file, which may be [1, D] there."""
  try:
    with path.open('rb') as file:
      vector = np.lib.format.read_array(file)
  except (OSError, ValueError, EOFError) as error:
    raise errors.InputError(
      f'{path} is no feature ({messages.first_line(error)}): save it with'
      ' np.save(file, vector).'
    ) from error
  if vector.size != max(vector.shape, default=0):
    raise errors.InputError(
      f'{path} has shape {vector.shape}: save one vector for each image.'
    )
  return vector.reshape(-1)
