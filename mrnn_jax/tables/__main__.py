"""The command ``python -m mrnn_jax.tables``: trains, measures, tabulates."""

from collections.abc import Mapping, Sequence
import contextlib
import difflib
import sys
from typing import Any

from absl import flags
import jax

from mrnn_jax.config import Given
from mrnn_jax.config import flags as config_flags
from mrnn_jax.data import datasets
from mrnn_jax.reports.tables import format_rows
from mrnn_jax.runtime import cli, jax_setup, progress, workdir_lock
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.progress import format_seconds
from mrnn_jax.tables import forms, plan, write
from mrnn_jax.tables.rows import table_rows
from mrnn_jax.tables.runs import Protocol, Run
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
_OWN = {
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


def _names(text: str) -> list[str]:
  """Return the systems that ``--rows`` names, in the tables' order."""
  names = [name.strip() for name in text.split(',') if name.strip()]
  for name in names:
    if name not in SYSTEMS:
      close = difflib.get_close_matches(name, SYSTEMS, n=1)
      hint = f'did you mean {close[0]}?' if close else 'there are '
      hint = hint if close else f'{hint}{", ".join(SYSTEMS)}.'
      raise InputError(f'--rows={text}: there is no system {name!r}: {hint}')
  return [key for key in SYSTEMS if not names or key in names]


def _given(flag_values: flags.FlagValues, argv: Sequence[str]) -> Given:
  """Return what was given for all runs."""
  given = config_flags.read(flag_values, argv)
  for name in given.by_hand & _DECIDED.keys():
    raise InputError(f'--{name} is not for tables: {_DECIDED[name]}.')
  for name in ('num_seeds', 'num_ranked'):
    least = 1 if name == 'num_seeds' else 0
    if flag_values[name].value < least:
      raise InputError(
        f'--{name}={flag_values[name].value} is too small: at least {least}.'
      )
  values = {
    name: value for name, value in given.values.items() if name not in _DECIDED
  }
  values.setdefault('workdir', flag_values['workdir'].default)
  return Given(values)


def main() -> None:
  """Run what is to be run, and write the tables."""
  values = flags.FLAGS
  given = _given(values, sys.argv)
  jax_setup.apply(given.get('compilation_cache'), given.get('deterministic'))
  progress.set_level(given.get('log_level'))
  dataset = datasets.open_dataset(given.get('dataset'), given.get('data_dir'))
  protocol = Protocol(
    context_words=given.values.get('context_words', Protocol.context_words),
    shortlist=given.get('shortlist') or Protocol.shortlist,
  )
  rows = _names(values.rows)
  runs = plan.make_runs(
    given,
    rows,
    values.num_seeds,
    values.num_ranked,
    protocol,
    dataset.fingerprint,
  )
  with workdir_lock.hold(given.get('workdir'), 'tables'):
    if not values.only_print:
      _run(runs, dataset, given)
    _tell(runs, dataset, given, protocol)


def _run(runs: Sequence[Run], dataset: datasets.Dataset, given: Given) -> None:
  """Do what is not done, told before and on the way."""
  missing = [run for run in runs if run.result() is None]
  if not missing:
    return
  size = plan.Size.of(
    dataset, given.get('min_word_count'), plan.measure_speed()
  )
  estimates = [plan.seconds(run, size) for run in missing]
  print(
    plan.told(missing, estimates, len(runs) - len(missing)), file=sys.stderr
  )
  # What runs print is on the way; stdout is for the tables.
  with contextlib.redirect_stdout(sys.stderr):
    for number, run in enumerate(missing):
      left = format_seconds(sum(estimates[number:]))
      for step in run.run():
        progress.say(
          f'\n== {number + 1} of {len(missing)}: {run.system.label}, seed '
          f'{run.seed}: {step}; about {left} left for all'
        )


def _tell(
  runs: Sequence[Run],
  dataset: datasets.Dataset,
  given: Given,
  protocol: Protocol,
) -> None:
  """Write the tables of what is done, and print them."""
  done: dict[str, list[tuple[Run, Mapping[str, Any]]]] = {}
  for run in runs:
    if (result := run.result()) is not None:
      done.setdefault(run.system.key, []).append((run, result))
  if not done:
    raise InputError(
      f'nothing is measured in {given.get("workdir")}: leave out --only_print.'
    )
  rows = table_rows(done, dataset.name)
  about = {
    'images': dataset.builder.info.splits['test'].num_examples,
    'sentences': dataset.metadata['num_captions']['test'],
    'vocabulary': len(dataset.vocabulary(given.get('min_word_count'))),
    'encoder': dataset.metadata['encoder']['name'],
    'feature_size': dataset.feature_size,
    'shortlist': protocol.shortlist,
    'fingerprint': dataset.fingerprint,
  }
  write.write(given.get('workdir'), rows, dataset.name, about)
  for table in forms.tables(rows, dataset.name):
    print(f'\n{table.title}\n')
    print(format_rows(table.head(), table.cells()))
  print()
  print('\n'.join(forms.notes(rows)))
  print(
    f'\nwrote tables.json, tables.md and tables.html in {given.get("workdir")}'
  )


if __name__ == '__main__':
  groups = define_flags(flags.FLAGS)
  jax.config.config_with_absl()
  sys.exit(cli.run(main, USAGE, groups, stopped=STOPPED))
