"""The batches that a run trains on: of features, or of photos."""

import jax

from mrnn_jax.config import Config, flags
from mrnn_jax.data import datasets, input_pipeline, photo_batches
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.runtime import messages
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training.photos import PhotoTraining


def num_views(config: Config, dataset: datasets.Dataset) -> int:
  """Return how many views of an image training draws from.

  Raises:
    InputError: the dataset has fewer than are asked for.
  """
  there = len(dataset.view_flips)
  if config.train_views > there:
    raise InputError(
      f'--train_views={config.train_views}, but images of {dataset.path} have '
      f'{messages.counted(there, "view")}: ask for at most so many, or make '
      'more by "python -m data_prep.extract --views=K" and build the dataset '
      'again.'
    )
  return config.train_views or there


Batches = input_pipeline.TrainingBatches | photo_batches.PhotoBatches


def create(
  config: Config,
  split: datasets.CaptionSplit,
  num_views: int,
  num_devices: int,
  photos: PhotoTraining | None,
) -> Batches:
  """Plan the batches of a run.

  Args:
    config: of the run.
    split: the training split.
    num_views: of an image, that features are drawn from.
    num_devices: of each process.
    photos: what photos are seen by, where they are.
  """
  planned = {
    'batch_size': config.batch_size,
    'num_buckets': config.num_buckets,
    'seed': config.seed,
    'row_multiple': num_devices * jax.process_count() * config.accumulate_steps,
    'shard': (jax.process_index(), jax.process_count()),
  }
  if photos:
    flags.settle()  # Grain's processes ask for flags.
    return photos.batches(split, **planned)
  return input_pipeline.TrainingBatches(
    split,
    captions_per_row=config.captions_per_row,
    num_views=num_views,
    **planned,
  )


def tell(
  split: datasets.CaptionSplit,
  vocabulary: Vocabulary,
  batches: Batches,
  num_devices: int,
) -> str:
  """Return what the log says of a run's batches."""
  devices = messages.counted(num_devices * jax.process_count(), 'device')
  return (
    f'{messages.counted(len(split.image_ids), "image")}, '
    f'{messages.counted(len(split.owner), "caption")}, '
    f'{len(vocabulary):,} words; {batches.steps_per_epoch} steps an epoch, '
    f'row lengths {", ".join(map(str, batches.buckets))}, '
    f'{100 * batches.padding:.1f}% padding; {devices}'
  )
