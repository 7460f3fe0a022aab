"""How a trained model comes to features: by its encoder, or a dataset's own."""

from collections.abc import Mapping
import dataclasses
import functools
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from mrnn_jax import config as config_lib
from mrnn_jax import model_inputs
from mrnn_jax.data.feature_files.table import Encoder
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError

if TYPE_CHECKING:
  from mrnn_jax.data import datasets
  from mrnn_jax.encoders.network import Network


class SeesPhotos:
  """The part of ``TrainedModel`` that has to do with its encoder."""

  vocabulary: Vocabulary
  config: config_lib.Config
  dataset: Mapping[str, Any]
  devices: list[jax.Device]
  encoder: Mapping[str, Any] | None
  base_encoder: Mapping[str, str]

  def network(self, weights: str = '') -> tuple['Network', str]:
    """Return the encoder that it sees photos by, and how these are resized.

    Args:
      weights: the encoder's weights file, where no pip package brings it.

    Raises:
      InputError: the encoder is not one of ours, or its weights are others.
    """
    from mrnn_jax.encoders import fine_tuning

    encoder = Encoder(**(self.base_encoder or self.dataset['encoder']))
    return fine_tuning.load(encoder, self.encoder, weights)

  def networks(self, weights: str = '') -> list[tuple['Network', str]]:
    """Return the encoders whose features it sees put together, often one.

    Args:
      weights: as of ``network``; of several encoders a file for each, separated
        by commas, which may be empty.

    Raises:
      InputError: one is not one of ours, or its weights are others.
    """
    from mrnn_jax.encoders import fine_tuning

    encoder = Encoder(**(self.base_encoder or self.dataset['encoder']))
    parts = encoder.parts
    if len(parts) == 1:
      return [self.network(weights)]
    files = weights.split(',') if weights else [''] * len(parts)
    if len(files) != len(parts):
      raise InputError(
        f'--encoder_weights={weights}: the model was trained on features of '
        f'{len(parts)} encoders, so give a file for each, separated by commas; '
        'one that pip brings may be empty.'
      )
    blocks = fine_tuning.by_encoder(encoder, self.encoder)
    return [
      fine_tuning.load(*one) for one in zip(parts, blocks, files, strict=True)
    ]

  def sees_photos_of(self, dataset: 'datasets.Dataset') -> bool:
    """Say whether it takes the photos of a dataset, not its features."""
    return model_inputs.sees_photos_of(self.dataset, dataset)

  def load_split(
    self,
    dataset: 'datasets.Dataset',
    name: str,
    config: config_lib.Config,
    first_caption_only: bool = False,
    num_encoders: int | None = None,
  ) -> 'datasets.CaptionSplit':
    """Read a split in the model's words, its images as the model sees them.

    All processes call this at the same time: where there are photos for the
    model's own encoder, they share the encoding of them.

    Args:
      dataset: one that ``check_dataset`` has let pass.
      name: of the split.
      config: where features are kept, what those of several views are, and the
        encoder's weights file, where no pip package brings it.
      first_caption_only: whether other captions are left out.
      num_encoders: where it sees photos by several encoders, the first so many
        are to encode them; None: all, whose features are put together.
    """
    from mrnn_jax.data import datasets

    split = datasets.load_split(
      dataset,
      name,
      self.vocabulary,
      config.feature_cache_mb,
      first_caption_only,
      config.eval_views,
    )
    if not self.sees_photos_of(dataset):
      return split
    key = (dataset.fingerprint, name, num_encoders)
    if key not in self._encoded:
      self._encoded[key] = self._encode(split, config, num_encoders)
    return dataclasses.replace(split, given_features=self._encoded[key])

  def draw_training_images(
    self, dataset: 'datasets.Dataset', config: config_lib.Config, count: int
  ) -> np.ndarray:
    """Return [K, D] features of training images, to estimate P(w) from.

    All processes call this at the same time.

    Args:
      dataset: that the model was trained on.
      config: see ``load_split``.
      count: K; fewer where there are not so many.
    """
    from mrnn_jax.data import datasets, folds

    split = datasets.load_split(
      dataset, 'train', self.vocabulary, 0, views=config.eval_views
    )
    drawn = datasets.sample_images(
      len(split.image_ids), count, self.config.seed
    )
    split = folds.select(split, drawn)
    if self.sees_photos_of(dataset):
      return self._encode(split, config).all()
    return split.features.all()

  def _encode(
    self,
    split: 'datasets.CaptionSplit',
    config: config_lib.Config,
    num_encoders: int | None = None,
  ) -> 'datasets.Features':
    """Return the features of a split's photos by the model's encoders."""
    from mrnn_jax.data import datasets
    from mrnn_jax.encoders.stored_photos import StoredPhotos

    encoded = []
    for network, _ in self.networks(config.encoder_weights)[:num_encoders]:
      params = parallel.replicate(network.params, self.devices)
      stored = StoredPhotos(network, self.devices)
      encoded.append(stored.features(params, split.photos))
    return datasets.Features.of_array(np.concatenate(encoded, axis=1))

  @functools.cached_property
  def _encoded(self) -> dict[tuple[str, str, int | None], 'datasets.Features']:
    """The features of splits whose photos were encoded so far."""
    return {}
