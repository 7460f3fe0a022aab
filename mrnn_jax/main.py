"""The command ``python -m mrnn_jax.main``: reads flags and runs one task."""

import os
import sys

from absl import flags
import jax

from mrnn_jax import tasks
from mrnn_jax.config import flags as config_flags
from mrnn_jax.runtime import cli, determinism, files, processes, progress

USAGE = """
python -m mrnn_jax.main --flagfile=flickr8k.flags [--workdir=W] [--task=TASK]

Train an m-RNN on a prepared dataset and evaluate it, write captions, or rank
images and sentences. A workdir alone is enough to use its model:
python -m mrnn_jax.main --workdir=W --task=caption
Photos of your own go to a pretrained model:
python -m mrnn_jax.main --task=caption --photos=DIR
"""


def compilation_cache_dir() -> str:
  """Return where compiled programs are kept between runs."""
  return os.fspath(files.user_cache() / 'compiled')


def main() -> None:
  """Run the task that the flags name."""
  given = config_flags.read(flags.FLAGS, sys.argv)
  if given.get('deterministic'):
    determinism.be_deterministic()
  cache = jax.config.jax_compilation_cache_dir
  if given.get('compilation_cache') and not cache:
    jax.config.update('jax_compilation_cache_dir', compilation_cache_dir())
  place = processes.find(
    given.get('coordinator'),
    given.get('num_processes'),
    given.get('process_id'),
  )
  with processes.joined(place, lambda e: cli.explain(e, cli.STOPPED)):
    progress.set_level(given.get('log_level'))
    tasks.run(given)


if __name__ == '__main__':
  config_flags.define_flags(flags.FLAGS)
  # JAX's own flags may stand on the command line and in flag files.
  jax.config.config_with_absl()
  sys.exit(cli.run(main, USAGE, config_flags.flag_groups()))
