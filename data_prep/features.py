"""Feature files of the usual kinds -> one lookup by image.

To add a kind of file, write a function ``path, ids_path -> FeatureTable`` and
name it in ``_LOADERS`` by suffix.
"""

from collections.abc import Callable, Iterator, Sequence
import dataclasses

from etils import epath
import numpy as np

from data_prep import records
from data_prep.readers import files
from mrnn_jax import errors


@dataclasses.dataclass(frozen=True)
class Encoder:
  """Which network made the features, as far as the file says.

  Attributes:
    name: the network, for example 'alexnet (random weights, seed 0)'.
    weights: checksum of its weights, or ''.
  """

  name: str = 'unknown'
  weights: str = ''


class FeatureTable:
  """The features of images, looked up by image.

  Attributes:
    ids: the images' names as the file spells them.
    features: [N, D] the features, float16 or float32, possibly memory-mapped.
    encoder: which network made them.
    repeated: names that occur again, with the same feature each time.
  """

  def __init__(
    self,
    ids: Sequence[str],
    features: np.ndarray,
    source: str,
    encoder: Encoder | None = None,
  ):
    """Check and index the features.

    Args:
      ids: N image names, with or without extension.
      features: [N, D] float16 or float32.
      source: the file's name, for messages.
      encoder: which network made them.

    Raises:
      InputError: the shapes or the dtype do not fit, or a name occurs twice
        with different features.
    """
    if features.ndim != 2 or not features.shape[1]:
      raise errors.InputError(
        f'The features in {source} have shape {features.shape}: every image'
        ' needs one vector of the same length, as an array [images, dimension].'
      )
    if features.dtype not in (np.float16, np.float32):
      raise errors.InputError(
        f'The features in {source} are {features.dtype}: save them as float16'
        ' or float32.'
      )
    if len(ids) != len(features):
      raise errors.InputError(
        f'{source} has {len(features):,} features for {len(ids):,} ids: give'
        ' one id for each feature.'
      )
    self.ids = list(ids)
    self.features = features
    self.encoder = encoder or Encoder()
    self.repeated: list[str] = []
    self._rows: dict[str, int] = {}
    for row, name in enumerate(self.ids):
      first = self._rows.setdefault(records.image_key(name), row)
      if first == row:
        continue
      if not np.array_equal(features[first], features[row], equal_nan=True):
        raise errors.InputError(
          f'{source} has two different features for {name} (rows {first} and'
          f' {row}): keep one of them.'
        )
      self.repeated.append(name)

  @property
  def dim(self) -> int:
    """The length D of a feature."""
    return self.features.shape[1]

  @property
  def dtype(self) -> np.dtype:
    """The dtype of the features, float16 or float32."""
    return self.features.dtype

  def __len__(self) -> int:
    return len(self._rows)

  def __contains__(self, image_id: str) -> bool:
    return records.image_key(image_id) in self._rows

  def names_by_key(self) -> Iterator[tuple[str, str]]:
    """Yield each image's key and its name as the file spells it."""
    for key, row in self._rows.items():
      yield key, self.ids[row]

  def get(self, image_id: str) -> np.ndarray:
    """Return the [D] feature of an image.

    Args:
      image_id: its name, with or without extension.

    Returns:
      The feature in the file's dtype.

    Raises:
      KeyError: there is no such image.
    """
    return np.asarray(self.features[self._rows[records.image_key(image_id)]])


def load(path: epath.PathLike, ids_path: str | None = None) -> FeatureTable:
  """Open a feature file.

  Args:
    path: ``.npz`` with ``ids`` and ``features`` (and, if known, the strings
      ``encoder`` and ``weights``), or ``.npy`` with a text file of ids.
    ids_path: the text file of ids, one a line; by default it is named as the
      features, with ``.txt``.

  Returns:
    The table; features of a local ``.npy`` are memory-mapped.

  Raises:
    InputError: the file cannot be read or is not of that form.
  """
  path = epath.Path(path)
  loader = _LOADERS.get(path.suffix.lower())
  if loader is None:
    raise errors.InputError(
      f'{path} is no feature file that can be read: give one of'
      f' {", ".join(_LOADERS)}.'
    )
  if not path.exists():
    raise errors.InputError(f'There is no {path}: correct --features.')
  try:
    return loader(path, epath.Path(ids_path) if ids_path else None)
  except errors.InputError:
    raise
  except Exception as error:  # Broken archives raise nearly anything.
    raise errors.InputError(
      f'{path} is broken or not what its suffix says'
      f' ({_first_line(error)}): save it again.'
    ) from error


def _load_npz(path: epath.Path, ids_path: epath.Path | None) -> FeatureTable:
  if ids_path:
    raise errors.InputError(
      f'{path} brings its own ids: leave out --feature_ids.'
    )
  with path.open('rb') as file, np.load(file, allow_pickle=False) as archive:
    for name in ('ids', 'features'):
      if name not in archive.files:
        raise errors.InputError(
          f'{path} has no array {name!r} (only'
          f' {", ".join(archive.files) or "nothing"}): save it with'
          ' np.savez(file, ids=..., features=...).'
        )
    encoder = Encoder(
      **{
        field: _text(archive[entry].reshape(-1)[0])
        for field, entry in (('name', 'encoder'), ('weights', 'weights'))
        if entry in archive.files and archive[entry].size
      }
    )
    ids = archive['ids']
    if ids.ndim != 1 or ids.dtype.kind not in 'SUiu':
      raise errors.InputError(
        f'The ids in {path} are no list of names: save them as an array of'
        ' strings.'
      )
    names = [_text(name) for name in ids]
    return FeatureTable(names, archive['features'], str(path), encoder)


def _load_npy(path: epath.Path, ids_path: epath.Path | None) -> FeatureTable:
  ids_path = ids_path or path.with_suffix('.txt')
  if not ids_path.exists():
    raise errors.InputError(
      f'{path} needs a text file of image names, one a line, and there is no'
      f' {ids_path}: give it with --feature_ids.'
    )
  ids = files.read_list(ids_path)
  try:
    features = np.load(path, mmap_mode='r', allow_pickle=False)
  except FileNotFoundError:
    # A remote file exists for epath, but only local ones can be mapped.
    with path.open('rb') as file:
      features = np.load(file, allow_pickle=False)
  return FeatureTable(ids, features, str(path))


def _text(value) -> str:
  """Return one name as text, whether it was saved as bytes or as text."""
  if isinstance(value, bytes):
    return value.decode('utf-8')
  return str(value)


def _first_line(error: Exception) -> str:
  """Return what an exception says, short enough for one sentence."""
  return str(error).split('\n')[0].rstrip('.') or type(error).__name__


_LOADERS: dict[str, Callable[..., FeatureTable]] = {
  '.npz': _load_npz,
  '.npy': _load_npy,
}
