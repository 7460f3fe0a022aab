"""Training of models that are fitted at one go, not step by step."""

from collections.abc import Mapping
from typing import Any
import warnings

import jax
import numpy as np

from mrnn_jax import models
from mrnn_jax.config import Config
from mrnn_jax.data import datasets, folds, image_features
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.evaluation.perplexity import TeacherForcing, perplexities
from mrnn_jax.metrics.ranks import ImageRanks, WrongSentences
from mrnn_jax.metrics.score_matrix import check_finite
from mrnn_jax.ranking.embedding_ranker import EmbeddingRanker
from mrnn_jax.runtime import checkpoint as checkpoint_lib
from mrnn_jax.runtime import parallel, stopping
from mrnn_jax.runtime.progress import Progress, say
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
  """Fit a model to the training captions, validate it, and save it.

  All processes do the same; the first one saves.

  Args:
    config: of the run.
    devices: to validate on.
    dataset: its captions and features.
    vocabulary: their words.
    description: of the run, to be saved.
    checkpoints: of the workdir.
  """
  say(f'reading {dataset.place}')
  split, validation = (
    datasets.load_split(
      dataset,
      name,
      vocabulary,
      config.feature_cache_mb,
      views=config.eval_views,
    )
    for name in ('train', 'validation')
  )
  split = folds.without(split, config.held_out_fold)
  model = models.create_model(
    config.model, len(vocabulary), dataset.feature_size, config.fixed()
  )
  statistics = {}
  if model.sees_images:
    statistics = image_features.feature_statistics(split.features)
  with (
    warnings.catch_warnings(record=True) as doubts,
    Progress(f'fitting {config.model}', 'passes') as progress,
  ):
    warnings.simplefilter('always')
    params = model.fit(
      models.Examples(
        tokens=split.tokens,
        offsets=split.offsets,
        owner=split.owner,
        features=split.features,
        statistics=statistics,
        seed=config.seed,
        progress=progress,
      )
    )
  for doubt in doubts:
    say(f'note: {doubt.message}')
  say(f'fitted to {len(split.owner):,} captions, {len(vocabulary):,} words')
  variables = {'params': params, 'statistics': statistics}
  if model.writes:
    value = _perplexity(model, variables, validation, devices, config)
  else:
    value = _mean_rank(model, variables, validation, devices)
  plateau = run_record.Plateau(config, {})
  plateau.update(_STEP, value)
  plateau.finished = 'it is fitted to all captions'
  with stopping.deferred():
    checkpoints.save(
      checkpoint_lib.Checkpoint(
        step=_STEP,
        state={'params': params},
        model={
          'statistics': statistics,
          'norm_features': run_record.norm_features(split, config.seed),
        },
        description=description,
        progress=plateau.as_json(),
      ),
      value,
    )
    checkpoints.wait()
  measure = run_record.measure(config).name
  say(f'{plateau.finished}; validation {measure} {value:.2f}')


def _perplexity(
  model: models.Model,
  variables: models.Variables,
  validation: datasets.CaptionSplit,
  devices: list[jax.Device],
  config: Config,
) -> float:
  """Return the corpus perplexity of the validation split."""
  scores = TeacherForcing(model, devices).log2_probs(
    parallel.replicate(variables, devices),
    validation,
    config.eval_batch_size,
    everywhere=True,
  )
  return perplexities(scores)['corpus']


def _mean_rank(
  model: models.Model,
  variables: models.Variables,
  validation: datasets.CaptionSplit,
  devices: list[jax.Device],
) -> float:
  """Return the mean rank of what is true, of both directions alike."""
  owner = validation.owner
  sentences = [validation.caption_tokens(c) for c in range(len(owner))]
  ranker = EmbeddingRanker(model, variables, devices)
  true = ranker.true_scores(sentences, validation.features, owner)
  by_image = WrongSentences(true, owner, best_only=True)
  by_sentence = ImageRanks(true)
  for rows, columns, block in ranker.blocks(sentences, validation.features):
    check_finite(block, rows, columns)
    by_image.add(columns, block)
    by_sentence.add(rows, block)
  ranks = by_image.best_ranks(), by_sentence.ranks
  return float(np.mean([x.mean() for x in ranks]))
