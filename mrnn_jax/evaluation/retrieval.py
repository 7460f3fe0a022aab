"""The retrieval protocols: both directions, ``retrieval.jsonl``."""

from typing import Any

from etils import epath
import numpy as np

from mrnn_jax import metrics as metrics_lib
from mrnn_jax.config import Config
from mrnn_jax.data import datasets
from mrnn_jax.evaluation import recall_curve, tally_store
from mrnn_jax.evaluation import scores as scores_lib
from mrnn_jax.evaluation.matrix_store import MatrixStore, image_hashes
from mrnn_jax.evaluation.tally import Tally
from mrnn_jax.evaluation.tally_store import TallyStore
from mrnn_jax.runtime import files, parallel
from mrnn_jax.runtime.progress import Progress
from mrnn_jax.trained import TrainedModel

FOLDER = 'scores'
# So many bytes has a matrix at most that is kept unless it is asked for.
KEPT_BYTES = 2 << 30


def take(
  model: TrainedModel,
  split: datasets.CaptionSplit,
  config: Config,
  shortlist: np.ndarray | None = None,
) -> Tally | None:
  """Score all sentences of a split for all its images, and count.

  Where the matrix is kept (``--keep_matrix``), it lies in the workdir and a
  stopped run goes on at its block; where not, the counts lie there.  All
  processes share the blocks.

  Args:
    model: the model.
    split: the pool.
    config: how to rank it.
    shortlist: [N, k] as for ``Tally``.

  Returns:
    What is counted; None in other processes than the first.

  Raises:
    InputError: the model cannot rank, or carries fewer images than K, or what
      is under way is cut otherwise.
  """
  ranker = model.ranker(
    config.rank_image_block,
    config.rank_tile_rows,
    config.rank_dtype,
    config.fused_readout,
  )
  sentences = [split.caption_tokens(c) for c in range(len(split.owner))]
  folder = epath.Path(config.workdir).expanduser() / FOLDER
  store = MatrixStore(folder, ranker, sentences, model.identity())
  drawn = np.empty((0, 0), np.float32)
  if model.writes:
    drawn = model.drawn_features(config.norm_images)
  name, images = f'{split.name}_images', split.features
  kept = parallel.is_first() and _keeps(store, name, images, config)
  kept = bool(parallel.of_first(np.asarray(kept)))
  matrix = store.matrix(name, images) if kept else None
  norm_log_probs: np.ndarray = np.empty((len(sentences), 0), np.float32)
  if len(drawn):
    norm = store.matrix(f'{split.name}_norm', drawn)
    if norm is not None:  # The first process, which counts.
      norm_log_probs = norm

  def scores(true: np.ndarray) -> scores_lib.Scores:
    if not model.writes:
      return scores_lib.Scores(split.owner, true)
    return scores_lib.LogProbabilities(
      split.owner, true, split.lengths, norm_log_probs
    )

  if kept:
    if matrix is None:  # Not the first process.
      return None
    own = scores_lib.true_of_matrix(matrix, split.owner)
    return Tally(scores(own), shortlist).add_all(scores_lib.of_matrix(matrix))

  counts = None
  num_blocks = ranker.num_blocks(len(sentences), len(images))
  if parallel.is_first():
    key = tally_store.key_of(
      pool=store.key,
      images=image_hashes(images),
      owner=split.owner,
      drawn=image_hashes(drawn),
      shortlist=np.zeros(0) if shortlist is None else shortlist,
    )
    counts = TallyStore(
      folder, f'{split.name}_counts', key, ranker.tiling, num_blocks
    )
  known, done, complete = parallel.of_first(
    np.asarray(
      [counts.true is not None, counts.blocks_done, counts.is_complete]
      if counts
      else [0, 0, 0],
      np.int64,
    )
  ).tolist()
  true = counts.true if counts else None
  if not known:
    with Progress('ranking (true pairs)', 'sentences') as progress:
      true = ranker.true_scores(
        sentences, images, split.owner, progress, everywhere=True
      )
  tally = None
  if counts and true is not None:
    tally = counts.tally(scores(true), shortlist)
  if complete:
    if counts:
      print(f'{counts.path} is there: not counted again')
    return tally
  with Progress(f'ranking ({name}, not kept)', ranker.unit) as progress:
    for block in ranker.blocks(
      sentences, images, progress, done, everywhere=True
    ):
      if tally:
        tally.add(block)
  if tally:
    tally.close()
  return tally


def _keeps(
  store: MatrixStore, name: str, features: datasets.Features, config: Config
) -> bool:
  """Say whether the matrix of some images is kept, or there already."""
  size = store.num_sentences * len(features) * np.dtype(np.float32).itemsize
  asked = {'yes': True, 'no': False, 'auto': size <= KEPT_BYTES}
  return asked[config.keep_matrix] or store.has(name, features)


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
    What ``Tally.measures`` returns, and what chance would give; {} and {} in
    other processes than the first.
  """
  shortlist = make_shortlist(split, config)
  tally = take(model, split, config, shortlist)
  if tally is None:
    return {}, {}
  path = files.result_path(config.workdir, config.split, 'retrieval.jsonl')
  files.write_json_lines(path, tally.lines(split))
  print(f'wrote {path}')
  measures = tally.measures()
  recall_curve.write(measures['recall_curve'], config)
  num_own = np.bincount(split.owner, minlength=len(split.image_ids))
  return measures, metrics_lib.chance(num_own, shortlist)
