"""The protocols: perplexity, captions and retrieval into evaluation.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrnn_jax import metrics as metrics_lib
from mrnn_jax.config import Config
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import tokenize
from mrnn_jax.evaluation import captions, confidence, reference_length
from mrnn_jax.evaluation import retrieval as retrieval_lib
from mrnn_jax.evaluation.perplexity import TeacherForcing, perplexities
from mrnn_jax.ranking import ranker as rank_lib
from mrnn_jax.runtime import files, parallel
from mrnn_jax.trained import TrainedModel


def load_split(
  model: TrainedModel,
  dataset: datasets.Dataset,
  config: Config,
  first_caption_only: bool,
) -> datasets.CaptionSplit:
  """Return the split that a configuration names, in the model's words."""
  return model.load_split(dataset, config.split, config, first_caption_only)


def evaluate(
  model: TrainedModel, dataset: datasets.Dataset, config: Config
) -> dict[str, Any]:
  """Measure a model on a split and write ``evaluation.json``.

  All processes share what the model computes; the first one measures and
  writes.

  Args:
    model: the model.
    dataset: any of the model's encoder; where the model was trained on it, its
      training captions are read too, to see what is copied from them.
    config: the split and the protocol's options.

  Returns:
    What the file holds; {} in other processes than the first.
  """
  first = parallel.is_first()
  # References are always all captions; the rest may be the first ones alone.
  split = ranked = load_split(model, dataset, config, False)
  if config.first_caption_only:
    ranked = load_split(model, dataset, config, True)
  result: dict[str, Any] = {
    'dataset': dataset.name,
    'split': config.split,
    'model': model.name,
    'step': model.step,
    'convention': convention(model, split, ranked, config),
  }
  if not model.knows(dataset):
    result['convention']['trained_on'] = model.dataset['name']
  if model.writes:
    result |= _measure_words(model, dataset, split, ranked, config)
  result['retrieval'] = result['chance'] = None
  if model.model.sees_images and config.retrieval:
    result['retrieval'], result['chance'] = retrieval_lib.retrieve(
      model, ranked, config
    )
  if not first:
    return {}
  path = files.result_path(config.workdir, config.split, 'evaluation.json')
  files.write_json(path, result)
  print(f'wrote {path}')
  return result


def _measure_words(
  model: TrainedModel,
  dataset: datasets.Dataset,
  split: datasets.CaptionSplit,
  ranked: datasets.CaptionSplit,
  config: Config,
) -> dict[str, Any]:
  """Measure perplexity, and captions, which are written into the workdir."""
  scores = TeacherForcing(model.model, model.devices).log2_probs(
    parallel.replicate(model.variables, model.devices),
    ranked,
    config.eval_batch_size,
    config.context_words,
    everywhere=True,
  )
  result = {'perplexity': perplexities(scores)}
  first = parallel.is_first()
  training: list[str] | None = None
  if first and model.knows(dataset):
    training = dataset.training_captions()
  if config.length_protocol == 'reference':
    return result | reference_length.measure(model, split, config, training)
  consensus = captions.make_consensus(model, dataset, config)
  lines = captions.write_captions(model, split, config, consensus=consensus)
  if first:
    written = {line['image_id']: line['caption'] for line in lines}
    result |= measure_captions(split, written, training)
    if 'confidence' in lines[0]:
      result['confidence'] = _measure_confidence(model, split, lines)
  return result


def _measure_confidence(
  model: TrainedModel,
  split: datasets.CaptionSplit,
  lines: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
  """Return how good the chances are that stand beside captions."""
  threshold = (model.calibration or {})['threshold']
  values = confidence.similarity(split, [[dict(line)] for line in lines])
  return {
    'threshold': threshold,
    **confidence.measure(
      [line['confidence'] for line in lines],
      [value[0] > threshold for value in values],
    ),
    'unfamiliar': float(np.mean([line['unfamiliar'] for line in lines])),
  }


def measure_captions(
  split: datasets.CaptionSplit,
  written: Mapping[str, str],
  training_captions: list[str] | None,
) -> dict[str, Any]:
  """Measure captions by image id against all references of a split.

  Args:
    split: its images.
    written: captions by image id.
    training_captions: what the model was trained on; None if not at hand.
  """
  references = {
    image_id: [text for text in texts if tokenize(text)]
    for image_id, texts in zip(split.image_ids, split.captions, strict=True)
  }
  return metrics_lib.measure_captions(written, references, training_captions)


def ensemble_convention(model: TrainedModel) -> dict[str, Any]:
  """Return which mean of which models an ensemble is; {} of a single model."""
  if not model.ensemble:
    return {}
  members = [
    {
      'model': part['config'].get('model'),
      'encoder': part['dataset']['encoder']['name'],
      'seed': part['config'].get('seed'),
      'step': part['step'],
      'weight': part['weight'],
    }
    for part in model.ensemble['members']
  ]
  return {'ensemble': {'mean': model.ensemble['mean'], 'members': members}}


def convention(
  model: TrainedModel,
  split: datasets.CaptionSplit,
  ranked: datasets.CaptionSplit,
  config: Config,
) -> dict[str, Any]:
  """Return every convention that a result was made under.

  Args:
    model: the model.
    split: with all references.
    ranked: with the sentences that are measured.
    config: the protocol's options.
  """
  num_own = np.asarray([len(texts) for texts in split.captions])
  common = {
    'min_word_count': model.config.min_word_count,
    'vocabulary': len(model.vocabulary),
    'encoder': model.dataset['encoder'],
    **ensemble_convention(model),
  }
  if (views := split.features.num_views) > 1:
    common |= {'views': views, 'eval_views': config.eval_views}
  measured = {
    'images': len(split.image_ids),
    'sentences': len(ranked.owner),
    'references': float(num_own.mean()),
  }
  if not model.writes:
    return {
      **common,
      **measured,
      'score': 'cosine',
      'first_caption_only': config.first_caption_only,
      'shortlist': config.shortlist,
      'ties': 'against',
    }
  groups = {
    'beam_groups': config.beam_groups,
    'diversity_penalty': config.diversity_penalty,
  }
  search = (
    {
      'sampled': True,
      'beam_size': None,
      'temperature': config.temperature,
      'top_k': config.top_k,
      'top_p': config.top_p,
      'sample_seed': config.sample_seed,
    }
    if config.sample
    else {
      'beam_size': config.beam_size,
      **(groups if config.beam_groups > 1 else {}),
    }
  )
  return {
    **common,
    'compute_dtype': model.config.compute_dtype,
    'matmul_precision': model.config.matmul_precision,
    **measured,
    'target_end': True,
    **search,
    # Where captions are as long as references, nothing else bounds them.
    **{
      name: None if config.length_protocol == 'reference' else value
      for name, value in (
        ('length_penalty', config.length_penalty),
        ('max_words', config.max_words),
        ('min_words', config.min_words),
      )
    },
    'no_repeat_ngram': config.no_repeat_ngram,
    'rerank_neighbors': config.rerank_neighbors,
    'rerank_captions': config.rerank_captions if config.rerank_neighbors else 0,
    **_pmi(config),
    'length_protocol': config.length_protocol,
    'context_words': config.context_words,
    'first_caption_only': config.first_caption_only,
    'norm_images': config.norm_images,
    'shortlist': config.shortlist,
    'rank_dtype': rank_lib.operand_dtype(config.rank_dtype, model.devices),
    'ties': 'against',
  }


def _pmi(config: Config) -> dict[str, Any]:
  """Return what is to be known of an order by P(w|I) / P(w)^a, if any."""
  if not config.rerank:
    return {}
  known = {'rerank': config.rerank, 'rerank_exponent': config.rerank_exponent}
  if config.rerank_neighbors:
    known['rerank_weight'] = config.rerank_weight
  return known
