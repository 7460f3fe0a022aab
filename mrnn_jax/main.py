"""The command ``python -m mrnn_jax.main``: reads flags and runs one task."""

import os
import sys

from absl import flags
import jax
from jax._src import xla_bridge

from mrnn_jax import tasks
from mrnn_jax.config import flags as config_flags
from mrnn_jax.runtime import cli, processes, progress
from mrnn_jax.runtime.errors import InputError

USAGE = """
python -m mrnn_jax.main --flagfile=flickr8k.flags [--workdir=W] [--task=TASK]

Train an m-RNN on a prepared dataset and evaluate it, write captions, or rank
images and sentences. A workdir alone is enough to use its model:
python -m mrnn_jax.main --workdir=W --task=caption
Photos of your own go to a pretrained model:
python -m mrnn_jax.main --task=caption --photos=DIR
"""

# XLA's: no atomic additions, and no choice of kernels by their time.
_DETERMINISTIC = (
  '--xla_gpu_deterministic_ops=true',
  '--xla_gpu_exclude_nondeterministic_ops=true',
)


def compilation_cache_dir() -> str:
  """Return where compiled programs are kept between runs."""
  base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return os.path.join(base, 'mrnn_jax', 'compiled')


def be_deterministic() -> None:
  """Have GPUs give the same bits in every run, by XLA_FLAGS.

  What stands there stays.

  Raises:
    InputError: it says the contrary.
    RuntimeError: too late, a backend has started and read them.
  """
  if xla_bridge.backends_are_initialized():
    raise RuntimeError('XLA_FLAGS are set after a backend has read them')
  there = os.environ.get('XLA_FLAGS', '').split()
  for flag in _DETERMINISTIC:
    name = flag.partition('=')[0]
    other = [x for x in there if x.partition('=')[0] == name]
    if any(x.partition('=')[2] not in ('', 'true', '1') for x in other):
      raise InputError(
        f'XLA_FLAGS has {other[-1]}, --deterministic says the contrary: take '
        'one of them away.'
      )
    if not other:
      there.append(flag)
  os.environ['XLA_FLAGS'] = ' '.join(there)


def main() -> None:
  """Run the task that the flags name."""
  config = config_flags.from_flags()
  if config.deterministic:
    be_deterministic()
  if config.compilation_cache and not jax.config.jax_compilation_cache_dir:
    jax.config.update('jax_compilation_cache_dir', compilation_cache_dir())
  place = processes.find(
    config.coordinator, config.num_processes, config.process_id
  )
  with processes.joined(place, lambda e: cli.explain(e, cli.STOPPED)):
    progress.set_level(config.log_level)
    tasks.run(config, config_flags.given())


if __name__ == '__main__':
  config_flags.define_flags(flags.FLAGS)
  # JAX's own flags may stand on the command line and in flag files.
  jax.config.config_with_absl()
  sys.exit(cli.run(main, USAGE, config_flags.flag_groups()))
