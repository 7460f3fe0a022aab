"""The command ``python -m mrnn_jax.tables``: trains, measures, tabulates."""

from collections.abc import Mapping, Sequence
import difflib
import sys
from typing import Any

from absl import flags
import jax

from mrnn_jax.config import Given
from mrnn_jax.config import flags as config_flags
from mrnn_jax.runtime import cli, jax_setup, progress
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.tables import make
from mrnn_jax.tables.runs import Protocol
from mrnn_jax.tables.systems import SYSTEMS

USAGE = """
python -m mrnn_jax.tables --flagfile=flickr8k.flags [--data_dir=D] [--workdir=W]

Train and evaluate every system of the paper's tables on a prepared dataset,
what is not there yet, and write tables.json, tables.md, figure3.png and
tables.html into the workdir. What is stopped goes on by the same command.
The other flags are those of mrnn_jax.main; they hold for all systems, but for
what a system is tuned to.
"""
STOPPED = 'the same command goes on from what is trained and ranked.'
_OWN: dict[str, tuple[Any, Any, str]] = {
  'rows': (
    flags.DEFINE_string,
    '',
    'Systems to run, with commas between them; all by default: '
    f'{", ".join(SYSTEMS)}.',
  ),
  'num_seeds': (
    flags.DEFINE_integer,
    3,
    'Seeds of systems whose training is random, from --seed on.',
  ),
  'num_ranked': (
    flags.DEFINE_integer,
    1,
    'So many first seeds are ranked, the longest part.',
  ),
  'only_print': (
    flags.DEFINE_bool,
    False,
    'Run nothing: set what is measured in tables.',
  ),
}
# Flags of mrnn_jax.main that mean something of their own: default and help.
_SHARED = {
  'workdir': ('runs/tables', 'Folder of the tables and of all runs.'),
  'context_words': (
    Protocol.context_words,
    'Words of each reference that the second evaluation by reference length '
    'starts from; 0: without it.',
  ),
  'shortlist': (
    Protocol.shortlist,
    'Images whose sentences compete in retrieval by shortlist, beside that '
    'of all.',
  ),
  'seed': (0, 'The first seed.'),
}
# What is not for a user of the tables to say, and why.
_DECIDED = {
  **dict.fromkeys(('model', 'cell', 'tie_softmax'), 'choose systems by --rows'),
  **dict.fromkeys(
    ('task', 'model_file', 'split', 'retrieval', 'length_protocol'),
    'the tables decide it',
  ),
  **dict.fromkeys(
    ('photos', 'features', 'sentences', 'output'), 'it is of other tasks'
  ),
  **dict.fromkeys(
    ('coordinator', 'num_processes', 'process_id'),
    'tables are made by one process, on all its devices',
  ),
}


def define_flags(flag_values: flags.FlagValues) -> Mapping[str, Sequence[str]]:
  """Define the flags; return heading -> names."""
  config_flags.define_flags(flag_values)
  for name, (define, default, text) in _OWN.items():
    define(name, default, text, flag_values=flag_values)
  for name, (default, text) in _SHARED.items():
    flag_values.set_default(name, default)
    flag_values[name].help = text
  return {'Tables': [*_OWN, 'dataset', 'data_dir', *_SHARED, 'norm_images']}


def names(text: str) -> list[str]:
  """Return the systems that ``--rows`` names, in the tables' order.

  Raises:
    InputError: there is no such system.
  """
  chosen = [name.strip() for name in text.split(',') if name.strip()]
  for name in chosen:
    if name not in SYSTEMS:
      close = difflib.get_close_matches(name, SYSTEMS, n=1)
      hint = f'there are {", ".join(SYSTEMS)}.'
      if close:
        hint = f'did you mean {close[0]}?'
      raise InputError(f'--rows={text}: there is no system {name!r}: {hint}')
  return [key for key in SYSTEMS if not chosen or key in chosen]


def read(flag_values: flags.FlagValues, argv: Sequence[str]) -> Given:
  """Return what was given for all runs.

  Raises:
    InputError: a flag is not for the tables, or beyond its limits.
  """
  given = config_flags.read(flag_values, argv)
  for name in given.by_hand & _DECIDED.keys():
    raise InputError(f'--{name} is not for tables: {_DECIDED[name]}.')
  for name in ('num_seeds', 'num_ranked'):
    least = 1 if name == 'num_seeds' else 0
    value: Any = flag_values[name].value
    if value < least:
      raise InputError(f'--{name}={value} is too small: at least {least}.')
  values = {
    name: value for name, value in given.values.items() if name not in _DECIDED
  }
  values.setdefault('workdir', flag_values['workdir'].default)
  return Given(values)


def main() -> None:
  """Run what is to be run, and write the tables."""
  values = flags.FLAGS
  given = read(values, sys.argv)
  jax_setup.apply(given.get('compilation_cache'), given.get('deterministic'))
  progress.set_level(given.get('log_level'))
  protocol = Protocol(
    context_words=given.values.get('context_words', Protocol.context_words),
    shortlist=given.get('shortlist') or Protocol.shortlist,
  )
  make.make(
    given,
    names(values.rows),
    protocol,
    values.num_seeds,
    values.num_ranked,
    not values.only_print,
  )


def run() -> None:
  """Read the command line, and exit."""
  if cli.wants_help(sys.argv):
    values = flags.FlagValues()
    described = cli.describe_flags(define_flags(values), values)
    cli.print_help(cli.format_help(USAGE, described))
    return
  define_flags(flags.FLAGS)
  # JAX's own flags may stand on the command line and in flag files.
  jax.config.config_with_absl()
  cli.run(main, USAGE, {}, stopped=STOPPED)


if __name__ == '__main__':
  run()
