"""Makes the tables: runs what is not done, writes what is."""

from collections.abc import Mapping, Sequence
import contextlib
import sys
from typing import Any

from mrnn_jax.config import Given
from mrnn_jax.data import datasets
from mrnn_jax.reports.tables import format_rows
from mrnn_jax.runtime import progress, workdir_lock
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.progress import format_seconds
from mrnn_jax.tables import forms, plan, write
from mrnn_jax.tables.rows import table_rows
from mrnn_jax.tables.runs import Protocol, Run


def make(
  given: Given,
  systems: Sequence[str],
  protocol: Protocol,
  num_seeds: int = 1,
  num_ranked: int = 1,
  run: bool = True,
) -> None:
  """Run systems, write their tables into the workdir, and print them.

  Args:
    given: what describes the dataset, and the workdir of all.
    systems: keys of ``SYSTEMS``.
    protocol: what is measured of each.
    num_seeds: seeds of systems whose training is random.
    num_ranked: so many first seeds are ranked.
    run: whether to run what is not done.

  Raises:
    InputError: a run cannot be done, or none is done and none is to be.
    Stopped: on request; the same call goes on.
  """
  dataset = datasets.open_dataset(given.get('dataset'), given.get('data_dir'))
  runs = plan.make_runs(
    given, systems, num_seeds, num_ranked, protocol, dataset.fingerprint
  )
  with workdir_lock.hold(given.get('workdir'), 'tables'):
    if run:
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
  estimates = [plan.seconds(run, size, run.left()) for run in missing]
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
