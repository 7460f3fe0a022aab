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
from mrnn_jax.runtime import files, parallel
from mrnn_jax.trained import TrainedModel

FOLDER = 'scores'
TOP = 10
# Numbers of training images for which the effect of K is told.
NORM_STEPS = (0, 10, 30, 100, 300, 1000)


@dataclasses.dataclass(frozen=True)
class ScoreMatrices:
  """What both directions of retrieval are computed from.

  Attributes:
    log_probs: [S, N] log P(sentence | image), natural logarithms.
    norm_log_probs: [S, K] the same for training images drawn by seed; any first
      ones of them are a draw too.
    lengths: [S] target words of each sentence, ``##END##`` among them.
    owner: [S] the image that each sentence was written for.
  """

  log_probs: np.ndarray
  norm_log_probs: np.ndarray
  lengths: np.ndarray
  owner: np.ndarray

  def by_log_prob(self) -> np.ndarray:
    """Return [S, N] scores for text -> image: P(w|I)."""
    return self.log_probs

  def by_perplexity(self) -> np.ndarray:
    """Return [S, N] scores for image -> text: 1 / PPL(w|I), as logarithm."""
    return self.log_probs / self.lengths[:, None].astype(np.float32)

  @property
  def norm_images(self) -> int:
    """K."""
    return self.norm_log_probs.shape[1]

  def normalized(self, norm_images: int | None = None) -> np.ndarray:
    """Return [S, N] scores for image -> text: P(w|I) / P(w) (section 6).

    Args:
      norm_images: estimate P(w) from the first so many images alone; None:
        from all K.  Without any sentences are ranked by perplexity.
    """
    drawn = self.norm_log_probs[:, :norm_images]
    if not drawn.shape[1]:
      return self.by_perplexity()
    return self.log_probs - log_mean_exp(drawn)[:, None]


def compute_scores(
  model: TrainedModel, split: datasets.CaptionSplit, config: Config
) -> ScoreMatrices | None:
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
  drawn = model.drawn_features(config.norm_images)
  sentences = [split.caption_tokens(c) for c in range(len(split.owner))]
  store = MatrixStore(
    epath.Path(config.workdir).expanduser() / FOLDER,
    ranker,
    sentences,
    model.identity(),
  )
  log_probs = store.matrix(f'{split.name}_images', split.features.all())
  norm_log_probs = np.empty((len(sentences), 0), np.float32)
  if len(drawn):
    norm_log_probs = store.matrix(f'{split.name}_norm', drawn)
  if not parallel.is_first():
    return None
  return ScoreMatrices(
    np.asarray(log_probs),
    np.asarray(norm_log_probs),
    split.lengths,
    split.owner,
  )


def measure(
  scores: ScoreMatrices, shortlist: np.ndarray | None = None
) -> dict[str, Any]:
  """Measure both directions, as evaluation.json has them.

  Args:
    scores: of all sentences and images.
    shortlist: [N, k] images whose sentences compete for each image; None: all.

  Returns:
    'image_to_text', 'image_to_text_perplexity' and 'text_to_image' as
    ``metrics.summarize_ranks``; 'norm_images', the first of them for smaller K;
    and 'recall_curve' of both directions.
  """
  owner = scores.owner
  normalized, perplexity = scores.normalized(), scores.by_perplexity()
  text_to_image = scores.by_log_prob()
  summarize = metrics_lib.summarize_ranks
  return {
    'image_to_text': summarize(
      metrics_lib.image_to_text_ranks(normalized, owner, shortlist)
    ),
    'image_to_text_perplexity': summarize(
      metrics_lib.image_to_text_ranks(perplexity, owner, shortlist)
    ),
    'text_to_image': summarize(
      metrics_lib.text_to_image_ranks(text_to_image, owner)
    ),
    'norm_images': {
      str(k): summarize(
        metrics_lib.image_to_text_ranks(scores.normalized(k), owner, shortlist)
      )
      for k in NORM_STEPS
      if k <= scores.norm_images
    },
    'recall_curve': {
      'image_to_text': metrics_lib.image_to_text_recall_curve(
        normalized, owner, shortlist
      ),
      'text_to_image': metrics_lib.text_to_image_recall_curve(
        text_to_image, owner
      ),
    },
  }


def retrieval_lines(
  scores: ScoreMatrices,
  split: datasets.CaptionSplit,
  shortlist: np.ndarray | None = None,
) -> Iterator[Mapping[str, Any]]:
  """Yield a line for each query: what it is, its rank, and its top 10.

  Scores are natural logarithms: of P(w|I)/P(w) for sentences (or of 1/PPL
  without an estimate of P(w)), of P(w|I) for images.
  """
  captions = [text for texts in split.captions for text in texts]
  normalized = scores.normalized()
  if shortlist is not None:
    normalized = normalized.copy()
    for image, listed in enumerate(shortlist):
      normalized[~np.isin(scores.owner, listed), image] = -np.inf
  ranks = metrics_lib.image_to_text_ranks(
    scores.normalized(), scores.owner, shortlist
  )
  for image, best in enumerate(BestItems.of(normalized.T, TOP).items):
    best = best[np.isfinite(normalized[best, image])]
    yield {
      'query': 'image',
      'image_id': split.image_ids[image],
      'rank': int(ranks[image]),
      'top': [
        {
          'caption': captions[s],
          'image_id': split.image_ids[scores.owner[s]],
          'score': float(normalized[s, image]),
          'correct': bool(scores.owner[s] == image),
        }
        for s in best
      ],
    }
  ranks = metrics_lib.text_to_image_ranks(scores.by_log_prob(), scores.owner)
  for s, best in enumerate(BestItems.of(scores.by_log_prob(), TOP).items):
    yield {
      'query': 'sentence',
      'caption': captions[s],
      'image_id': split.image_ids[scores.owner[s]],
      'rank': int(ranks[s]),
      'top': [
        {
          'image_id': split.image_ids[image],
          'score': float(scores.log_probs[s, image]),
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
