"""What a run has measured of each image, and how runs differ by it.

A measure is a function of sums over images, so that runs can be compared on
resamples of the same images (``metrics.bootstrap``).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mrnn_jax import metrics as metrics_lib
from mrnn_jax.data.vocabulary import tokenize
from mrnn_jax.metrics import bootstrap
from mrnn_jax.reports.gallery import Gallery

# What is compared, of sums over images.
MEASURES: dict[str, bootstrap.Measure] = {
  'bleu_4': bootstrap.bleu_of,
  'cider_d': bootstrap.ratio,
  'image_to_text_r@1': bootstrap.percentage,
  'text_to_image_r@1': bootstrap.percentage,
}


def statistics(gallery: Gallery) -> dict[str, list[list[float]]]:
  """Return what the measures are made of, [N, K] numbers for each.

  Args:
    gallery: N images with their references, and what a run left: captions,
      queries with their ranks, or both.
  """
  found: dict[str, Any] = {}
  if gallery.captions:
    hypotheses = [
      _words(gallery.captions[image_id]['caption'])
      for image_id in gallery.image_ids
    ]
    references = [
      [text for text in map(_words, texts) if text]
      for texts in gallery.references
    ]
    found['bleu_4'] = bootstrap.bleu_statistics(hypotheses, references)
    # Document frequencies are those of all images, in every resample.
    cider = metrics_lib.cider_d(hypotheses, references)
    found['cider_d'] = np.stack([cider, np.ones_like(cider)], axis=1)
  index = {image_id: i for i, image_id in enumerate(gallery.image_ids)}
  for query, name in (
    ('image', 'image_to_text_r@1'),
    ('sentence', 'text_to_image_r@1'),
  ):
    lines = [line for line in gallery.queries if line['query'] == query]
    if lines:
      hits = np.zeros((len(index), 2))
      for line in lines:
        hits[index[line['image_id']]] += (line['rank'] <= 1, 1)
      found[name] = hits
  return {name: values.tolist() for name, values in found.items()}


def _words(text: str) -> str:
  return ' '.join(tokenize(text))


def differences(
  ours: Mapping[str, Any], others: Mapping[str, Any]
) -> dict[str, dict[str, float | bool]]:
  """Return how much a run is above another, by each measure that both have.

  Args:
    ours: what ``statistics`` returned of a run.
    others: of the other, on the same images.

  Returns:
    See ``bootstrap.difference``: 1,000 resamples of the images, seed 0.
  """
  result = {}
  for name, measure in MEASURES.items():
    if name in ours and name in others:
      mine, theirs = np.asarray(ours[name]), np.asarray(others[name])
      result[name] = bootstrap.difference(
        mine, theirs, measure, bootstrap.resample(len(mine))
      )
  return result
