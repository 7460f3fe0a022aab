"""Training of models that are counted: one look at the captions."""

from collections.abc import Mapping
from typing import Any
import warnings

import jax

from mrnn_jax import models
from mrnn_jax.config import Config
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.evaluation.perplexity import TeacherForcing, perplexities
from mrnn_jax.runtime import checkpoint as checkpoint_lib
from mrnn_jax.runtime import parallel, stopping
from mrnn_jax.runtime.progress import say
from mrnn_jax.training import run_record

# A model of these is done after its first step.
_STEP = 1


def train(
  config: Config,
  devices: list[jax.Device],
  dataset: datasets.Dataset,
  vocabulary: Vocabulary,
  description: Mapping[str, Any],
  checkpoints: checkpoint_lib.Checkpoints,
) -> None:
  """Count the training captions, validate, and save the model.

  All processes do the same; the first one saves.

  Args:
    config: of the run.
    devices: to validate on.
    dataset: its captions.
    vocabulary: their words.
    description: of the run, to be saved.
    checkpoints: of the workdir.
  """
  say(f'reading {dataset.path}')
  split, validation = (
    datasets.load_split(dataset, name, vocabulary, config.feature_cache_mb)
    for name in ('train', 'validation')
  )
  model = models.create_model(
    config.model, len(vocabulary), dataset.feature_size, config.fixed()
  )
  with warnings.catch_warnings(record=True) as doubts:
    warnings.simplefilter('always')
    params = model.count(split.tokens, split.offsets)
  for doubt in doubts:
    say(f'note: {doubt.message}')
  say(f'counted {len(split.owner):,} captions, {len(vocabulary):,} words')
  scores = TeacherForcing(model, devices).log2_probs(
    parallel.replicate({'params': params}, devices),
    validation,
    config.eval_batch_size,
    everywhere=True,
  )
  perplexity = perplexities(scores)['corpus']
  plateau = run_record.Plateau(config, {})
  plateau.update(_STEP, perplexity)
  plateau.finished = 'all captions are counted'
  with stopping.deferred():
    checkpoints.save(
      checkpoint_lib.Checkpoint(
        step=_STEP,
        state={'params': params},
        model={
          'statistics': {},
          'norm_features': run_record.norm_features(split, config.seed),
        },
        description=description,
        progress=plateau.as_json(),
      ),
      perplexity,
    )
    checkpoints.wait()
  say(f'{plateau.finished}; validation perplexity {perplexity:.2f}')
