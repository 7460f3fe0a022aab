"""The retrieval protocols: score matrices, measures, ``retrieval.jsonl``."""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import json
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax import files, input_pipeline, recall_curve
from mrnn_jax import metrics as metrics_lib
from mrnn_jax.config import Config
from mrnn_jax.errors import InputError
from mrnn_jax.logs import Progress
from mrnn_jax.rank import Ranker, log_mean_exp
from mrnn_jax.trained import TrainedModel

FOLDER = 'scores'
TOP = 10


@dataclasses.dataclass(frozen=True)
class Scores:
  """What both directions of retrieval are computed from.

  Attributes:
    log_probs: [S, N] log P(sentence | image), natural logarithms.
    log_mean_probs: [S] log P(sentence) over K training images; None for K = 0.
    lengths: [S] target words of each sentence, ``##END##`` among them.
    owner: [S] the image that each sentence was written for.
  """

  log_probs: np.ndarray
  log_mean_probs: np.ndarray | None
  lengths: np.ndarray
  owner: np.ndarray

  def by_log_prob(self) -> np.ndarray:
    """Return [S, N] scores for text -> image: P(w|I)."""
    return self.log_probs

  def by_perplexity(self) -> np.ndarray:
    """Return [S, N] scores for image -> text: 1 / PPL(w|I), as logarithm."""
    return self.log_probs / self.lengths[:, None].astype(np.float32)

  def normalized(self) -> np.ndarray:
    """Return [S, N] scores for image -> text: P(w|I) / P(w) (section 6).

    Without an estimate of P(w) sentences are ranked by perplexity.
    """
    if self.log_mean_probs is None:
      return self.by_perplexity()
    return self.log_probs - self.log_mean_probs[:, None]


def compute_scores(
  model: TrainedModel, split: input_pipeline.CaptionSplit, config: Config
) -> Scores:
  """Score all sentences of a split for all its images, or find it done.

  The matrix is kept in the workdir, a stopped run goes on at the block of
  images where it stopped.

  Raises:
    InputError: the model cannot rank, or carries fewer images than K.
  """
  ranker = model.ranker(config.rank_image_block, config.rank_tile_rows)
  K = config.norm_images
  if len(model.norm_features) < K:
    raise InputError(
      f'--norm_images={K}, but the model carries only '
      f'{len(model.norm_features)} training images: ask for at most so many.'
    )
  sentences = [split.caption_tokens(c) for c in range(len(split.owner))]
  store = _Store(config, ranker, sentences, model.identity())
  log_probs = store.matrix(f'{split.name}_images', split.features.all())
  log_mean_probs = None
  if K:
    log_mean_probs = log_mean_exp(
      store.matrix(f'{split.name}_norm', model.norm_features[:K])
    )
  return Scores(log_probs, log_mean_probs, split.lengths, split.owner)


class _Store:
  """Matrices of log-probabilities in the workdir, whole or under way."""

  def __init__(
    self,
    config: Config,
    ranker: Ranker,
    sentences: Sequence[np.ndarray],
    model_identity: str,
  ):
    self._folder = epath.Path(config.workdir).expanduser() / FOLDER
    self._ranker, self._sentences = ranker, sentences
    digest = hashlib.sha256(model_identity.encode())
    digest.update(f'{config.rank_image_block} {config.rank_tile_rows}'.encode())
    for sentence in sentences:
      digest.update(sentence.tobytes())
    self._identity = digest.hexdigest()

  def matrix(self, name: str, features: np.ndarray) -> np.ndarray:
    """Return log P(sentence | image) [S, N] of features [N, D]."""
    digest = hashlib.sha256(np.ascontiguousarray(features).tobytes())
    key = f'{self._identity} {digest.hexdigest()}'
    shape = (len(self._sentences), len(features))
    self._folder.mkdir(parents=True, exist_ok=True)
    path = self._folder / f'{name}.npy'
    state_path = self._folder / f'{name}.json'
    state = _read_json(state_path)
    if state.get('key') != key or not path.exists():
      state = {'key': key, 'blocks_done': 0, 'complete': False}
      # The state first: a file without one is never taken for good.
      files.write_json(state_path, state)
      np.lib.format.open_memmap(path, 'w+', np.float32, shape).flush()
    elif state['complete']:
      print(f'{path} is there: not computed again')
      return np.load(path)
    scores = np.lib.format.open_memmap(path, 'r+')
    with Progress(f'ranking ({name})', 'prefix-image pairs') as progress:
      blocks = self._ranker.blocks(
        self._sentences, features, progress, state['blocks_done']
      )
      for rows, columns, block in blocks:
        scores[rows, columns] = block
        scores.flush()
        state['blocks_done'] += 1
        files.write_json(state_path, state)
    files.write_json(state_path, {**state, 'complete': True})
    return np.array(scores)


def _read_json(path: epath.Path) -> dict[str, Any]:
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError):
    return {}


def measure(
  scores: Scores, shortlist: np.ndarray | None = None
) -> dict[str, Any]:
  """Measure both directions, as evaluation.json has them.

  Args:
    scores: of all sentences and images.
    shortlist: [N, k] images whose sentences compete for each image; None: all.

  Returns:
    'image_to_text', 'image_to_text_perplexity' and 'text_to_image' as
    ``metrics.summarize_ranks``, and 'recall_curve' of both directions.
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
    'recall_curve': {
      'image_to_text': metrics_lib.image_to_text_recall_curve(
        normalized, owner, shortlist
      ),
      'text_to_image': metrics_lib.text_to_image_recall_curve(
        text_to_image, owner
      ),
    },
  }


def top_items(scores: np.ndarray, k: int) -> Iterator[np.ndarray]:
  """Yield for each row of scores [Q, C] its k best columns, best first."""
  for row in scores:
    # Stable, so that equal scores come in the order of the data.
    yield np.argsort(-row, kind='stable')[:k]


def retrieval_lines(
  scores: Scores,
  split: input_pipeline.CaptionSplit,
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
  for image, best in enumerate(top_items(normalized.T, TOP)):
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
  for s, best in enumerate(top_items(scores.by_log_prob(), TOP)):
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
  split: input_pipeline.CaptionSplit, config: Config
) -> np.ndarray | None:
  """Return [N, k] the images nearest to each by raw feature; None for all."""
  if not config.shortlist:
    return None
  return metrics_lib.nearest_images(split.features.all(), config.shortlist)


def retrieve(
  model: TrainedModel, split: input_pipeline.CaptionSplit, config: Config
) -> tuple[dict[str, Any], dict[str, Any]]:
  """Rank a split both ways, write ``retrieval.jsonl``, and measure.

  The recall curve is written too (see ``recall_curve``).

  Returns:
    What ``measure`` returns, and what chance would give.
  """
  scores = compute_scores(model, split, config)
  shortlist = make_shortlist(split, config)
  path = files.result_path(config, 'retrieval.jsonl')
  files.write_json_lines(path, retrieval_lines(scores, split, shortlist))
  print(f'wrote {path}')
  measures = measure(scores, shortlist)
  recall_curve.write(measures['recall_curve'], config)
  num_own = np.bincount(split.owner, minlength=len(split.image_ids))
  return measures, metrics_lib.chance(num_own, shortlist)
