"""The features of the images that records to score name."""

import bisect
from collections.abc import Callable
import dataclasses
import hashlib

import numpy as np

from mrnn_jax.config import Config
from mrnn_jax.data import datasets, image_names
from mrnn_jax.data.image_features import FIRST
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.trained import TrainedModel

# Features that are read at a time, to know a file again.
_BLOCK = 4096


@dataclasses.dataclass(frozen=True)
class ImageLookup:
  """A source of features.

  Attributes:
    get: image id -> raw feature [D]; KeyError for an image that it has not,
      AmbiguousNameError for a name that fits several, InputError where two
      names would come to one image.
    identity: changes whenever the features do.
  """

  get: Callable[[str], np.ndarray]
  identity: str

  @classmethod
  def open(cls, model: TrainedModel, config: Config) -> 'ImageLookup':
    """Open ``--features``, or all splits of the dataset.

    Raises:
      InputError: it cannot be read, or is of another kind than the model's.
    """
    if config.features:
      return cls._of_file(model, config.features, config.encoder)
    dataset = datasets.open_dataset(config.dataset, config.data_dir)
    model.check_dataset(dataset)
    return cls._of_dataset(model, dataset, config)

  @classmethod
  def _of_file(
    cls, model: TrainedModel, path: str, encoder: str
  ) -> 'ImageLookup':
    # Here, as feature files are not everybody's way to images.
    from mrnn_jax.data import feature_files as features_lib

    table = features_lib.load(path)
    table.declare_encoder(encoder, path)
    model.check_encoder(vars(table.encoder), path)
    D = model.dataset['feature_size']
    if table.dim != D:
      raise InputError(
        f'{path} has features of {table.dim} numbers, the model wants {D}, '
        f'made by {model.encoder_name}.'
      )
    digest = hashlib.sha256('\n'.join(table.ids).encode())
    # All of them: one that is not looked at could be another.
    for row in range(0, len(table.ids), _BLOCK):
      digest.update(np.asarray(table.features[row : row + _BLOCK]).tobytes())
    return cls._of_names(table.names, table.at, digest.hexdigest())

  @classmethod
  def _of_dataset(
    cls,
    model: TrainedModel,
    dataset: datasets.Dataset,
    config: Config,
  ) -> 'ImageLookup':
    names, splits, firsts = image_names.Names(), [], [0]
    cache_mb = config.feature_cache_mb
    for name in dataset.builder.info.splits:
      split = model.load_split(
        dataset, name, config.replace(feature_cache_mb=cache_mb)
      )
      cache_mb -= int(split.features.cached_mb)  # All together keep to it.
      splits.append(split.features)
      firsts.append(firsts[-1] + len(split.image_ids))
      for image_id in split.image_ids:
        names.add(image_id)

    def at(number: int) -> np.ndarray:
      i = bisect.bisect_right(firsts, number) - 1
      return splits[i][np.asarray([number - firsts[i]])][0]

    identity = f'{dataset.fingerprint} {config.eval_views}'
    if config.eval_views == FIRST:  # As before there were views.
      identity = dataset.fingerprint
    return cls._of_names(names, at, identity)

  @classmethod
  def _of_names(
    cls,
    names: image_names.Names,
    at: Callable[[int], np.ndarray],
    identity: str,
  ) -> 'ImageLookup':
    """Look features up by the numbers of their names."""

    def get(image_id: str) -> np.ndarray:
      number = names.claim(image_id)
      if number is None:
        raise KeyError(image_id)
      return at(number)

    return cls(get, identity)
