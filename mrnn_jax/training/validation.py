"""What a run is validated by: perplexity, or the CIDEr-D of its captions."""

from collections.abc import Callable

import jax

from mrnn_jax import models
from mrnn_jax.config import Config
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.evaluation.perplexity import TeacherForcing, perplexities
from mrnn_jax.runtime import parallel
from mrnn_jax.training import self_critical
from mrnn_jax.training.objectives import CIDER, Measure


class Validation:
  """Measures a model on the validation split, time and again."""

  def __init__(
    self,
    model: models.Model,
    devices: list[jax.Device],
    vocabulary: Vocabulary,
    config: Config,
    measure: Measure,
  ):
    """Take what stays the same over a run.

    Args:
      model: the model.
      devices: local ones.
      vocabulary: the model's words.
      config: of the run.
      measure: what is measured.
    """
    self._model, self._devices, self._config = model, devices, config
    self._vocabulary, self._measure = vocabulary, measure
    self._teacher_forcing = TeacherForcing(model, devices)

  def __call__(
    self,
    variables: models.Variables,
    split: datasets.CaptionSplit,
    between: Callable[[], None],
  ) -> float:
    """Return the measure of a split; less is better.

    Args:
      variables: of the model, replicated everywhere.
      split: as the model sees it.
      between: called before every batch; what it raises ends the validation.
    """
    variables = parallel.local_copies(variables, self._devices)
    if self._measure is CIDER:
      between()
      return -self_critical.validate(
        self._model,
        parallel.unreplicate(variables),
        self._devices,
        split,
        self._vocabulary,
        self._config.max_words,
      )
    scores = self._teacher_forcing.log2_probs(
      variables,
      split,
      self._config.eval_batch_size,
      between=between,
      everywhere=True,
    )
    return perplexities(scores)['corpus']
