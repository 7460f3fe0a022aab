"""The objective of a run: one of ``OBJECTIVES``, with what it takes along."""

import dataclasses

import jax

from mrnn_jax.config import Config
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.models import Model, fused_readout
from mrnn_jax.training import self_critical, teacher
from mrnn_jax.training.objectives import OBJECTIVES, Likelihood, Objective


def create(
  config: Config,
  dataset: datasets.Dataset,
  split: datasets.CaptionSplit,
  vocabulary: Vocabulary,
  devices: list[jax.Device],
  model: Model,
) -> Objective:
  """Return the objective that a configuration asks for.

  Args:
    config: of the run.
    dataset: that it is trained on.
    split: its training split.
    vocabulary: the model's words.
    devices: of the run.
    model: of the run.

  Raises:
    InputError: its teacher cannot be used, or the model not as
      ``--fused_readout`` says.
  """
  objective = OBJECTIVES[config.objective]
  if config.objective == 'self_critical':
    critic = self_critical.Critic(
      split,
      vocabulary,
      config.samples_per_image,
      config.max_words,
      config.seed,
    )
    return dataclasses.replace(objective, prepare=critic.prepare)
  if not isinstance(objective.cost, Likelihood):
    return objective
  options = {
    field.name: getattr(config, field.name)
    for field in dataclasses.fields(Likelihood)
    if field.name != 'fused'
  }
  fused = fused_readout.is_used(
    config.fused_readout, devices[0], model.ends_in_product
  )
  cost = Likelihood(fused, **options)
  objective = dataclasses.replace(objective, cost=cost)
  if config.teacher:
    said = teacher.load(config, dataset, split, vocabulary, devices)
    objective = dataclasses.replace(objective, prepare=said.prepare)
  return objective
