"""The command ``python -m mrnn_jax.main``: reads flags and runs one task."""

import sys

from absl import flags

from mrnn_jax import help_text
from mrnn_jax.runtime import cli, progress
from mrnn_jax.runtime.errors import InputError

# Those whose photos may stand without a flag.
_OF_PHOTOS = ('caption', 'rank', 'report')


def main(*photos: str) -> None:
  """Run the task that the flags name.

  Args:
    *photos: what stands on the command line and is no flag.
  """
  from mrnn_jax import tasks
  from mrnn_jax.config import flags as config_flags
  from mrnn_jax.runtime import jax_setup, processes

  given = config_flags.read(flags.FLAGS, sys.argv)
  if photos:
    if given.get('task') not in _OF_PHOTOS:
      raise InputError(cli.no_flag(photos[0]))
    # A shell has made several words of --photos *.jpg.
    named = [name for name in (given.get('photos'), *photos) if name]
    given = given.adding(photos='\n'.join(named))
  jax_setup.apply(given.get('compilation_cache'), given.get('deterministic'))
  place = processes.find(
    given.get('coordinator'),
    given.get('num_processes'),
    given.get('process_id'),
  )
  with processes.joined(place, lambda e: cli.explain(e, cli.STOPPED)):
    progress.set_level(
      'warning' if given.get('quiet') else given.get('log_level')
    )
    tasks.run(given)


def run() -> None:
  """Read the command line, and exit; nothing slow is imported for its help."""
  if cli.wants_help(sys.argv):
    cli.print_help(help_text.of(sys.argv))
    return
  import jax

  from mrnn_jax.config import flags as config_flags

  config_flags.define_flags(flags.FLAGS)
  # JAX's own flags may stand on the command line and in flag files.
  jax.config.config_with_absl()
  cli.run(main, '', {}, takes=sys.maxsize)


if __name__ == '__main__':
  run()
