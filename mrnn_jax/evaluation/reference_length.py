"""The paper's BLEU protocol: as many words as the reference has (7.2).

One caption for each reference sentence, after Kiros et al.: it has exactly as
many words, ``##END##`` being barred, and is judged against all references of
its image.  With context words it starts from the first words of its sentence,
which are then removed from both sides.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from mrnn_jax import metrics as metrics_lib
from mrnn_jax.config import Config
from mrnn_jax.config.decoding import decode_options
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import tokenize
from mrnn_jax.decoding import generate
from mrnn_jax.runtime import files, parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.progress import Progress
from mrnn_jax.trained import TrainedModel


def measure(
  model: TrainedModel,
  split: datasets.CaptionSplit,
  config: Config,
  training_captions: list[str] | None,
) -> dict[str, Any]:
  """Write ``captions_reference_length.jsonl`` and measure it.

  All processes share the writing of captions.

  Returns:
    'bleu', 'cider_d', 'rouge_l', 'captions' as ``metrics.measure_captions``,
    and 'skipped': sentences that have no word after their context words; {} in
    other processes than the first.
  """
  context = config.context_words
  # [N] lists of what is left of each image's references.
  rests = [
    [tokenize(text)[context:] for text in texts] for texts in split.captions
  ]
  asked = [
    (image, j)
    for image, texts in enumerate(rests)
    for j in range(1 if config.first_caption_only else len(texts))
  ]
  rows = [(image, j) for image, j in asked if rests[image][j]]
  skipped = len(asked) - len(rows)
  if not rows:
    raise InputError(
      f'no sentence of the {split.name} split has a word after its first '
      f'{context}: lower --context_words.'
    )
  lengths = [len(rests[image][j]) for image, j in rows]
  prefixes = [
    model.vocabulary.encode(tokenize(split.captions[image][j])[:context])
    for image, j in rows
  ]
  options = dataclasses.replace(
    decode_options(config),
    max_words=max(lengths),
    exact_length=True,
    num_best=1,
    num_samples=1,
  )
  with Progress('captions of reference length', 'sentences') as progress:
    decoded = model.generate(
      split.features[np.asarray([image for image, _ in rows])],
      options,
      prefixes=prefixes,
      max_words=lengths,
      seed=config.sample_seed,
      batch_size=generate.even_batch_size(
        len(rows), len(model.devices), config.eval_batch_size
      ),
      progress=progress,
      everywhere=True,
    )
  if not parallel.is_first():
    return {}
  for (image, _), length, log_prob in zip(
    rows, lengths, decoded.log_probs[:, 0], strict=True
  ):
    if log_prob == -math.inf:
      raise InputError(
        f'no caption of {length} words for {split.image_ids[image]} keeps to '
        f'--no_repeat_ngram={config.no_repeat_ngram}: raise it, or leave it '
        'out.'
      )
  hypotheses = [
    ' '.join(model.vocabulary.words[i] for i in words[0, :length])
    for words, length in zip(decoded.words, lengths, strict=True)
  ]
  documents = [[' '.join(w) for w in texts if w] for texts in rests]
  references = [documents[image] for image, _ in rows]
  path = files.result_path(
    config.workdir, config.split, 'captions_reference_length.jsonl'
  )
  files.write_json_lines(
    path,
    (
      {
        'image_id': split.image_ids[image],
        'reference': j,
        'caption': caption,
        'log_prob': float(log_prob),
      }
      for (image, j), caption, log_prob in zip(
        rows, hypotheses, decoded.log_probs[:, 0], strict=True
      )
    ),
  )
  print(f'wrote {path}')
  return {
    'bleu': metrics_lib.bleu(hypotheses, references),
    'cider_d': float(
      metrics_lib.cider_d(
        hypotheses, references, [texts for texts in documents if texts]
      ).mean()
    ),
    'rouge_l': float(metrics_lib.rouge_l(hypotheses, references).mean()),
    'captions': metrics_lib.caption_statistics(hypotheses, training_captions),
    'skipped': skipped,
  }
