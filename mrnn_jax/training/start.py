"""The model that a training run begins from, instead of from nothing."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import jax

from mrnn_jax import models, stored_model
from mrnn_jax.config import Config
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.models import words
from mrnn_jax.runtime.along import model_path
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.trained import TrainedModel


@dataclasses.dataclass(frozen=True)
class Start:
  """What a run takes of a model.

  Attributes:
    variables: parameters, and statistics of the features, of V words.
    vocabulary: the model's words, and behind them those that are new.
    record: JSON of the run's description: 'identity' of the model, 'dataset'
      that it was trained on, its 'step', how many words are 'new_words', and
      the names of its encoder's 'blocks', if it carries any.
    encoder: these blocks.
    base_encoder: what they are changed from, or what its features are of.
  """

  variables: models.Variables
  vocabulary: Vocabulary
  record: Mapping[str, Any]
  encoder: Mapping[str, Any] | None = None
  base_encoder: Mapping[str, str] = dataclasses.field(default_factory=dict)


def description(init_from: str) -> Mapping[str, Any]:
  """Return how the model is described that ``--init_from`` names.

  Raises:
    InputError: there is none, or it cannot be read.
  """
  return stored_model.read(model_path(init_from)).description


def load(
  config: Config, dataset: datasets.Dataset, devices: list[jax.Device]
) -> Start:
  """Load what a run begins from.

  Args:
    config: of the run, with the model's own options.
    dataset: what the run is to be trained on.
    devices: of the run.

  Raises:
    InputError: there is no such model, all processes do not find the same one,
      its features are of another kind, or its options are others.
  """
  path = model_path(config.init_from)
  model = TrainedModel.load(path, devices)
  if model.ensemble:
    raise InputError(
      f'--init_from={config.init_from} is an ensemble: a run begins from a '
      'single model; learn from an ensemble by --teacher.'
    )
  model.check_shared(path)
  model.check_dataset(dataset)
  different = [
    name
    for name in ('model', *models.structure_of(model.config.model))
    if getattr(config, name) != getattr(model.config, name)
  ]
  if different:
    raise InputError(
      f'the model of --init_from={config.init_from} has another '
      f'{", ".join(sorted(different))}: leave that to it.'
    )
  fold = config.held_out_fold
  if fold and model.config.held_out_fold != fold:
    raise InputError(
      f'--held_out_fold={fold}, but the model of --init_from='
      f'{config.init_from} has read that part of the training images: begin '
      'from one that was trained without it, or from nothing.'
    )
  wanted = dataset.vocabulary(config.min_word_count)
  vocabulary = model.vocabulary.extended(wanted.words)
  num_new = len(vocabulary) - len(model.vocabulary)
  return Start(
    words.with_more_words(model.model, model.variables, num_new),
    vocabulary,
    {
      'identity': model.identity(),
      'dataset': model.dataset['name'],
      'step': model.step,
      'new_words': num_new,
      **({'blocks': sorted(model.encoder)} if model.encoder else {}),
    },
    model.encoder,
    model.base_encoder,
  )


def tell(config: Config, start: Start) -> str:
  """Return what the log says of a start."""
  record = start.record
  new, all_words = record['new_words'], len(start.vocabulary)
  begin = 'begins' if new == 1 else 'begin'
  return (
    f'begins from {config.init_from} (step {record["step"]:,} on '
    f'{record["dataset"]}): {all_words - new:,} words are kept, {new:,} new '
    f'{begin} as the mean of the others; learning rate '
    f'{config.learning_rate:g}, warm-up {config.warmup_steps:,} steps'
  )
