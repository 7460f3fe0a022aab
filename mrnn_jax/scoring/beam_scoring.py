"""Scoring by Apache Beam: its workers take the shards of a job, one by one.

A worker loads the model once and compiles it once; a shard is scored as
``--shard=i/n`` scores it, with the same records, finished blocks and manifest.
So a worker that dies loses seconds, a shard that is complete is not scored
again, and what Beam has begun can be ended without it, and the other way round.
"""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

from etils import epath

from mrnn_jax.config import Config
from mrnn_jax.runtime import beam_engine, parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring import job as scoring_job
from mrnn_jax.scoring import shards
from mrnn_jax.scoring.pair_scorer import PairScorer
from mrnn_jax.trained import TrainedModel

# What names files, which a worker finds wherever it runs.
_PATHS = ('workdir', 'model_file', 'data_dir', 'features', 'score_input')


def score(config: Config) -> None:
  """Have Beam score all shards into ``--output``.

  Raises:
    InputError: Beam is not installed or fails, or a shard does.
  """
  scoring_job.check_flags(config)
  options = beam_engine.check(config.beam_runner, config.beam_options)
  settings = dataclasses.asdict(config)
  for name in (*_PATHS, 'output'):
    if settings[name]:
      settings[name] = beam_engine.absolute(settings[name])
  count = config.beam_shards
  beam_engine.run(
    config.beam_runner,
    options,
    [f'{i}/{count}' for i in range(count)],
    functools.partial(score_shard, settings=settings),
    'what is scored is kept, and the same command goes on',
  )
  complete = shards.num_complete(epath.Path(settings['output']))
  scoring_job.tell_complete(complete, count, config.output)


def score_shard(shard: str, settings: Mapping[str, Any]) -> None:
  """Score a shard 'i/n'; runs on a worker.

  Args:
    shard: which.
    settings: the fields of a ``Config``.
  """
  # The worker is told its shard, and is no driver of Beam itself.
  config = Config(**{**settings, 'beam_runner': '', 'shard': shard})
  model, scorer = _load(
    config.model_file or config.workdir,
    config.num_devices,
    config.rank_tile_rows,
    config.rank_dtype,
  )
  scoring_job.score(model, config, scorer)


@functools.lru_cache(maxsize=1)
def _load(
  path: str, num_devices: int, tile_rows: int, dtype: str
) -> tuple[TrainedModel, PairScorer]:
  """Return a model and what scores with it, once for all shards."""
  try:
    model = TrainedModel.load(path, parallel.local_devices(num_devices))
  except InputError as error:
    raise InputError(f'on a worker of Beam: {error}') from error
  model.check_writes()
  config = Config(rank_tile_rows=tile_rows, rank_dtype=dtype)
  return model, scoring_job.make_scorer(model, config)
