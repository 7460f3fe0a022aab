"""Jobs done by Apache Beam: on many cores, or by a cluster.

Only names go through the engine; what a job is about lies in files within every
worker's reach, and so has this package to be.
"""

from collections.abc import Callable, Sequence
import importlib.util
import os
import re

from mrnn_jax.runtime import errors, messages

RUNNERS = ('DirectRunner', 'SparkRunner', 'FlinkRunner', 'DataflowRunner')
_OPTION = re.compile(r'(?:--)?(\w+(?:=.*)?)')


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
  matches = [_OPTION.fullmatch(part) for part in parts]
  for part, match in zip(parts, matches, strict=True):
    if match is None:
      raise errors.InputError(
        f'--beam_options has {messages.shorten(part)}: write name=value, with'
        ' commas between several.'
      )
  if importlib.util.find_spec('apache_beam') is None:
    raise errors.InputError(
      f'--beam_runner={runner} needs Apache Beam: pip install apache-beam.'
    )
  return tuple(f'--{match[1]}' for match in matches if match)


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


def absolute(path: str | os.PathLike) -> str:
  """Return a path that holds in any directory; URLs are such already."""
  path = os.fspath(path)
  return path if '://' in path else os.path.abspath(os.path.expanduser(path))
