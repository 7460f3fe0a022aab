"""Shards written by Apache Beam: on many cores, or by a cluster.

Each shard of a dataset is a job of its own.  What a worker needs to know lies
in files: the records of its shard beside the dataset that is made, the features
where they were given.  Both have to be within every worker's reach, and so has
this package; only the names of files go through the engine.
"""

from collections.abc import Iterable, Sequence
import dataclasses
import functools
import json
from typing import Any
import uuid

from etils import epath

from data_prep import records
from mrnn_jax.runtime import beam_engine


@dataclasses.dataclass(frozen=True)
class Engine:
  """Who runs the jobs, and on what features.

  Attributes:
    runner: one of ``beam_engine.RUNNERS``.
    options: of Beam and the runner, ``name=value``.
    features: the file or folder of the features, or None.
    feature_ids: the list of their names, or None.
    photos: the folder or list of the photos, or None.
    stored: pixels and shape of the photos, see ``photo_table.Stored``.
  """

  runner: str
  options: tuple[str, ...]
  features: str | None
  feature_ids: str | None
  photos: str | None = None
  stored: tuple[int, str] | None = None


def write(
  planned: Iterable[tuple[epath.Path, Sequence[records.Record]]],
  engine: Engine,
  folder: epath.Path,
) -> None:
  """Write shards by Beam.

  Args:
    planned: file and records of each shard.
    engine: who runs the jobs.
    folder: where the workers find the records of their shards.

  Raises:
    InputError: the engine fails.
  """
  jobs: list[str] = []
  folder.mkdir()
  for path, rows in planned:
    job = folder / f'{len(jobs):06}.json'
    content = [[row.image_id, row.captions] for row in rows]
    job.write_text(json.dumps([beam_engine.absolute(path), content]))
    jobs.append(beam_engine.absolute(job))
  ids = engine.feature_ids
  work = functools.partial(
    _write_shard,
    features=engine.features and beam_engine.absolute(engine.features),
    feature_ids=ids and beam_engine.absolute(ids),
    photos=engine.photos and beam_engine.absolute(engine.photos),
    stored=engine.stored,
  )
  beam_engine.run(
    engine.runner, engine.options, jobs, work, 'nothing was written'
  )


def _write_shard(job: str, **where: Any) -> None:
  """Write one shard; runs on a worker."""
  from data_prep.writing import shards  # Late: TFDS is slow to import.

  path, rows = json.loads(epath.Path(job).read_bytes())
  images = _load(**where)
  rows = (records.Record(name, tuple(captions)) for name, captions in rows)
  # A worker may die, and an engine may have two of them at the same shard.
  unfinished = epath.Path(f'{job}.{uuid.uuid4().hex[:8]}')
  shards.write(unfinished, rows, images)
  unfinished.replace(path)


# A worker writes many shards and looks into the files once.
@functools.lru_cache(maxsize=1)
def _load(
  features: str | None,
  feature_ids: str | None,
  photos: str | None,
  stored: tuple[int, str] | None,
) -> Any:
  """Return the images that an engine names."""
  from data_prep.writing import content  # It knows this module.

  return content.Images.open(features, feature_ids, photos, stored)
