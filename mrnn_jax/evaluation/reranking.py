"""Puts the hypotheses of a beam into another order than that of likelihood.

A hypothesis is what ``captions.jsonl`` says of a caption, as a dictionary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mrnn_jax.decoding.consensus import Consensus
from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.trained import TrainedModel

Hypotheses = list[dict[str, Any]]

# Training images that estimate P(w) here: of 10, 30 and 100 these did best for
# reranking on Flickr8K's validation split, and as well as 100 for confidence.
NUM_IMAGES = 30


def by_consensus(
  consensus: Consensus,
  features: np.ndarray,
  found: list[Hypotheses],
  pmi_weight: float = 0.0,
) -> list[Hypotheses]:
  """Return each image's hypotheses, the most agreed first, with its score.

  Args:
    consensus: says how like the captions of similar images each is, 0 to 1.
    features: [N, D] raw features of the images.
    found: the hypotheses of each image.
    pmi_weight: what the logarithm of ``by_pmi``, where hypotheses have it,
      counts beside that.
  """
  own = parallel.own_rows(len(found))
  scores = np.zeros((len(own), max(map(len, found))))
  nearest = consensus.neighbors(features[own])
  for row, image, neighbors in zip(scores, own, nearest, strict=True):
    captions = [h['caption'] for h in found[image]]
    row[: len(captions)] = consensus.scores(neighbors, captions)
  scores = parallel.gather_rows(scores, len(found))
  scored = [
    # The scores of those there are; the rest of the row is nobody's.
    [{**h, 'consensus': float(x)} for h, x in zip(hs, row, strict=False)]
    for hs, row in zip(found, scores, strict=True)
  ]

  def score(h: dict[str, Any]) -> float:
    return h['consensus'] + pmi_weight * h.get('pmi', 0.0)

  return [sorted(hs, key=score, reverse=True) for hs in scored]


def by_pmi(
  model: TrainedModel, found: list[Hypotheses], exponent: float
) -> list[Hypotheses]:
  """Return each image's hypotheses by P(w|I) / P(w)^a, the highest first.

  Args:
    model: that wrote them.
    found: the hypotheses of each image, with all their words.
    exponent: a; 0: by likelihood, 1: by pointwise mutual information.
  """
  scored = [
    [
      {**h, 'pmi': h['log_prob'] - exponent * x}
      for h, x in zip(hs, row, strict=True)
    ]
    for hs, row in zip(found, log_means(model, found), strict=True)
  ]
  return [sorted(hs, key=lambda h: -h['pmi']) for hs in scored]


def log_means(
  model: TrainedModel, found: Sequence[Hypotheses]
) -> list[list[float]]:
  """Return log P(w) of the hypotheses of each image (section 6).

  From ``NUM_IMAGES`` training images, or all that the model carries; a caption
  that was cut has no ``##END##`` here either.

  Args:
    model: that wrote them.
    found: the hypotheses of each image; all processes call this with the same.

  Raises:
    InputError: the model does not see images, or carries none.
  """
  drawn = model.norm_features[:NUM_IMAGES]
  if not len(drawn) or not model.model.sees_images:
    raise InputError(
      'P(w) is estimated from training images, and this model sees or carries '
      'none.'
    )
  texts = sorted({(h['caption'], h['cut']) for hs in found for h in hs})
  tokens = [model.vocabulary.encode_caption(text) for text, _ in texts]
  tokens = [
    x[:-1] if cut else x for x, (_, cut) in zip(tokens, texts, strict=True)
  ]
  # An empty caption that was cut has nothing that a probability could be of.
  real = [i for i, x in enumerate(tokens) if len(x) > 1]
  values = np.zeros(len(tokens))
  if real:
    ranker = model.word_ranker(NUM_IMAGES, dtype='float32')
    values[real] = ranker.log_mean_probs(
      [tokens[i] for i in real], drawn, everywhere=True
    )
  known = dict(zip(texts, values.tolist(), strict=True))
  return [[known[h['caption'], h['cut']] for h in hs] for hs in found]
