"""What a training run is, and what it has reached: JSON of its checkpoints."""

from collections.abc import Mapping
import math
import os
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax import model_description, models
from mrnn_jax.config import FIELDS, Config
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.runtime import files, json_forms, parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training.objectives import OBJECTIVES, Measure

# Training images that every model takes along to estimate P(w) with.
MAX_NORM_IMAGES = 1000


def measure(config: Config) -> Measure:
  """Return what a run is validated by.

  Records and checkpoints call it perplexity, whatever it is; less is better.
  """
  if not models.MODELS[config.model].writes:
    return Measure('mean rank', 'validation_mean_rank', 1)
  return OBJECTIVES[config.objective].measure


def tell_finished(config: Config, progress: Mapping[str, Any]) -> None:
  """Say that a run is finished, and what it has reached."""
  validated = measure(config)
  print(
    f'{config.workdir}: training is finished ({progress["finished"]}); best: '
    f'step {progress["best_step"]}, validation {validated.name} '
    f'{validated.tell(progress["best_perplexity"])}.'
  )


class Plateau:
  """What validation has shown: the best so far, and what follows from it."""

  def __init__(self, config: Config, progress: Mapping[str, Any]):
    """Start from what a checkpoint holds, {} for a new run."""
    self._config = config
    self.best_perplexity = progress.get('best_perplexity', math.inf)
    self.best_step = progress.get('best_step', 0)
    self.evaluations_since_best = progress.get('evaluations_since_best', 0)
    self.finished = progress.get('finished', '')
    self.validated_step = progress.get('validated_step', 0)

  def update(self, step: int, perplexity: float) -> float:
    """Take in a validation; return what to multiply the learning rate by."""
    config = self._config
    self.validated_step = step
    if perplexity < self.best_perplexity:
      self.best_perplexity, self.best_step = perplexity, step
      self.evaluations_since_best = 0
      return 1.0
    self.evaluations_since_best += 1
    if config.patience and self.evaluations_since_best >= config.patience:
      self.finished = (
        f'no better validation perplexity in {config.patience} validations'
      )
    decays = self.evaluations_since_best % config.decay_patience == 0
    if config.schedule == 'plateau' and decays:
      return config.decay_factor
    return 1.0

  def as_json(self) -> dict[str, Any]:
    """Return what a checkpoint holds."""
    return {
      'best_perplexity': self.best_perplexity,
      'best_step': self.best_step,
      'evaluations_since_best': self.evaluations_since_best,
      'finished': self.finished,
      'validated_step': self.validated_step,
    }


def describe(
  config: Config,
  dataset: datasets.Dataset,
  vocabulary: Vocabulary,
  start: Mapping[str, Any] | None = None,
  encoder: Mapping[str, str] | None = None,
) -> dict[str, Any]:
  """Return what a checkpoint says of its model, as JSON values.

  Args:
    config: of the run.
    dataset: what it is trained on.
    vocabulary: of its model.
    start: what is recorded of the model that it begins from.
    encoder: where its model carries an encoder, what this is changed from.
  """
  remembered = config.remembered()
  if config.data_dir:
    # Also for tasks that start in another folder.
    remembered['data_dir'] = ','.join(
      os.fspath(epath.Path(path).expanduser().absolute())
      for path in files.split_paths(config.data_dir)
    )
  return model_description.describe(
    config.fixed(),
    remembered,
    vocabulary.words,
    {
      'name': dataset.name,
      'fingerprint': dataset.fingerprint,
      'feature_size': dataset.feature_size,
      'encoder': encoder or dataset.metadata.get('encoder', ''),
    },
    **({'start': dict(start)} if start else {}),
  )


def norm_features(split: datasets.CaptionSplit, seed: int) -> np.ndarray:
  """Return [K, D] features of training images, to estimate P(w) from."""
  drawn = datasets.sample_images(len(split.image_ids), MAX_NORM_IMAGES, seed)
  return split.features[drawn]


def check_progress(progress: Mapping[str, Any], workdir: str) -> None:
  """Raise InputError where a checkpoint's progress is not what is read of it.

  What came later may be missing.
  """
  form = {
    'best_perplexity?': json_forms.NUMBER,
    'best_step?': int,
    'evaluations_since_best?': int,
    'finished': str,
    'validated_step?': int,
  }
  if wrong := json_forms.misfit(progress, form):
    raise InputError(
      f'the progress of the run in {workdir} {wrong}: its latest checkpoint is '
      'damaged; delete it to go on from the one before.'
    )


def check_description(
  stored: Mapping[str, Any], wanted: Mapping[str, Any], workdir: str
) -> None:
  """Raise InputError where a workdir holds another run than is wanted.

  It may hold options that its model has not, and lack fields that came later.
  """
  there = {name: field.default for name, field in FIELDS.items()}
  there |= stored['config']
  different = [
    f'{name} is {value}, there {there[name]}'
    for name, value in wanted['config'].items()
    if value != there[name]
  ]
  different += [
    f'{name} is {value} there, which this program does not know'
    for name, value in stored['config'].items()
    if name not in FIELDS
  ]
  if stored['dataset'] != wanted['dataset']:
    different += [
      f'{name} of the dataset is {wanted["dataset"].get(name)}, there {value}'
      for name, value in stored['dataset'].items()
      if wanted['dataset'].get(name) != value
    ]
  if different:
    raise InputError(
      f'{workdir} holds another run ({"; ".join(different)}): give another '
      '--workdir, or the settings of that run.'
    )


def check_shared(latest: int | None, workdir: str) -> None:
  """Raise InputError where processes see different checkpoints."""
  steps = parallel.gather(np.asarray(latest or 0, np.int32))
  if len(set(steps.tolist())) > 1:
    raise InputError(
      f'the processes see different checkpoints in {workdir} (the latest: '
      f'{", ".join(map(str, steps))}): put --workdir where all of them see the '
      'same files.'
    )
