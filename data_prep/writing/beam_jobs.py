"""Work done by Apache Beam: on many cores, or by a cluster.

Each shard of a dataset is a job of its own.  What a worker needs to know lies
in files: the records of its shard beside the dataset that is made, the features
where they were given.  Both have to be within every worker's reach, and so has
this package; only the names of files go through the engine.
"""

from collections.abc import Callable, Iterable, Sequence
import dataclasses
import functools
import importlib.util
import json
import os
import re
from typing import Any
import uuid

from etils import epath

from data_prep import records
from mrnn_jax.runtime import errors, messages

RUNNERS = ('DirectRunner', 'SparkRunner', 'FlinkRunner', 'DataflowRunner')
_OPTION = re.compile(r'(?:--)?(\w+(?:=.*)?)')


@dataclasses.dataclass(frozen=True)
class Engine:
  """Who runs the jobs, and on what features.

  Attributes:
    runner: one of ``RUNNERS``.
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


def check(runner: str | None, options: str | None) -> tuple[str, ...]:
  """Check what the flags say, before anything is read.

  Args:
    runner: ``--beam_runner``.
    options: ``--beam_options``: ``name=value``, with commas between them.

  Returns:
    The options as Beam takes them, ``--name=value``.

  Raises:
    InputError: one is not known, or Beam is not installed.
  """
  if runner is None:
    if options:
      raise errors.InputError(
        '--beam_options is given without --beam_runner: name the runner too,'
        f' one of {", ".join(RUNNERS)}.'
      )
    return ()
  if runner not in RUNNERS:
    raise errors.InputError(
      f'--beam_runner={runner} is not known: take one of {", ".join(RUNNERS)}.'
    )
  parts = [part.strip() for part in (options or '').split(',') if part.strip()]
  options_given = []
  for part in parts:
    match = _OPTION.fullmatch(part)
    if match is None:
      raise errors.InputError(
        f'--beam_options has {messages.shorten(part)}: write name=value, with'
        ' commas between several.'
      )
    options_given.append(f'--{match[1]}')
  if importlib.util.find_spec('apache_beam') is None:
    raise errors.InputError(
      f'--beam_runner={runner} needs Apache Beam: pip install apache-beam.'
    )
  return tuple(options_given)


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
  jobs = []
  folder.mkdir()
  for path, rows in planned:
    job = folder / f'{len(jobs):06}.json'
    content = [[row.image_id, row.captions] for row in rows]
    job.write_text(json.dumps([absolute(path), content]))
    jobs.append(absolute(job))
  work = functools.partial(
    _write_shard,
    features=engine.features and absolute(engine.features),
    feature_ids=engine.feature_ids and absolute(engine.feature_ids),
    photos=engine.photos and absolute(engine.photos),
    stored=engine.stored,
  )
  run(engine.runner, engine.options, jobs, work, 'nothing was written')


def run(
  runner: str,
  options: Sequence[str],
  jobs: Sequence[str],
  work: Callable[[str], None],
  left: str,
) -> None:
  """Have Beam do jobs, each once or, where a worker dies, more often.

  Args:
    runner: one of ``RUNNERS``.
    options: of Beam and the runner, as ``check`` returns them.
    jobs: what each is told.
    work: what is done with that.
    left: what there is where it fails, for the message.

  Raises:
    InputError: the engine fails.
  """
  import apache_beam as beam  # Late: an extra, and slow to start.
  from apache_beam.options import pipeline_options

  try:
    given = pipeline_options.PipelineOptions(list(options))
    with beam.Pipeline(runner, given) as pipeline:
      _ = (
        pipeline
        | 'Jobs' >> beam.Create(jobs)
        # Or one worker would get them all.
        | 'Spread' >> beam.Reshuffle()
        | 'Work' >> beam.Map(work)
      )
  # Runners raise anything, and Beam's parser of options exits.
  except (Exception, SystemExit) as error:
    raise errors.InputError(
      f"Beam's {runner} has failed ({messages.first_line(error)}): {left}; its "
      'messages above say more.'
    ) from error


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


def absolute(path: epath.PathLike) -> str:
  """Return a path that holds in any directory; URLs are such already."""
  path = os.fspath(path)
  return path if '://' in path else os.path.abspath(os.path.expanduser(path))
