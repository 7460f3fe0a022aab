"""The features of images, looked up by image."""

from collections.abc import Sequence
import dataclasses

import numpy as np

from mrnn_jax.data import image_names
from mrnn_jax.runtime import errors

# What is stored, by what a file may hold: float64 keeps nothing that a network
# computed, so it is halved.
_STORED = {2: np.float16, 4: np.float32, 8: np.float32}


# Between the names of encoders whose features are put together, and between
# their checksums.
TOGETHER = ' + '
_AND = '+'
# What is added to the name of an encoder that was trained with a model.
TUNED = ', fine-tuned'


@dataclasses.dataclass(frozen=True)
class Encoder:
  """Which network made the features, as far as the file says.

  Attributes:
    name: the network, for example 'alexnet (random weights, seed 0)'.
    weights: checksum of its weights, or ''.
  """

  name: str = 'unknown'
  weights: str = ''

  @classmethod
  def joined(cls, encoders: Sequence['Encoder']) -> 'Encoder':
    """Return what made features that are put together from those of several."""
    if len(encoders) == 1:
      return encoders[0]
    known = any(encoder.weights for encoder in encoders)
    return cls(
      TOGETHER.join(encoder.name for encoder in encoders),
      _AND.join(encoder.weights for encoder in encoders) if known else '',
    )

  @property
  def parts(self) -> list['Encoder']:
    """Those whose features are put together, often one."""
    names = self.name.split(TOGETHER)
    weights = self.weights.split(_AND) if self.weights else [''] * len(names)
    if len(weights) != len(names):  # It is called so itself.
      return [self]
    return [Encoder(*pair) for pair in zip(names, weights, strict=True)]

  def __str__(self) -> str:
    weights = f' (weights {self.weights[:12]})' if self.weights else ''
    return f'"{self.name}"{weights}'

  @property
  def tuned(self) -> bool:
    """Whether it, or one of several, was trained further with a model."""
    return any(part.name.endswith(TUNED) for part in self.parts)

  @property
  def known(self) -> bool:
    """Whether the file says which."""
    return self.name != Encoder.name

  def differs_from(self, other: 'Encoder') -> bool:
    """Return whether another one cannot have made the same features.

    Checksums are compared where both are known.
    """
    if self.name != other.name:
      return True
    pairs = zip(self.parts, other.parts, strict=False)
    return any(len({a.weights, b.weights} - {''}) > 1 for a, b in pairs)

  def remedy_for(self, other: 'Encoder') -> str:
    """Return what to do where another one's features are given."""
    number = len(self.parts)
    if number != len(other.parts):
      if number == 1:
        return 'use the features of that one alone'
      return (
        f'give features of its {number} encoders, their files or folders '
        'separated by commas'
      )
    if self.tuned:
      return (
        'its encoder was trained with it, so make them by "python -m '
        'data_prep.extract --model=MODEL ...", or give photos'
      )
    if other.known:
      return 'use the features that it was trained on'
    return (
      'say what made them, by --encoder, if they are of the same kind '
      f'(--encoder="{self.name}")'
    )


class FeatureTable:
  """The features of images, looked up by image.

  Attributes:
    ids: the images' names as the file spells them.
    features: [N, D] the features as the file has them, possibly memory-mapped.
    encoder: which network made them.
    names: the same names, to find a row by any spelling of them.
    repeated: names that occur again, with the same feature each time.
    view_flips: [K] which views of an image are mirrored; the first is the
      feature.
  """

  def __init__(
    self,
    ids: Sequence[str],
    features: np.ndarray,
    source: str,
    encoder: Encoder | None = None,
    views: np.ndarray | None = None,
    view_flips: Sequence[bool] = (False,),
  ):
    """Check and index the features.

    Args:
      ids: N image names, with or without extension.
      features: [N, D] float16, float32 or float64.
      source: the file's name, for messages.
      encoder: which network made them.
      views: [N, K - 1, D] features of the images' other views, if any.
      view_flips: [K] which views are mirrored.

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
    shape = (len(features), len(view_flips) - 1, features.shape[1])
    if views is not None and (views.shape, views.dtype) != (
      shape,
      features.dtype,
    ):
      raise errors.InputError(
        f'The views in {source} are {views.dtype} {views.shape}, its features '
        f'{features.dtype} {features.shape} with {len(view_flips)} '
        'view_flips: save views [images, views - 1, dimension] beside them.'
      )
    self.ids = list(ids)
    self.features = features
    self.view_flips = [bool(flipped) for flipped in view_flips]
    self._views = views
    self.encoder = encoder or Encoder()
    self.repeated: list[str] = []
    self._dtype = np.dtype(_STORED[features.dtype.itemsize])
    self.names = image_names.Names()
    for row, name in enumerate(self.ids):
      first = self.names.add(name)
      if first == row:
        continue
      if not np.array_equal(features[first], features[row], equal_nan=True):
        raise errors.InputError(
          f'{source} has two different features for {name} (rows {first} and'
          f' {row}): keep one of them.'
        )
      self.repeated.append(name)

  def declare_encoder(self, name: str, source: str) -> None:
    """Let ``--encoder`` say what the file does not.

    Args:
      name: of the network; '' where nothing is said.
      source: the file's name, for the message.

    Raises:
      InputError: the file says that it was another one.
    """
    if not name or name == self.encoder.name:
      return
    if self.encoder.known:
      raise errors.InputError(
        f'--encoder={name}, but {source} says that its features were made by '
        f'"{self.encoder.name}": leave --encoder out.'
      )
    self.encoder = dataclasses.replace(self.encoder, name=name)

  @property
  def dim(self) -> int:
    """The length D of a feature."""
    return self.features.shape[1]

  @property
  def dtype(self) -> np.dtype:
    """The dtype that ``get`` returns, float16 or float32."""
    return self._dtype

  def __len__(self) -> int:
    return len(self.names)

  def __contains__(self, image_id: str) -> bool:
    return self.names.find(image_id) is not None

  def get(self, image_id: str) -> np.ndarray:
    """Return the [D] feature of an image.

    Args:
      image_id: its name, see ``image_names.Names``.

    Returns:
      The feature as ``dtype``; what float32 cannot hold is infinite.

    Raises:
      KeyError: there is no such image.
      AmbiguousNameError: the name fits several.
    """
    return self.at(self._row(image_id))

  def _row(self, image_id: str) -> int:
    """Return the row of an image, or raise what ``get`` does."""
    row = self.names.find(image_id)
    if row is None:
      raise KeyError(image_id)
    return row

  def at(self, row: int) -> np.ndarray:
    """Return the [D] feature in a row, as ``get`` does."""
    with np.errstate(over='ignore'):
      return np.asarray(self.features[row], self._dtype)

  def get_views(self, image_id: str) -> np.ndarray:
    """Return the features [K - 1, D] of an image's other views.

    Raises:
      KeyError: there is no such image.
      AmbiguousNameError: the name fits several.
    """
    return self.views_at(self._row(image_id))

  def views_at(self, row: int) -> np.ndarray:
    """Return the features [K - 1, D] of the other views of a row's image."""
    if self._views is None:
      return np.empty((0, self.dim), self._dtype)
    with np.errstate(over='ignore'):
      return np.asarray(self._views[row], self._dtype)
