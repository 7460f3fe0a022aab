"""Training through the encoder: the real step on photos, in photos a second."""

import dataclasses
from typing import Any

import jax

from mrnn_jax import config as config_lib
from mrnn_jax import encoders, models
from mrnn_jax.data import image_features, photo_batches
from mrnn_jax.data.augmentation import Augmentation
from mrnn_jax.runtime import parallel
from mrnn_jax.training import optimizers
from mrnn_jax.training import photos as photos_lib
from mrnn_jax.training.objectives import OBJECTIVES
from mrnn_jax.training.step import ENCODER, compile_train_step, create_state
from tests.benchmarks import harness, lengths, made_photos, train, work

SIZES = {
  'tiny': {'num_images': 4, 'steps': 1, 'batch_size': 10},
  'small': {'num_images': 200, 'steps': 5, 'batch_size': 100},
}
SIZES['full'] = {**SIZES['small'], 'steps': 40}


def comparisons(options: harness.Options) -> list[harness.Comparison]:
  """Return what is compared: half of the blocks, and all of them."""
  sizes = {**SIZES[options.scale], 'vocab_size': lengths.VOCAB_SIZE}

  def pair(name: str, num_trained: int) -> harness.Comparison:
    arguments = {**sizes, 'num_trained': num_trained}
    return harness.Comparison(
      f'training through the encoder, {name}',
      work.Task('tests.benchmarks.encoder:Training', arguments),
      work.Task('tests.benchmarks.torch_encoder:Training', arguments),
      floor=1.0,
    )

  return [pair('the last 9 blocks', 9), pair('all', 18)]


def growths(options: harness.Options) -> list[harness.Growth]:
  """Return no table: ``tests.benchmarks.encoder_step`` has one."""
  del options
  return []


class Training(work.Work):
  """The steps of ``mrnn_jax.training.loop``, without logs and validation."""

  unit = 'photos'

  def __init__(
    self,
    num_images: int,
    steps: int,
    batch_size: int,
    vocab_size: int,
    num_trained: int,
  ):
    """Plan batches and make the first state."""
    # All captions of an image lie in a row, and 1: rows are of one length.
    config = config_lib.Config(
      batch_size=batch_size,
      word_dropout=train.DROPOUT,
      recurrent_dropout=train.DROPOUT,
      multimodal_dropout=train.DROPOUT,
      image_dropout=train.DROPOUT,
      train_encoder='last',
      train_encoder_blocks=num_trained,
      num_buckets=1,
    )
    self._steps, self._config = steps, config
    self._devices = parallel.local_devices()
    network = encoders.load('efficientnet_lite0')
    trained = network.blocks[-num_trained:]
    split, source = train.make_split(
      num_images * lengths.CAPTIONS_PER_IMAGE, vocab_size, network.feature_size
    )
    texts = [['a dog'] * lengths.CAPTIONS_PER_IMAGE for _ in range(num_images)]
    self._batches = photo_batches.PhotoBatches(
      dataclasses.replace(
        split, captions=texts, given_photos=made_photos.jpegs(num_images)
      ),
      network.image_size,
      Augmentation(
        config.augment_area, config.augment_flip, config.augment_color
      ),
      batch_size=batch_size,
      num_buckets=config.num_buckets,
      seed=config.seed,
      row_multiple=len(self._devices),
    )
    model = models.create_model(
      config.model, vocab_size, network.feature_size, config.fixed()
    )
    schedules = (
      optimizers.create_schedule(config, self._batches.steps_per_epoch, *rate)
      for rate in ((), (config.encoder_learning_rate,))
    )
    optimizer = optimizers.create_optimizer(config, *schedules, trained, True)
    self._step_fn = compile_train_step(
      self._devices,
      model=model,
      objective=OBJECTIVES['likelihood'],
      optimizer=optimizer,
      words_per_batch=self._batches.words_per_batch,
      l2=config.l2,
      encoder=photos_lib.encoder_of(
        network, trained, config.compute_dtype, config.matmul_precision, False
      ),
    )
    init_key, key = jax.random.split(jax.random.key(0))
    variables = models.init_variables(model, init_key)
    blocks = {name: network.params[name] for name in trained}
    params = {**variables['params'], ENCODER: blocks}
    state = create_state({**variables, 'params': params}, optimizer, key)
    frozen = {n: x for n, x in network.params.items() if n not in trained}
    self._state, self._statistics, self._frozen = (
      parallel.replicate(tree, self._devices)
      for tree in (
        state,
        image_features.feature_statistics(split.features),
        frozen,
      )
    )
    self._next_step = 0
    self.sizes = {
      'captions': source,
      'steps': steps,
      'photos a step': self._batches.images_per_batch,
      'blocks trained': num_trained,
      'V': vocab_size,
    }

  def warm_up(self) -> None:
    """Take a step: all rows are of one length."""
    self._take(iter([self._batches.batch(0)]))

  def run(self) -> work.Done:
    """Take the next steps."""
    start, self._next_step = self._next_step, self._next_step + self._steps
    threads = self._config.reader_threads
    batches = self._batches.iterate(start, self._next_step, threads)
    return work.Done(self._take(batches))

  def facts(self) -> dict[str, Any]:
    """Say how many parameters are trained."""
    leaves = jax.tree.leaves(self._state.params)
    return {'trained': sum(leaf[0].size for leaf in leaves)}

  def _take(self, batches: Any) -> int:
    """Take a step for each batch; return the photos in them."""
    photos = 0
    for batch in batches:
      photos += int((batch['captions'][:, 0] >= 0).sum())
      self._state, _ = self._step_fn(
        self._state,
        self._statistics,
        parallel.split_rows(batch, len(self._devices)),
        self._frozen,
      )
    jax.block_until_ready(self._state)
    return photos
