"""Features by Apache Beam: each part of a feature file is a job of its own.

The parts are those of a run without it, and so are their bytes on machines of
one kind.  Workers need this package, and the photos and the folder of the
output under the same paths.
"""

from collections.abc import Sequence
import dataclasses
import functools
import json
import pathlib
import threading
import uuid

import numpy as np

from data_prep.writing import feature_parts
from mrnn_jax import encoders
from mrnn_jax.encoders import encode, photos
from mrnn_jax.runtime import beam_engine, progress

# Seconds between two looks at how many parts there are.
_LOOK_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class How:
  """How a worker makes features, as JSON values.

  Attributes:
    encoder, weights: of ``encoders.load``.
    resize: see ``encode.encode_photos``.
    batch_size: photos at a time.
    num_views: of each photo.
  """

  encoder: str
  weights: str | None
  resize: str
  batch_size: int
  num_views: int = 1


def make(
  parts: feature_parts.Parts,
  found: Sequence[photos.Photo],
  how: How,
  runner: str,
  options: Sequence[str],
) -> None:
  """Have Beam make the parts that are missing.

  Args:
    parts: of the photos.
    found: all photos.
    how: to make them.
    runner: see ``beam_engine.run``.
    options: see ``beam_engine.run``.

  Raises:
    InputError: the engine fails; parts that are made stay.
  """
  missing, folder = parts.missing, parts.folder.absolute()
  if how.weights:
    how = dataclasses.replace(how, weights=beam_engine.absolute(how.weights))
  jobs = []
  for first in missing:
    job = folder / f'{first:08}.json'
    there = [
      [x.id, beam_engine.absolute(x.path)]
      for x in found[first : first + parts.part_size]
    ]
    job.write_text(json.dumps([there, dataclasses.asdict(how)]))
    jobs.append(str(job))
  ended = threading.Event()
  teller = threading.Thread(
    target=_tell, args=(parts, len(found), how.encoder, ended)
  )
  teller.start()
  try:
    beam_engine.run(
      runner,
      options,
      jobs,
      work,
      'the parts that are made are kept, and the same command goes on',
    )
  finally:
    ended.set()
    teller.join()


def _tell(
  parts: feature_parts.Parts, total: int, encoder: str, ended: threading.Event
) -> None:
  """Tell how many photos are done, by the parts that are there."""
  what = f'encode by {encoder}'
  with progress.Progress(what, 'photos') as told:
    while True:
      last = ended.wait(_LOOK_SECONDS)
      told(max(0, total - len(parts.missing) * parts.part_size), total)
      if last:
        return


def work(job: str) -> None:
  """Make a part; runs on a worker."""
  there, how = json.loads(pathlib.Path(job).read_text())
  how = How(**how)
  found = [photos.Photo(name, path) for name, path in there]
  network = _load(how.encoder, how.weights)
  features, reasons = [], []
  batches = encode.encode_batches(
    found,
    network,
    how.resize,
    how.batch_size,
    part=True,
    num_views=how.num_views,
  )
  for some, why in batches:
    features.append(some)
    reasons += why
  # A worker may die, and an engine may have two of them at the same part.
  path = pathlib.Path(job).with_suffix('.npz')
  unfinished = path.with_name(f'{path.stem}.{uuid.uuid4().hex[:8]}')
  feature_parts.write_part(unfinished, np.concatenate(features), reasons)
  unfinished.replace(path)


@functools.lru_cache(maxsize=1)
def _load(encoder: str, weights: str | None) -> encoders.Network:
  """Return a network: a worker makes many parts, and compiles once."""
  return encoders.load(encoder, weights)
