"""Feature files of the usual kinds -> one lookup by image.

To add a kind of file, write a module with a function ``path, ids_path ->
FeatureTable`` and name it in ``LOADERS`` by suffix.
"""

from collections.abc import Callable

from etils import epath

from mrnn_jax.data.feature_files import hdf5, matlab, numpy_files
from mrnn_jax.data.feature_files.joined import join
from mrnn_jax.data.feature_files.table import Encoder, FeatureTable
from mrnn_jax.runtime import errors, files, messages

__all__ = ['LOADERS', 'Encoder', 'FeatureTable', 'load']

LOADERS: dict[str, Callable[..., FeatureTable]] = {
  '.npz': numpy_files.load_npz,
  '.npy': numpy_files.load_npy,
  '.mat': matlab.load,
  '.h5': hdf5.load,
  '.hdf5': hdf5.load,
}


def load(path: epath.PathLike, ids_path: str | None = None) -> FeatureTable:
  """Open a feature file, a folder of them, or several files side by side.

  =========================  ================================================
  ``.npz``                   ``ids`` and ``features`` (and, if known, the
                             strings ``encoder`` and ``weights``; ``views``
                             [images, views - 1, dimension] and ``view_flips``
                             [views], which are mirrored)
  ``.npy``                   [images, dimension], with a list of names
  ``.mat``                   ``feats`` [dimension, images] as NeuralTalk's
                             ``vgg_feats.mat``, with a list of names
  ``.h5``, ``.hdf5``         ``features`` and ``ids``, or ``features`` with a
                             list of names, or one dataset for each image
  a folder                   one ``.npy`` for each image, named after it
  =========================  ================================================

  Args:
    path: the file or folder; or several, separated by commas, whose features
      of an image are put together in this order (see ``joined``).
    ids_path: the list of names in the order of the features: a text file with
      one a line, or NeuralTalk's ``dataset.json``; by default it lies beside
      the features.  Of several files as many lists, separated by commas; one
      that is empty lies beside its file.

  Returns:
    The table; features that lie on a local disk as they are needed are
    memory-mapped, others are read into memory once.

  Raises:
    InputError: the file cannot be read or is not of that form.
  """
  path = epath.Path(path)
  if len(paths := files.split_paths(path)) > 1:
    ids_paths = ids_path.split(',') if ids_path else [''] * len(paths)
    if len(ids_paths) != len(paths):
      raise errors.InputError(
        f'--features names {len(paths)} files and --feature_ids '
        f'{len(ids_paths)} lists: give one for each, separated by commas.'
      )
    tables = map(load, paths, ids_paths)
    return join(list(tables), paths)
  if not path.exists():
    raise errors.InputError(f'There is no {path}: correct --features.')
  loader = LOADERS.get(path.suffix.lower())
  if path.is_dir():
    loader = numpy_files.load_folder
  if loader is None:
    raise errors.InputError(
      f'{path} is no feature file that can be read: give one of'
      f' {", ".join(LOADERS)}, or a folder with one .npy for each image.'
    )
  try:
    return loader(path, epath.Path(ids_path) if ids_path else None)
  except errors.InputError:
    raise
  except Exception as error:  # Broken archives raise nearly anything.
    raise errors.InputError(
      f'{path} is broken or not what its suffix says'
      f' ({messages.first_line(error)}): save it again.'
    ) from error
