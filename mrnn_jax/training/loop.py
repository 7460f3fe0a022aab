"""Training: the loop around the step, from a checkpoint on or from nothing."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import dataclasses
import math
from typing import Any

import jax

from mrnn_jax import model_description, models
from mrnn_jax.config import Config
from mrnn_jax.data import datasets, folds, image_features
from mrnn_jax.data.input_pipeline import Batch
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.runtime import checkpoint as checkpoint_lib
from mrnn_jax.runtime import parallel, stopping
from mrnn_jax.runtime.progress import say
from mrnn_jax.training import batches as batches_lib
from mrnn_jax.training import (
  chosen_objective,
  fitting,
  optimizers,
  run_record,
  run_times,
  validation,
)
from mrnn_jax.training import photos as photos_lib
from mrnn_jax.training import start as start_lib
from mrnn_jax.training.log import Log
from mrnn_jax.training.objectives import Setting
from mrnn_jax.training.profiling import Profiler
from mrnn_jax.training.step import (
  ENCODER,
  TrainState,
  compile_train_step,
  create_state,
)


def train(config: Config) -> None:
  """Train a model, or go on with one, until it is done.

  The order of decisions:
    1. A checkpoint in the workdir: its run must be the one that is asked for.
       A finished run is left as it is; else the latest checkpoint goes on.
    2. No checkpoint: begin from another model, or from random parameters.
       What a run began from is not needed again.

  Raises:
    Stopped: on request; the step that was reached is saved.
    InputError: data, flags and workdir do not go together, or the cost or its
      gradient is no longer finite.
  """
  devices = parallel.local_devices(config.num_devices)
  dataset = datasets.open_dataset(config.dataset, config.data_dir)
  with checkpoint_lib.Checkpoints(
    config.workdir, config.keep_checkpoints
  ) as checkpoints:
    checkpoints.make_way()
    parallel.wait_for_all()
    latest = checkpoints.latest_step()
    run_record.check_shared(latest, config.workdir)
    vocabulary = dataset.vocabulary(config.min_word_count)
    progress: dict[str, Any] = {}
    start = record = stored = None
    if latest is not None:
      stored, progress = checkpoints.describe(latest)
      model_description.check(stored, config.workdir)
      run_record.check_progress(progress, config.workdir)
      if record := stored.get('start'):
        vocabulary = Vocabulary(tuple(stored['vocabulary']))
    elif config.init_from:
      start = start_lib.load(config, dataset, devices)
      vocabulary, record = start.vocabulary, start.record
      # The start is validated too: what follows may be no better.
      progress = {'validated_step': -1}
    photos = photos_lib.open_for(config, dataset, devices, start, stored)
    base = photos_lib.base_encoder(photos, start, stored)
    description = run_record.describe(config, dataset, vocabulary, record, base)
    if stored is not None:
      run_record.check_description(stored, description, config.workdir)
      if progress['finished']:
        run_record.tell_finished(config, progress)
        return
    if models.MODELS[config.model].fitted:
      fitting.train(
        config, devices, dataset, vocabulary, description, checkpoints
      )
      return
    blocks = photos_lib.first_blocks(photos, dataset, start, stored)
    run = _Run(
      config, devices, dataset, vocabulary, description, start, photos, blocks
    )
    with stopping.deferred():
      run.train(checkpoints, latest, progress)


class _Run:
  """A training run: what stays the same over its steps."""

  def __init__(
    self,
    config: Config,
    devices: list[jax.Device],
    dataset: datasets.Dataset,
    vocabulary: Vocabulary,
    description: dict[str, Any],
    start: start_lib.Start | None = None,
    photos: photos_lib.PhotoTraining | None = None,
    blocks: Mapping[str, Any] | None = None,
  ):
    self.start, self.vocabulary = start, vocabulary
    self.photos, self.blocks = photos, dict(blocks or {})
    self.config, self.devices, self.description = config, devices, description
    self.clock = run_times.Clock()
    say(f'reading {dataset.place}')
    cache_mb, views = config.feature_cache_mb, config.eval_views
    self.split, self.validation = (
      datasets.load_split(dataset, name, vocabulary, cache_mb, views=views)
      for name in ('train', 'validation')
    )
    self.split = folds.without(self.split, config.held_out_fold)
    self.num_views = batches_lib.num_views(config, dataset)
    self.batches = batches_lib.create(
      config, self.split, self.num_views, len(devices), photos
    )
    steps_per_epoch = self.batches.steps_per_epoch
    self.total_steps = optimizers.num_steps(config, steps_per_epoch)
    optimizers.note_warmup(config, self.total_steps)
    self.eval_every = config.eval_every_steps or steps_per_epoch
    self.model = models.create_model(
      config.model, len(vocabulary), dataset.feature_size, config.fixed()
    )
    self.schedule = optimizers.create_schedule(config, steps_per_epoch)
    self.optimizer = optimizers.create_optimizer(
      config,
      self.schedule,
      optimizers.create_schedule(
        config, steps_per_epoch, config.encoder_learning_rate
      ),
      photos.trained if photos else (),
      bool(self.blocks),
    )
    self.objective = chosen_objective.create(
      config, dataset, self.split, vocabulary, devices, self.model
    )
    self.measure = validation.Validation(
      self.model, devices, vocabulary, config, self.objective.measure
    )
    self.step_fn = compile_train_step(
      devices,
      objective=self.objective,
      # The step alone: what is measured is always computed in float32.
      model=self.model.clone(
        dtype=config.compute_dtype, precision=config.matmul_precision
      ),
      optimizer=self.optimizer,
      words_per_batch=self.batches.words_per_batch,
      l2=config.l2,
      accumulate_steps=config.accumulate_steps,
      average_decay=config.average_decay,
      encoder=photos and photos.in_step(),
    )
    self.compiled_lengths: set[int] = set()
    say(batches_lib.tell(self.split, vocabulary, self.batches, len(devices)))
    if start:
      say(start_lib.tell(config, start))

  def first_state(self) -> TrainState:
    """Return the state before the first step."""
    init_key, key = jax.random.split(jax.random.key(self.config.seed))
    if self.start:
      variables = self.start.variables
    else:
      variables = models.init_variables(self.model, init_key)
    average = bool(self.config.average_decay)
    if self.blocks:
      params = {**variables['params'], ENCODER: self.blocks}
      variables = {**variables, 'params': params}
    return create_state(variables, self.optimizer, key, average)

  def first_statistics(self) -> Mapping[str, Any]:
    """Return the features' statistics that the model begins with, and keeps."""
    if self.start:
      return self.start.variables.get('statistics', {})
    if self.photos:
      return self.photos.first_statistics(self.split, self.config.seed)
    if self.model.sees_images:
      return image_features.feature_statistics(
        self.split.features, self.num_views
      )
    return {}

  def train(
    self,
    checkpoints: checkpoint_lib.Checkpoints,
    latest: int | None,
    progress: Mapping[str, Any],
  ) -> None:
    """Take the steps from the latest checkpoint on."""
    config = self.config
    state, step = self.first_state(), 0
    if latest is None:
      statistics = self.first_statistics()
    else:
      restored = checkpoints.restore(latest, state)
      state, step = restored.state, latest
      statistics = restored.model['statistics']
      say(f'going on from step {step}')
    # What the model takes along beside its parameters.
    if self.photos:  # Their features come with the best model.
      norm_features = self.photos.no_features()
    else:
      norm_features = run_record.norm_features(self.split, config.seed)
    self.carried = {'statistics': statistics, 'norm_features': norm_features}
    self.setting = Setting(
      self.model, statistics, self.split, self.vocabulary, self.devices
    )
    with (
      Log(
        config.workdir,
        step,
        self.total_steps,
        self.batches.steps_per_epoch,
        config.log_every_steps,
        self.clock,
        self.devices,
      ) as log,
      Profiler(
        config.profile_steps, config.workdir, step, self.total_steps
      ) as profiler,
      self.clock.hearing_of_compiles(),
      contextlib.closing(
        self.batches.iterate(step, self.total_steps, config.reader_threads)
      ) as batches,
    ):
      self.take_steps(
        checkpoints, state, step, progress, batches, log, profiler
      )

  def take_steps(
    self,
    checkpoints: checkpoint_lib.Checkpoints,
    state: TrainState,
    step: int,
    progress: Mapping[str, Any],
    batches: Iterator[Batch],
    log: Log,
    profiler: Profiler,
  ) -> None:
    """Take steps, validate and save until the run is done.

    Args:
      checkpoints: of the workdir.
      state: after ``step`` steps, host arrays.
      step: steps that are taken.
      progress: what the run had reached.
      batches: of the steps that follow.
      log: is told of every step.
      profiler: is asked at every step.

    Raises:
      Stopped: on request; the step that was reached is saved.
    """
    config, clock = self.config, self.clock
    # What only validation changes; here the device is not waited for.
    scale = float(state.learning_rate_scale)
    frozen = self.photos.frozen if self.photos else {}
    state, statistics, self.frozen = (
      parallel.replicate(tree, self.devices, everywhere=True)
      for tree in (state, self.carried['statistics'], frozen)
    )
    plateau = run_record.Plateau(config, {'validated_step': step, **progress})
    stop = parallel.Agreement(self.devices, stopping.requested)
    pending = None

    def save(perplexity: float | None) -> None:
      checkpoints.save(
        checkpoint_lib.Checkpoint(
          step=step,
          state=parallel.unreplicate(state),
          model=self.carried,
          description=self.description,
          progress=plateau.as_json(),
        ),
        perplexity,
      )

    clock.enter('steps')
    try:
      while not plateau.finished:
        if self.is_due(step) and plateau.validated_step != step:
          if pending is not None:
            log.step(*pending)
            pending = None
          with clock.during('validation'):
            perplexity = self.validate(
              state, statistics, stop, plateau.best_perplexity
            )
          factor = plateau.update(step, perplexity)
          scale *= factor
          state = dataclasses.replace(
            state, learning_rate_scale=state.learning_rate_scale * factor
          )
          if step >= self.total_steps and not plateau.finished:
            plateau.finished = f'all {self.total_steps} steps are taken'
          with clock.during('saving'):
            save(perplexity)
          log.validation(
            step, perplexity, plateau.best_perplexity, self.objective.measure
          )
          continue
        stop()
        with clock.during('data'):
          batch: Any = next(batches)
        if self.objective.prepare:
          with clock.during('data'):
            batch = self.objective.prepare(self.setting, state, batch)
        if not self.photos:
          del batch['captions']
        with profiler.step(step + 1, pending), clock.during(self.doing(batch)):
          state, metrics = self.step_fn(
            state,
            statistics,
            parallel.split_rows(batch, len(self.devices)),
            self.frozen,
          )
        # Logged a step late, so that the device never waits for the log.
        if pending is not None:
          log.step(*pending)
        step += 1
        pending = (step, metrics, scale * float(self.schedule(step - 1)))
    except stopping.Stopped:
      if pending is not None:
        # A cost that is not finite must not be saved.
        log.step(*pending)
      with clock.during('saving'):
        if step and not checkpoints.has(step):
          save(None)
        checkpoints.wait()
      log.close(f'stopped at step {step}')
      if not step:
        raise stopping.Stopped('no step was taken; begin again.') from None
      raise stopping.Stopped(
        f'step {step} of {self.total_steps} is saved in {config.workdir}; the '
        'same command goes on from there.'
      ) from None
    with clock.during('saving'):
      checkpoints.wait()
    log.close(
      f'{plateau.finished}; best: step {plateau.best_step}, validation '
      f'{self.objective.measure.name} '
      f'{self.objective.measure.tell(plateau.best_perplexity)}'
    )

  def doing(self, batch: Mapping[str, Any]) -> str:
    """Return what a step on a batch does: every length is compiled first."""
    length = batch['tokens'].shape[1]
    if length in self.compiled_lengths:
      return 'steps'
    self.compiled_lengths.add(length)
    return 'compile'

  def is_due(self, step: int) -> bool:
    """Say whether validation follows a step."""
    return step >= self.total_steps or step % self.eval_every == 0

  def validate(
    self,
    state: TrainState,
    statistics: Any,
    between: Callable[[], None] = lambda: None,
    best: float = math.inf,
  ) -> float:
    """Return what the validation split gives; less is better.

    Args:
      state: replicated.
      statistics: of the features, replicated.
      between: called before every batch; what it raises ends the validation.
      best: what was reached so far; with less, the training images that the
        model takes along are encoded by its encoder.
    """
    params, blocks = photos_lib.split_params(state.measured)
    seen = self.validation
    if self.photos:
      seen = self.photos.seen(blocks, self.frozen, seen, between)
    variables = {'params': params, 'statistics': statistics}
    value = self.measure(variables, seen, between)
    if self.photos and value < best:
      self.carried['norm_features'] = self.photos.norm_features(
        blocks, self.frozen, self.split, between
      )
    return value
