"""The retrieval protocols: score matrices, measures, ``retrieval.jsonl``."""

from collections.abc import Iterator, Mapping
import dataclasses
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax import metrics as metrics_lib
from mrnn_jax.config import Config
from mrnn_jax.data import datasets
from mrnn_jax.evaluation import recall_curve
from mrnn_jax.evaluation.matrix_store import MatrixStore
from mrnn_jax.ranking.best_items import BestItems
from mrnn_jax.ranking.ranker import log_mean_exp
from mrnn_jax.runtime import files
from mrnn_jax.trained import TrainedModel

FOLDER = 'scores'
TOP = 10
# Numbers of training images for which the effect of K is told.
NORM_STEPS = (0, 10, 30, 100, 300, 1000)


@dataclasses.dataclass(frozen=True)
class Scores:
  """What both directions of retrieval are measured from; higher is better.

  Attributes:
    owner: [S] the image that each sentence was written for.
    text_to_image: [S, N] what images are ranked by for a sentence.
    image_to_text: [S, N] what sentences are ranked by for an image.
  """

  owner: np.ndarray
  text_to_image: np.ndarray
  image_to_text: np.ndarray

  def more(self) -> dict[str, np.ndarray]:
    """Return other scores [S, N] of sentences, by what they are called."""
    return {}

  def by_norm_images(self) -> dict[int, np.ndarray]:
    """Return the scores of sentences for smaller numbers K."""
    return {}


@dataclasses.dataclass(frozen=True)
class LogProbabilities(Scores):
  """Scores by log P(sentence | image), natural logarithms (section 6).

  Images are ranked by P(w|I), sentences by P(w|I) / P(w).

  Attributes:
    norm_log_probs: [S, K] log P(w|I) for training images drawn by seed; any
      first ones of them are a draw too.
    lengths: [S] target words of each sentence, ``##END##`` among them.
  """

  norm_log_probs: np.ndarray
  lengths: np.ndarray

  @classmethod
  def of(
    cls,
    owner: np.ndarray,
    log_probs: np.ndarray,
    norm_log_probs: np.ndarray,
    lengths: np.ndarray,
  ) -> 'LogProbabilities':
    """Take log P(w|I) [S, N] of all, and of K training images [S, K].

    Without any of these sentences are ranked by perplexity.
    """
    scores = cls(owner, log_probs, log_probs, norm_log_probs, lengths)
    return dataclasses.replace(
      scores, image_to_text=scores.normalized(norm_log_probs.shape[1])
    )

  def by_perplexity(self) -> np.ndarray:
    """Return [S, N] 1 / PPL(w|I), as logarithm."""
    return self.text_to_image / self.lengths[:, None].astype(np.float32)

  def normalized(self, norm_images: int) -> np.ndarray:
    """Return [S, N] P(w|I) / P(w), P(w) from the first so many images."""
    drawn = self.norm_log_probs[:, :norm_images]
    if not drawn.shape[1]:
      return self.by_perplexity()
    return self.text_to_image - log_mean_exp(drawn)[:, None]

  def more(self) -> dict[str, np.ndarray]:
    """Return the scores by perplexity."""
    return {'image_to_text_perplexity': self.by_perplexity()}

  def by_norm_images(self) -> dict[int, np.ndarray]:
    """Return the scores for smaller K, so that its effect can be told."""
    return {
      k: self.normalized(k)
      for k in NORM_STEPS
      if k <= self.norm_log_probs.shape[1]
    }


def compute_scores(
  model: TrainedModel, split: datasets.CaptionSplit, config: Config
) -> Scores | None:
  """Score all sentences of a split for all its images, or find it done.

  The matrix is kept in the workdir, a stopped run goes on at the block of
  images where it stopped.  All processes share the blocks.

  Returns:
    The scores; None in other processes than the first.

  Raises:
    InputError: the model cannot rank, or carries fewer images than K.
  """
  ranker = model.ranker(
    config.rank_image_block, config.rank_tile_rows, config.rank_dtype
  )
  sentences = [split.caption_tokens(c) for c in range(len(split.owner))]
  store = MatrixStore(
    epath.Path(config.workdir).expanduser() / FOLDER,
    ranker,
    sentences,
    model.identity(),
  )
  matrix = store.matrix(f'{split.name}_images', split.features.all())
  drawn = model.drawn_features(config.norm_images if model.writes else 0)
  normalizers: np.ndarray | None = np.empty((len(sentences), 0), np.float32)
  if len(drawn):
    normalizers = store.matrix(f'{split.name}_norm', drawn)
  if matrix is None or normalizers is None:  # The first process has them.
    return None
  scores = np.asarray(matrix)
  if not model.writes:  # One cosine serves both directions.
    return Scores(split.owner, scores, scores)
  return LogProbabilities.of(
    split.owner, scores, np.asarray(normalizers), split.lengths
  )


def measure(
  scores: Scores, shortlist: np.ndarray | None = None
) -> dict[str, Any]:
  """Measure both directions, as evaluation.json has them.

  Args:
    scores: of all sentences and images.
    shortlist: [N, k] images whose sentences compete for each image; None: all.

  Returns:
    'image_to_text' and 'text_to_image' as ``metrics.summarize_ranks``, and
    'recall_curve' of both.  Of log-probabilities also
    'image_to_text_perplexity', and 'norm_images', the first of them for smaller
    K.
  """
  owner = scores.owner

  def of_sentences(matrix: np.ndarray) -> dict[str, float]:
    return metrics_lib.summarize_ranks(
      metrics_lib.image_to_text_ranks(matrix, owner, shortlist)
    )

  result: dict[str, Any] = {'image_to_text': of_sentences(scores.image_to_text)}
  for name, matrix in scores.more().items():
    result[name] = of_sentences(matrix)
  result['text_to_image'] = metrics_lib.summarize_ranks(
    metrics_lib.text_to_image_ranks(scores.text_to_image, owner)
  )
  by_norm_images = {
    str(k): of_sentences(matrix)
    for k, matrix in scores.by_norm_images().items()
  }
  if by_norm_images:
    result['norm_images'] = by_norm_images
  result['recall_curve'] = {
    'image_to_text': metrics_lib.image_to_text_recall_curve(
      scores.image_to_text, owner, shortlist
    ),
    'text_to_image': metrics_lib.text_to_image_recall_curve(
      scores.text_to_image, owner
    ),
  }
  return result


def retrieval_lines(
  scores: Scores,
  split: datasets.CaptionSplit,
  shortlist: np.ndarray | None = None,
) -> Iterator[Mapping[str, Any]]:
  """Yield a line for each query: what it is, its rank, and its top 10.

  Scores are natural logarithms: of P(w|I)/P(w) for sentences (or of 1/PPL
  without an estimate of P(w)), of P(w|I) for images; or cosines.
  """
  captions = [text for texts in split.captions for text in texts]
  listed = scores.image_to_text
  if shortlist is not None:
    listed = listed.copy()
    for image, images in enumerate(shortlist):
      listed[~np.isin(scores.owner, images), image] = -np.inf
  ranks = metrics_lib.image_to_text_ranks(
    scores.image_to_text, scores.owner, shortlist
  )
  for image, best in enumerate(BestItems.of(listed.T, TOP).items):
    best = best[np.isfinite(listed[best, image])]
    yield {
      'query': 'image',
      'image_id': split.image_ids[image],
      'rank': int(ranks[image]),
      'top': [
        {
          'caption': captions[s],
          'image_id': split.image_ids[scores.owner[s]],
          'score': float(listed[s, image]),
          'correct': bool(scores.owner[s] == image),
        }
        for s in best
      ],
    }
  ranks = metrics_lib.text_to_image_ranks(scores.text_to_image, scores.owner)
  for s, best in enumerate(BestItems.of(scores.text_to_image, TOP).items):
    yield {
      'query': 'sentence',
      'caption': captions[s],
      'image_id': split.image_ids[scores.owner[s]],
      'rank': int(ranks[s]),
      'top': [
        {
          'image_id': split.image_ids[image],
          'score': float(scores.text_to_image[s, image]),
          'correct': bool(scores.owner[s] == image),
        }
        for image in best
      ],
    }


def make_shortlist(
  split: datasets.CaptionSplit, config: Config
) -> np.ndarray | None:
  """Return [N, k] the images nearest to each by raw feature; None for all."""
  if not config.shortlist:
    return None
  return metrics_lib.nearest_images(split.features.all(), config.shortlist)


def retrieve(
  model: TrainedModel, split: datasets.CaptionSplit, config: Config
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Rank a split both ways, write ``retrieval.jsonl``, and measure.

  The recall curve is written too (see ``recall_curve``).  All processes share
  the scoring, the rest is the first one's.

  Returns:
    What ``measure`` returns, and what chance would give; {} and {} in other
    processes than the first.
  """
  scores = compute_scores(model, split, config)
  if scores is None:
    return {}, {}
  shortlist = make_shortlist(split, config)
  path = files.result_path(config.workdir, config.split, 'retrieval.jsonl')
  files.write_json_lines(path, retrieval_lines(scores, split, shortlist))
  print(f'wrote {path}')
  measures = measure(scores, shortlist)
  recall_curve.write(measures['recall_curve'], config)
  num_own = np.bincount(split.owner, minlength=len(split.image_ids))
  return measures, metrics_lib.chance(num_own, shortlist)
