"""Writes captions for the images of a split: ``captions.jsonl``."""

from collections.abc import Sequence
import dataclasses
import math
import sys
from typing import Any

import numpy as np

from mrnn_jax.config import Config
from mrnn_jax.config.decoding import decode_options
from mrnn_jax.data import datasets
from mrnn_jax.data.feature_files.table import Encoder
from mrnn_jax.data.vocabulary import UNK, tokenize
from mrnn_jax.decoding import generate
from mrnn_jax.decoding.consensus import Consensus
from mrnn_jax.decoding.search import Decoded
from mrnn_jax.evaluation import confidence, reranking
from mrnn_jax.runtime import files, parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.progress import Progress
from mrnn_jax.trained import TrainedModel

# Features of training images kept in memory to find neighbours by.
_CONSENSUS_CACHE_MB = 512


def _caption(
  model: TrainedModel,
  decoded: Decoded,
  row: int,
  k: int,
  prefix: Sequence[str],
) -> dict[str, Any]:
  """Return hypothesis k of a row as JSON values."""
  words = decoded.words[row, k, : decoded.lengths[row, k]]
  log_prob = float(decoded.log_probs[row, k])
  targets = int(decoded.num_targets[row, k])
  text = [*prefix, *(model.vocabulary.words[i] for i in words)]
  return {
    'caption': ' '.join(text),
    'log_prob': log_prob,
    'score': float(decoded.scores[row, k]),
    'perplexity': math.exp(-log_prob / max(1, targets)),
    'cut': bool(decoded.cut[row, k]),
  }


def caption_lines(
  model: TrainedModel,
  image_ids: Sequence[str],
  features: np.ndarray,
  config: Config,
  prefix: str = '',
  consensus: Consensus | None = None,
) -> list[dict[str, Any]]:
  """Write a caption for every image; all processes share the work.

  Args:
    model: the model.
    image_ids: [N] what the images are called.
    features: [N, D] raw features.
    config: how to choose words, and how many captions (``nbest``).
    prefix: words that every caption begins with; their probability is not
      counted in that of the caption.
    consensus: chooses among the hypotheses of a beam, if given.

  Returns:
    A line of ``captions.jsonl`` for each image; where the model is calibrated
    for such captions, with how sure each is.
  """
  reranked = bool(consensus) or config.rerank == 'pmi'
  calibration = calibration_for(model, config, prefix)
  whole_beam = reranked or calibration is not None
  found = hypotheses(model, image_ids, features, config, prefix, whole_beam)
  if config.rerank == 'pmi':
    found = reranking.by_pmi(model, found, config.rerank_exponent)
  if consensus:
    found = reranking.by_consensus(
      consensus, features, found, config.rerank_weight
    )
  judged: list[tuple[dict[str, Any], reranking.Hypotheses]] = [
    ({}, hs) for hs in found
  ]
  if calibration:
    judged = [
      (
        {'distance': far, 'unfamiliar': far > calibration.unfamiliar},
        [{**h, 'confidence': x} for h, x in zip(hs, chances, strict=True)],
      )
      for hs, (far, chances) in zip(
        found, calibration.judge(model, features, found), strict=True
      )
    ]
  lines = []
  for image_id, (of_image, hs) in zip(image_ids, judged, strict=True):
    line = {'image_id': image_id, **hs[0], **of_image}
    if config.nbest > 1:
      line['nbest'] = hs[: config.nbest]
    lines.append(line)
  return lines


def calibration_for(
  model: TrainedModel, config: Config, prefix: str = ''
) -> confidence.Calibration | None:
  """Return the model's calibration where it holds for captions to be written.

  Where it does not, the first process says so.
  """
  calibration = confidence.Calibration.of(model)
  if not calibration or calibration.holds_for(config, prefix):
    return calibration
  if parallel.is_first():
    wanted = ' '.join(f'--{n}={x}' for n, x in calibration.search.items())
    print(
      'note: no confidence is given: that of the model holds for its likeliest '
      f'captions by {wanted}, without more.',
      file=sys.stderr,
    )
  return None


def hypotheses(
  model: TrainedModel,
  image_ids: Sequence[str],
  features: np.ndarray,
  config: Config,
  prefix: str = '',
  whole_beam: bool = True,
) -> list[reranking.Hypotheses]:
  """Return the hypotheses of each image, the likeliest first.

  Args:
    model: see ``caption_lines``.
    image_ids: see there.
    features: see there.
    config: see there.
    prefix: see there.
    whole_beam: all that a beam keeps, or ``nbest``.
  """
  given = tokenize(prefix)
  ids = model.vocabulary.encode(given)
  unknown = [w for w, i in zip(given, ids, strict=True) if i == UNK]
  if unknown and parallel.is_first():
    print(
      f'note: the model does not know {", ".join(unknown)} of --prefix.',
      file=sys.stderr,
    )
  options = decode_options(config)
  if whole_beam:
    options = dataclasses.replace(options, num_best=options.num_hypotheses)
  with Progress('captions', 'images') as progress:
    decoded = model.generate(
      features,
      options,
      prefixes=[ids] * len(features),
      seed=config.sample_seed,
      batch_size=generate.even_batch_size(
        len(features), len(model.devices), config.eval_batch_size
      ),
      progress=progress,
      everywhere=True,
    )
  found = [
    [
      _caption(model, decoded, row, k, given)
      for k in range(decoded.words.shape[1])
      if decoded.log_probs[row, k] > -math.inf
    ]
    for row in range(len(features))
  ]
  for image_id, of_image in zip(image_ids, found, strict=True):
    if not of_image:
      raise InputError(
        f'no caption of {image_id} keeps to --min_words and --no_repeat_ngram: '
        'lower them.'
      )
  return found


def make_consensus(
  model: TrainedModel, dataset: datasets.Dataset, config: Config
) -> Consensus | None:
  """Return what reranks captions, if the configuration wants it."""
  if not config.rerank_neighbors:
    return None
  # Read twice at most: the captions, and the features to find neighbours by.
  cache_mb = min(config.feature_cache_mb, _CONSENSUS_CACHE_MB)
  size = num_encoders = None
  if model.ensemble:  # What its first member sees finds the neighbours.
    seen = model.ensemble['members'][0]['dataset']
    size = seen['feature_size']
    num_encoders = len(Encoder(**seen['encoder']).parts)
  split = model.load_split(
    dataset,
    'train',
    config.replace(feature_cache_mb=cache_mb),
    num_encoders=num_encoders,
  )
  return Consensus(
    split.features,
    split.captions,
    config.rerank_neighbors,
    config.rerank_captions,
    size,
  )


def write_captions(
  model: TrainedModel,
  split: datasets.CaptionSplit,
  config: Config,
  prefix: str = '',
  consensus: Consensus | None = None,
) -> list[dict[str, Any]]:
  """Write a caption for every image of a split into the workdir.

  All processes share the work, the first one writes.

  Args:
    model: the model.
    split: its N images.
    config: workdir and how to choose words.
    prefix: words that every caption begins with.
    consensus: see ``caption_lines``.

  Returns:
    The lines that are written.
  """
  lines = caption_lines(
    model, split.image_ids, split.features.all(), config, prefix, consensus
  )
  if parallel.is_first():
    path = files.result_path(config.workdir, config.split, 'captions.jsonl')
    files.write_json_lines(path, lines)
    print(f'wrote {path}')
  return lines
