"""Whether features and datasets are of the kind that a model was trained on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from etils import epath
import numpy as np

from mrnn_jax.data.feature_files.table import Encoder
from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError

if TYPE_CHECKING:
  from mrnn_jax.data import datasets

# Features whose numbers are looked at together.
_CHECKED = 4096


def check_features(
  trained_on: Mapping[str, Any], features: np.ndarray
) -> np.ndarray:
  """Return features [N, D] as an array, or raise InputError.

  Args:
    trained_on: ``TrainedModel.dataset``.
    features: of images to be described.
  """
  features = np.asarray(features)
  D = trained_on['feature_size']
  if features.ndim != 2 or features.shape[1] != D:
    raise InputError(
      f'the features have shape {features.shape}: the model wants [N, {D}], '
      f'made by {trained_on["encoder"]["name"]}.'
    )
  # In parts: where they are on disk, they are not all in memory at once.
  parts = range(0, len(features), _CHECKED)
  if not all(np.isfinite(features[i : i + _CHECKED]).all() for i in parts):
    raise InputError('some features are not finite numbers.')
  return features


def check_dataset(
  trained_on: Mapping[str, Any], dataset: 'datasets.Dataset'
) -> None:
  """Raise InputError where a dataset's images are of another kind."""
  if sees_photos_of(trained_on, dataset):
    return
  check_encoder(trained_on, dataset.metadata['encoder'], dataset.place)
  if not dataset.has_features:
    raise InputError(
      f'{dataset.place} has photos alone, which '
      f'{trained_on["encoder"]["name"]} cannot see here: build it with the '
      'features that the model was trained on.'
    )
  if dataset.feature_size != trained_on['feature_size']:
    raise InputError(
      f'the model was trained on features of {trained_on["feature_size"]} '
      f'numbers, {dataset.place} has {dataset.feature_size}: use the features '
      'that it was trained on.'
    )


def sees_photos_of(
  trained_on: Mapping[str, Any], dataset: 'datasets.Dataset'
) -> bool:
  """Say whether a model takes the photos of a dataset, not its features.

  It does where there are photos for its encoder, and no features by it.

  Args:
    trained_on: ``TrainedModel.dataset``.
    dataset: that it is used on.
  """
  if not dataset.photo_size:
    return False
  mine = Encoder(**trained_on['encoder'])
  theirs = Encoder(**dataset.metadata['encoder'])
  if dataset.has_features and not mine.differs_from(theirs):
    return False
  # Here, as most datasets have none.
  from mrnn_jax.encoders import encode, fine_tuning

  resize = encode.parse_description(theirs.name)[1]
  found = (
    encode.parse_description(fine_tuning.base_of(part).name)
    for part in mine.parts
  )
  # They are stored as their encoder is to see them, at whatever size.
  return all(name and how == resize for name, how in found)


def check_encoder(
  trained_on: Mapping[str, Any], encoder: Mapping[str, str], source: str
) -> None:
  """Raise InputError where features come from another encoder.

  Args:
    trained_on: ``TrainedModel.dataset``.
    encoder: 'name' and 'weights' (checksum, '' if not known).
    source: where the features are, for the message.
  """
  mine, other = Encoder(**trained_on['encoder']), Encoder(**encoder)
  if mine.differs_from(other):
    raise InputError(
      f'the model was trained on features of {mine}, {source} has {other}: '
      f'{mine.remedy_for(other)}.'
    )


def check_shared(identity: str, path: epath.PathLike) -> None:
  """Raise InputError where processes have found different models.

  Args:
    identity: of the model that this one has found.
    path: where.
  """
  digest = np.frombuffer(bytes.fromhex(identity), np.uint8)
  if len(np.unique(parallel.gather(digest), axis=0)) > 1:
    raise InputError(
      f'the processes find different models in {path}: put it where all of '
      'them see the same files.'
    )
