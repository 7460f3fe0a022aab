"""The command ``python -m mrnn_jax.main``: reads flags and runs one task."""

import os
import sys

from absl import flags
import jax

from mrnn_jax import cli, config_flags, processes, tasks

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
  base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return os.path.join(base, 'mrnn_jax', 'compiled')


def main() -> None:
  """Run the task that the flags name."""
  config = config_flags.from_flags()
  if config.compilation_cache and not jax.config.jax_compilation_cache_dir:
    jax.config.update('jax_compilation_cache_dir', compilation_cache_dir())
  place = processes.find(
    config.coordinator, config.num_processes, config.process_id
  )
  with processes.joined(place, lambda e: cli.explain(e, cli.STOPPED)):
    tasks.run(config, config_flags.given())


if __name__ == '__main__':
  config_flags.define_flags(flags.FLAGS)
  # JAX's own flags may stand on the command line and in flag files.
  jax.config.config_with_absl()
  sys.exit(cli.run(main, USAGE, config_flags.flag_groups()))
