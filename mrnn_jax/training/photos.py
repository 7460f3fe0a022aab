"""Training that sees photos: the encoder in the step, and around it.

What is trained of the encoder lies among the parameters, by block, under the
name ``ENCODER``; the rest of it is handed to the step beside them.
"""

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
from typing import Any

import jax
import numpy as np

from mrnn_jax import encoders
from mrnn_jax.config import Config
from mrnn_jax.data import datasets, image_features, photo_batches
from mrnn_jax.data.augmentation import Augmentation
from mrnn_jax.data.feature_files import Encoder
from mrnn_jax.encoders import encode, fine_tuning
from mrnn_jax.encoders.network import Network
from mrnn_jax.encoders.stored_photos import StoredPhotos
from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training.objectives import OBJECTIVES
from mrnn_jax.training.start import Start
from mrnn_jax.training.step import ENCODER, without_encoder

Array = jax.Array

# Training images that a model with an encoder of its own takes along: they are
# encoded anew with every better one.
_NORM_IMAGES = 300
# Training images whose features tell mean and deviation, where none are stored.
_STATISTICS_IMAGES = 1000


@dataclasses.dataclass(frozen=True)
class PhotoTraining:
  """What a run has for seeing photos.

  Attributes:
    network: the encoder as it begins, with all its weights.
    base: what its changed blocks are changed from, as a model stores it.
    trained: names of the blocks that are trained.
    own: names of those that a model carries: trained, or carried by its start.
    config: of the run.
    devices: local ones.
    encoded: encodes the photos of a split.
  """

  network: Network
  base: Mapping[str, str]
  trained: tuple[str, ...]
  own: tuple[str, ...]
  config: Config
  devices: list[jax.Device]
  encoded: StoredPhotos

  @property
  def frozen(self) -> dict[str, Any]:
    """The blocks that stay as the weights file has them."""
    params = self.network.params
    return {name: params[name] for name in params if name not in self.own}

  def in_step(self) -> Callable[[Any, Any, Array], Array]:
    """Return what gives features in a training step, see ``encoder_of``."""
    config = self.config
    return encoder_of(
      self.network,
      self.trained,
      config.compute_dtype,
      config.matmul_precision,
      config.encoder_remat,
    )

  def batches(
    self, split: datasets.CaptionSplit, **how: Any
  ) -> photo_batches.PhotoBatches:
    """Return the batches of a run, see ``PhotoBatches``."""
    config = self.config
    augmentation = Augmentation(
      config.augment_area, config.augment_flip, config.augment_color
    )
    return photo_batches.PhotoBatches(
      split,
      self.network.image_size,
      augmentation,
      num_workers=config.photo_workers,
      **how,
    )

  def features(
    self,
    blocks: Any,
    frozen: Any,
    split: datasets.CaptionSplit,
    images: np.ndarray | None = None,
    between: Callable[[], None] = lambda: None,
  ) -> np.ndarray:
    """Return the features of a split's photos, or of some of them.

    Args:
      blocks: that are carried, replicated over all processes' devices.
      frozen: the others, replicated so.
      split: whose photos.
      images: [N] which of them; all by default.
      between: called before every batch; what it raises ends the work.
    """
    params = parallel.local_copies({**frozen, **blocks}, self.devices)
    return self.encoded.features(params, split.photos, images, between)

  def seen(
    self,
    blocks: Any,
    frozen: Any,
    split: datasets.CaptionSplit,
    between: Callable[[], None],
  ) -> datasets.CaptionSplit:
    """Return a split with the features of its photos, see ``features``."""
    found = self.features(blocks, frozen, split, between=between)
    features = image_features.Features.of_array(found)
    return dataclasses.replace(split, given_features=features)

  def first_statistics(
    self, split: datasets.CaptionSplit, seed: int
  ) -> dict[str, np.ndarray]:
    """Return mean and deviation of the features that a run begins with."""
    if split.has_features:
      return image_features.feature_statistics(split.features)
    drawn = datasets.sample_images(
      len(split.image_ids), _STATISTICS_IMAGES, seed
    )
    params = parallel.replicate(self.network.params, self.devices)
    found = self.encoded.features(params, split.photos, drawn)
    features = image_features.Features.of_array(found)
    return image_features.feature_statistics(features)

  def no_features(self) -> np.ndarray:
    """Return features [1, D] that stand for none, as Orbax saves no [0, D]."""
    return np.zeros((1, self.network.feature_size), np.float32)

  def norm_features(
    self,
    blocks: Any,
    frozen: Any,
    split: datasets.CaptionSplit,
    between: Callable[[], None],
  ) -> np.ndarray:
    """Return [K, D] features of training images, to estimate P(w) from."""
    drawn = datasets.sample_images(
      len(split.image_ids), _NORM_IMAGES, self.config.seed
    )
    return self.features(blocks, frozen, split, drawn, between)


def open_for(
  config: Config,
  dataset: datasets.Dataset,
  devices: list[jax.Device],
  start: Start | None,
  stored: Mapping[str, Any] | None,
) -> PhotoTraining | None:
  """Return what a run needs to see photos; None where it sees features.

  Args:
    config: of the run.
    dataset: what it is trained on.
    devices: local ones.
    start: what it begins from, if it does.
    stored: the description of the run that goes on, if it does.

  Raises:
    InputError: the dataset lacks what is to be seen, or its encoder cannot be
      trained or found.
  """
  if config.train_encoder == fine_tuning.NONE:
    if not dataset.has_features:
      raise InputError(
        f'{dataset.path} has photos alone: train the encoder too, by '
        '--train_encoder=last or all, or build it with features '
        '(data_prep.extract).'
      )
    return None
  if not dataset.photo_size:
    raise InputError(
      f'--train_encoder={config.train_encoder} needs photos, and '
      f'{dataset.path} has none: build it by "python -m data_prep.build '
      '--photos=DIR ...".'
    )
  if OBJECTIVES[config.objective].prepare:
    raise InputError(
      f'--objective={config.objective} needs the features of the images before '
      'the step: train it without --train_encoder.'
    )
  carried: Mapping[str, Any] = {}
  if stored:
    told, names = stored['dataset']['encoder'], start_blocks(stored)
  elif start:
    carried = start.encoder or {}
    told, names = start.base_encoder, tuple(carried)
  else:
    told, names = dataset.metadata['encoder'], ()
  base = fine_tuning.base_of(Encoder(**told))
  network, resize = fine_tuning.load(base, carried, config.encoder_weights)
  if not network.tuned:
    at_hand = encode.describe(network, resize)
    if base.differs_from(at_hand):
      raise InputError(
        f'the run is of {base}, at hand is {at_hand}: give its weights file by '
        '--encoder_weights.'
      )
    base = base if stored else at_hand
  trained = fine_tuning.chosen(
    network, config.train_encoder, config.train_encoder_blocks
  )
  own = [name for name in network.blocks if name in {*trained, *names}]
  return PhotoTraining(
    network,
    dataclasses.asdict(base),
    trained,
    tuple(own),
    config,
    devices,
    StoredPhotos(network, devices),
  )


def base_encoder(
  photos: PhotoTraining | None,
  start: Start | None,
  stored: Mapping[str, Any] | None,
) -> Mapping[str, str] | None:
  """Return what the encoder of a run's model is changed from.

  None: nothing of it is changed, it is that of the dataset's features.

  Args:
    photos: what the run sees photos by, if it does.
    start: what it begins from, if it does.
    stored: the description of the run that goes on, if it does.
  """
  if photos:
    return photos.base
  if start and start.encoder:
    return start.base_encoder
  if stored and start_blocks(stored):
    return stored['dataset']['encoder']
  return None


def first_blocks(
  photos: PhotoTraining | None,
  dataset: datasets.Dataset,
  start: Start | None,
  stored: Mapping[str, Any] | None,
) -> dict[str, Any]:
  """Return the encoder's blocks that a model carries, as they begin.

  A run on features carries those of its start along; where it goes on, these
  are zeros, in whose place the checkpoint's come.
  """
  if photos:
    return {name: photos.network.params[name] for name in photos.own}
  if start:
    return dict(start.encoder or {})
  names = start_blocks(stored) if stored else ()
  if not names:
    return {}
  base = fine_tuning.base_of(Encoder(**dataset.metadata['encoder']))
  name, _ = encode.parse_description(base.name)
  return fine_tuning.zeros(encoders.without_weights(name), names)


def start_blocks(stored: Mapping[str, Any]) -> tuple[str, ...]:
  """Return the names of the blocks that a run's start has carried."""
  return tuple(stored.get('start', {}).get('blocks', ()))


def encoder_of(
  network: Network,
  trained: tuple[str, ...],
  dtype: str,
  precision: str,
  remat: bool,
) -> Callable[[Any, Any, Array], Array]:
  """Return the encoder as a training step has it.

  Args:
    network: which.
    trained: names of its blocks that a gradient is wanted for.
    dtype: of the operands of its products, 'float32' or 'bfloat16'.
    precision: of products of float32, one of ``layers.PRECISIONS``.
    remat: whether what is inside its blocks is computed again for the gradient.

  Returns:
    (blocks that are carried, the others, photos [B, S, S, 3] uint8) ->
    features [B, D] float32.
  """
  module = fine_tuning.module_of(network).clone(dtype=dtype, remat=remat)

  def features(blocks: Any, frozen: Any, photos: Array) -> Any:
    held = {
      name: block if name in trained else jax.lax.stop_gradient(block)
      for name, block in blocks.items()
    }
    exact = contextlib.nullcontext()
    if precision != 'default':
      exact = jax.default_matmul_precision(precision)
    with exact:
      return module.apply({'params': {**frozen, **held}}, photos)

  return features


def split_params(params: Any) -> tuple[Any, Any]:
  """Return the model's own parameters, and the blocks of its encoder."""
  return without_encoder(params), params.get(ENCODER, {})
