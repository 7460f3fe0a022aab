"""The features of images, looked up by image."""

from collections.abc import Iterator, Sequence
import dataclasses

import numpy as np

from mrnn_jax.data import image_names
from mrnn_jax.runtime import errors

# What is stored, by what a file may hold: float64 keeps nothing that a network
# computed, so it is halved.
_STORED = {2: np.float16, 4: np.float32, 8: np.float32}


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
    features: [N, D] the features as the file has them, possibly memory-mapped.
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
      features: [N, D] float16, float32 or float64.
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
    if features.dtype.kind != 'f' or features.dtype.itemsize not in _STORED:
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
    self._dtype = np.dtype(_STORED[features.dtype.itemsize])
    self._rows: dict[str, int] = {}
    for row, name in enumerate(self.ids):
      first = self._rows.setdefault(image_names.image_key(name), row)
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
    """The dtype that ``get`` returns, float16 or float32."""
    return self._dtype

  def __len__(self) -> int:
    return len(self._rows)

  def __contains__(self, image_id: str) -> bool:
    return image_names.image_key(image_id) in self._rows

  def names_by_key(self) -> Iterator[tuple[str, str]]:
    """Yield each image's key and its name as the file spells it."""
    for key, row in self._rows.items():
      yield key, self.ids[row]

  def get(self, image_id: str) -> np.ndarray:
    """Return the [D] feature of an image.

    Args:
      image_id: its name, with or without extension.

    Returns:
      The feature as ``dtype``; what float32 cannot hold is infinite.

    Raises:
      KeyError: there is no such image.
    """
    row = self.features[self._rows[image_names.image_key(image_id)]]
    with np.errstate(over='ignore'):
      return np.asarray(row, self._dtype)
