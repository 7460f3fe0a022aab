"""How sure a caption is: the chance that its CIDEr-D is above a threshold.

A logistic regression, fitted to the validation split, of

  log P(w|I) / L         how likely a word of it is
  log P(w|I) - log P(w)  how much more likely than without the image
  share                  of the probability that the beam's hypotheses have
  distance               of the image from training images

and of the image alone whether it is unlike them: farther away than all but a
twentieth of the validation images.  The model carries what it needs.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from mrnn_jax import metrics as metrics_lib
from mrnn_jax.config import Config
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import tokenize
from mrnn_jax.evaluation import reranking
from mrnn_jax.models.layers import scale_features
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.stored_calibration import EVIDENCE
from mrnn_jax.trained import TrainedModel

# What the chances hold for: hypotheses of another search are others.
SEARCH = (
  'beam_size',
  'length_penalty',
  'max_words',
  'min_words',
  'no_repeat_ngram',
)
_NEIGHBORS = 10
_UNFAMILIAR = 0.95
_FOLDS = 5


@dataclasses.dataclass(frozen=True)
class Calibration:
  """What makes chances of a model's captions, as the model carries it.

  Attributes:
    logistic: of ``EVIDENCE``.
    threshold: CIDEr-D.
    search: values of ``SEARCH``.
    norm_images: training images that the distance is of.
    unfamiliar: distance beyond which an image is unlike them.
  """

  logistic: metrics_lib.Logistic
  threshold: float
  search: Mapping[str, Any]
  norm_images: int
  unfamiliar: float

  @classmethod
  def of(cls, model: TrainedModel) -> 'Calibration | None':
    """Return that of a model; None where it has none."""
    stored = model.calibration
    if not stored:
      return None
    return cls(
      metrics_lib.Logistic(
        mean=np.asarray(stored['mean']),
        scale=np.asarray(stored['scale']),
        weights=np.asarray(stored['weights']),
        bias=stored['bias'],
      ),
      stored['threshold'],
      stored['search'],
      stored['norm_images'],
      stored['unfamiliar'],
    )

  def as_json(self) -> dict[str, Any]:
    """Return what the model carries."""
    logistic = self.logistic
    return {
      'evidence': list(EVIDENCE),
      'mean': logistic.mean.tolist(),
      'scale': logistic.scale.tolist(),
      'weights': logistic.weights.tolist(),
      'bias': logistic.bias,
      'threshold': self.threshold,
      'search': dict(self.search),
      'norm_images': self.norm_images,
      'unfamiliar': self.unfamiliar,
    }

  def holds_for(self, config: Config, prefix: str = '') -> bool:
    """Return whether captions are searched as those that it was fitted to."""
    changed = (
      config.sample,
      config.beam_groups > 1,
      config.rerank,
      config.rerank_neighbors,
      prefix,
    )
    same = all(getattr(config, n) == x for n, x in self.search.items())
    return same and not any(changed)

  def judge(
    self,
    model: TrainedModel,
    features: np.ndarray,
    found: Sequence[reranking.Hypotheses],
  ) -> list[tuple[float, list[float]]]:
    """Return the distance of each image, and the chance of each caption.

    Args:
      model: that it belongs to.
      features: [N, D] raw features.
      found: all hypotheses of each image.
    """
    distances = distance(model, features, self.norm_images)
    evidence = gather(model, distances, found)
    return [
      (float(d), self.logistic.chance(x).tolist())
      for d, x in zip(distances, evidence, strict=True)
    ]


def distance(
  model: TrainedModel, features: np.ndarray, norm_images: int
) -> np.ndarray:
  """Return how far images [N, D] are from training images, [N].

  1 - the mean cosine with the ``_NEIGHBORS`` nearest of them, of features that
  are scaled by the training images' mean and deviation.

  Args:
    model: carries the training images and their statistics.
    features: raw features.
    norm_images: how many training images.
  """
  statistics = model.variables['statistics']

  def unit(x: np.ndarray) -> np.ndarray:
    scaled = scale_features(jnp.asarray(x), 'standardize', statistics)
    x = np.asarray(scaled, np.float64)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

  there = unit(model.norm_features[:norm_images])
  count = min(_NEIGHBORS, len(there))
  result = np.empty(len(features))
  for start in range(0, len(features), 1024):
    cosines = unit(np.asarray(features[start : start + 1024])) @ there.T
    nearest = np.sort(cosines, axis=1)[:, -count:]
    result[start : start + 1024] = 1 - nearest.mean(1)
  return result


def gather(
  model: TrainedModel,
  distances: np.ndarray,
  found: Sequence[reranking.Hypotheses],
) -> list[np.ndarray]:
  """Return the evidence [K, F] of the K hypotheses of each image."""
  evidence = []
  means = reranking.log_means(model, found)
  for d, hypotheses, log_mean in zip(distances, found, means, strict=True):
    log_prob = np.asarray([h['log_prob'] for h in hypotheses])
    # A perplexity is exp(-log P / L).
    per_word = -np.log([h['perplexity'] for h in hypotheses])
    share = np.exp(log_prob - np.logaddexp.reduce(log_prob))
    rows = per_word, log_prob - log_mean, share, np.full(len(share), d)
    evidence.append(np.stack(rows, axis=1))
  return evidence


def calibrate(
  model: TrainedModel,
  split: datasets.CaptionSplit,
  found: Sequence[reranking.Hypotheses],
  config: Config,
) -> tuple[Calibration, dict[str, float | None]]:
  """Fit a calibration to the hypotheses of a split.

  Args:
    model: that wrote them.
    split: images, and what people wrote.
    found: all hypotheses of each image.
    config: how they were searched, and the threshold.

  Returns:
    The calibration, and what ``measure`` says of the likeliest captions by
    calibrations that have not seen their image (cross-validation).

  Raises:
    InputError: no caption is above the threshold, or all are.
  """
  K = model.num_norm_images(config.norm_images) or model.num_norm_images()
  distances = distance(model, split.features.all(), K)
  evidence = gather(model, distances, found)
  above = [x > config.confidence_cider for x in similarity(split, found)]
  if len({*np.concatenate(above).tolist()}) < 2:
    raise InputError(
      f'the CIDEr-D of no caption of the {split.name} split is on the other '
      f'side of --confidence_cider={config.confidence_cider:g}: choose another.'
    )
  logistic = metrics_lib.fit_logistic(
    np.concatenate(evidence), np.concatenate(above)
  )
  fold = np.arange(len(found)) % _FOLDS
  chances = np.empty(len(found))
  for k in range(_FOLDS):
    seen, unseen = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
    try:
      of_others = metrics_lib.fit_logistic(
        np.concatenate([evidence[i] for i in seen]),
        np.concatenate([above[i] for i in seen]),
      )
    except (InputError, ValueError):
      of_others = logistic  # Too few to leave some out.
    for i in unseen:
      chances[i] = of_others.chance(evidence[i][0])
  calibration = Calibration(
    logistic,
    config.confidence_cider,
    {name: getattr(config, name) for name in SEARCH},
    K,
    float(np.quantile(distances, _UNFAMILIAR)),
  )
  return calibration, measure(chances, [x[0] for x in above])


def similarity(
  split: datasets.CaptionSplit, found: Sequence[reranking.Hypotheses]
) -> list[np.ndarray]:
  """Return the CIDEr-D of the hypotheses of each image, [K] each."""
  references = [
    [words for x in texts if (words := ' '.join(tokenize(x)))]
    for texts in split.captions
  ]
  owner = [i for i, hypotheses in enumerate(found) for _ in hypotheses]
  texts = [h['caption'] for hypotheses in found for h in hypotheses]
  values = metrics_lib.cider_d(
    texts, [references[i] for i in owner], references
  )
  ends = np.cumsum([len(hypotheses) for hypotheses in found])[:-1]
  return np.split(values, ends)


def measure(
  chances: Sequence[float] | np.ndarray, is_above: Sequence[bool]
) -> dict[str, float | None]:
  """Return how good chances are.

  Returns:
    'auc' (None where all are alike), 'brier', the 'mean' chance and the share
    'above' the threshold.
  """
  given, above = np.asarray(chances), np.asarray(is_above, bool)
  auc = None
  if 0 < above.sum() < len(above):
    auc = metrics_lib.area_under_curve(given, above)
  return {
    'auc': auc,
    'brier': metrics_lib.brier_score(given, above),
    'mean': float(given.mean()),
    'above': float(above.mean()),
  }
