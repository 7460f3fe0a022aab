"""The names of images whose features lie in another file."""

from collections.abc import Sequence

from etils import epath
import numpy as np

from mrnn_jax.data import karpathy_file
from mrnn_jax.runtime import bounded_files, errors, messages


def find(
  path: epath.Path, ids_path: epath.Path | None, usual: Sequence[str] = ()
) -> list[str]:
  """Read the list of names that belongs to a feature file.

  Args:
    path: the feature file.
    ids_path: the list, if it was named: text, or a ``dataset.json``.
    usual: further names that it may have beside the feature file; the first
      is the feature file's own with ``.txt``.

  Returns:
    The names in the order of the features.

  Raises:
    InputError: there is no such list, or it cannot be read.
  """
  if ids_path is None:
    candidates = [path.with_suffix('.txt'), *(path.parent / x for x in usual)]
    for candidate in candidates:
      if candidate.exists():
        ids_path = candidate
        break
    else:
      raise errors.InputError(
        f'{path} needs a text file of image names, one a line, and there is no'
        f' {" or ".join(str(x) for x in candidates)}: give it with'
        ' --feature_ids.'
      )
  if ids_path.suffix.lower() == '.json':
    return karpathy_file.read_names(ids_path)
  return bounded_files.read_list(ids_path)


def refuse(path: epath.Path, ids_path: epath.Path | None):
  """Raise InputError where a list is given for a file that has its own ids."""
  if ids_path is not None:
    raise errors.InputError(
      f'{path} brings its own ids: leave out --feature_ids.'
    )


def as_names(ids: np.ndarray, source: str) -> list[str]:
  """Return an array of ids as text: strings, bytes or whole numbers.

  Raises:
    InputError: it is no list of such.
  """
  plain = ids.dtype.kind in 'SUiu' or (
    ids.dtype.kind == 'O' and all(isinstance(x, (str, bytes)) for x in ids.flat)
  )
  if ids.ndim != 1 or not plain:
    raise errors.InputError(
      f'The ids in {source} are no list of names: save them as an array of'
      ' strings.'
    )
  return [text(name, source) for name in ids]


def text(value, source: str) -> str:
  """Return one name as text, whether it was saved as bytes or as text.

  Raises:
    InputError: it is none.
  """
  name = value.decode('utf-8') if isinstance(value, bytes) else str(value)
  if not messages.is_name(name):
    raise errors.InputError(
      f'{source} has {messages.shorten(ascii(name))} where a name should be:'
      ' correct it.'
    )
  return name


def images_first(features: np.ndarray, num_images: int) -> np.ndarray:
  """Turn features so that each row is an image, without copying them.

  Args:
    features: [N, D], or [D, N] where D is not N.
    num_images: N.

  Returns:
    [N, D], or what was given if neither side has N.
  """
  if features.ndim != 2:
    return features
  first, second = (side == num_images for side in features.shape)
  return features.T if second and not first else features
