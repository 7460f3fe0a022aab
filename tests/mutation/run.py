"""The command ``python -m tests.mutation.run``: mutants, and who notices them.

Each mutant of a module is run in a child process against the tests that
``modules.py`` names, in a copy of the repository made at the start: nobody's
work in the checkout is touched, and whatever is changed there meanwhile has no
effect.
"""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
import dataclasses
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time
from typing import Any

from tests.mutation import children, mutants
from tests.mutation.modules import TESTS

_ROOT = pathlib.Path(__file__).parents[2]
_COPIED = ('mrnn_jax', 'data_prep', 'tests', 'pyproject.toml')
_EQUIVALENT = pathlib.Path(__file__).parent / 'equivalent.json'
# Seconds of processor time for tests that run in one.
_LEAST_SECONDS, _TIMES = 20.0, 4.0


def main(argv: Sequence[str] | None = None) -> int:
  """Run the command line; 1: tests fail without any mutant."""
  args = _parser().parse_args(argv)
  names = args.modules.split(',') if args.modules else list(TESTS)
  for name in names:
    if name not in TESTS:
      print(
        f'error: --modules={name}: choose among {", ".join(TESTS)}, with '
        'commas between them.',
        file=sys.stderr,
      )
      return 1
  known = _read_equivalent()
  # Before the working directory is another.
  written = pathlib.Path(args.json).resolve() if args.json else None
  results: dict[str, Any] = {}
  if args.again:
    results = json.loads(pathlib.Path(args.again).read_text())
    names = [name for name in names if results.get(name, {}).get('survived')]
  with tempfile.TemporaryDirectory(prefix='mutation_') as folder:
    tree = _copy(pathlib.Path(folder))
    for name in names:
      source = (tree / f'mrnn_jax/{name}.py').read_text(encoding='utf-8')
      _tell_stale(name, source, known)
      if args.again:
        before = results[name]
        there = mutants.find(name, source)
        drawn = [mutants.Mutant(**x) for x in before['survived']]
        drawn = [x for x in drawn if x in there]
      else:
        before = {'killed': [], 'equivalent': []}
        drawn = _draw(name, source, args.sample, args.seed)
      found = _try_all(tree, name, drawn, known, args.jobs)
      if 'error' in found:
        print(f'error: the tests of {name} fail by themselves:')
        print(found['error'])
        return 1
      results[name] = {
        'killed': before['killed'] + found['killed'],
        'equivalent': before['equivalent'] + found['equivalent'],
        'survived': found['survived'],
      }
      print(_row(name, results[name]), flush=True)
      if written:
        written.write_text(json.dumps(results, indent=1))
  print('\n' + _table(results))
  return 0


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog='python -m tests.mutation.run',
    description='Change modules in small ways, and see whether a test fails.',
  )
  parser.add_argument(
    '--modules',
    default='',
    help='paths below mrnn_jax without .py, commas between them; all by '
    'default',
  )
  parser.add_argument(
    '--sample',
    type=int,
    default=25,
    metavar='N',
    help='mutants of a module; 0: all',
  )
  parser.add_argument('--seed', type=int, default=0, help='of the sample')
  parser.add_argument('--jobs', type=int, default=1, help='children at a time')
  parser.add_argument('--json', default='', help='file for all outcomes')
  parser.add_argument(
    '--again',
    default='',
    metavar='FILE',
    help='try again what survived by the --json of an earlier run, after tests '
    'were mended; the table is that of both',
  )
  return parser


def _copy(folder: pathlib.Path) -> pathlib.Path:
  """Copy what tests need, and work there from now on."""
  tree = folder.resolve() / 'tree'
  tree.mkdir()
  ignored = shutil.ignore_patterns('__pycache__', '.*')
  for name in _COPIED:
    if (_ROOT / name).is_dir():
      shutil.copytree(_ROOT / name, tree / name, ignore=ignored)
    else:
      shutil.copy(_ROOT / name, tree / name)
  os.chdir(tree)
  sys.path[:] = [str(tree)] + [
    x for x in sys.path if pathlib.Path(x or '.').resolve() != _ROOT
  ]
  return tree


def _draw(
  name: str, source: str, sample: int, seed: int
) -> list[mutants.Mutant]:
  """Return a sample of the mutants of a module, in the order of its text."""
  found = mutants.find(name, source)
  if not sample or sample >= len(found):
    return found
  rng = random.Random(f'{seed} {name}')
  return [found[i] for i in sorted(rng.sample(range(len(found)), sample))]


def _read_equivalent() -> dict[tuple, str]:
  """Return the reason why a mutant is no fault, by its key."""
  if not _EQUIVALENT.exists():
    return {}
  listed = json.loads(_EQUIVALENT.read_text(encoding='utf-8'))
  return {_key(entry): entry['reason'] for entry in listed}


def _tell_stale(name: str, source: str, known: dict[tuple, str]) -> None:
  """Say which entries of the list are of statements that are gone."""
  there = {_key(dataclasses.asdict(x)) for x in mutants.find(name, source)}
  for key in known:
    if key[0] == name and key not in there:
      print(f'note: no longer there: {key}', file=sys.stderr)


def _key(mutant: dict[str, Any]) -> tuple:
  names = [field.name for field in dataclasses.fields(mutants.Mutant)]
  return tuple(mutant.get(name, 0) for name in names)


def _try_all(
  tree: pathlib.Path,
  name: str,
  drawn: Sequence[mutants.Mutant],
  known: dict[tuple, str],
  jobs: int,
) -> dict[str, Any]:
  """Return what became of the mutants of a module."""
  tests = TESTS[name]
  equivalent = [x for x in drawn if _key(dataclasses.asdict(x)) in known]
  rest = [x for x in drawn if x not in equivalent]
  result = {
    'killed': [],
    'equivalent': [dataclasses.asdict(x) for x in equivalent],
    'survived': [],
  }
  if not rest:
    return result
  for _ in range(2):  # The second time all is imported, and compiled.
    [(_, plain)] = _children(tree, tests, [None], 1, 1e4, {}, Counter())
    if plain.verdict != 'survived':
      return {'error': f'{plain.verdict} by {plain.by}'}
    children.import_once(plain.imported)
  limit = max(_LEAST_SECONDS, _TIMES * plain.seconds)
  killers: Counter[str] = Counter()
  for mutant, outcome in _children(
    tree, tests, rest, jobs, limit, plain.durations, killers
  ):
    told = dataclasses.asdict(mutant)
    if outcome.verdict == 'survived':
      result['survived'].append(told)
      print(f'survived: {told}', file=sys.stderr, flush=True)
    else:
      killers[outcome.by] += 1
      told |= {'by': outcome.by, 'seconds': outcome.seconds}
      result['killed'].append(told)
  return result


def _children(
  tree: pathlib.Path,
  tests: Sequence[str],
  wanted: Sequence[mutants.Mutant | None],
  jobs: int,
  limit: float,
  durations: dict[str, float],
  killers: Counter,
) -> Iterator[tuple[mutants.Mutant | None, children.Outcome]]:
  """Yield the outcome of each mutant, ``jobs`` of them at a time."""
  waiting, running = list(wanted), []
  while waiting or running:
    while waiting and len(running) < jobs:
      # What has killed most comes first, and of equals the quickest.
      order = {
        test: (-killers[test], seconds) for test, seconds in durations.items()
      }
      mutant = waiting.pop(0)
      child = children.Child(tree, tests, mutant, limit, order)
      running.append((mutant, child))
    time.sleep(0.01)
    for one in list(running):
      outcome = one[1].poll()
      if outcome:
        running.remove(one)
        yield one[0], outcome


def _counts(result: dict[str, Any]) -> tuple[int, int, int, int]:
  counts = [len(result[x]) for x in ('killed', 'equivalent', 'survived')]
  return sum(counts), *counts


def _row(name: str, result: dict[str, Any]) -> str:
  return f'| `{name}` | ' + ' | '.join(map(str, _counts(result))) + ' |'


def _table(results: dict[str, Any]) -> str:
  """Return all as a table, and the share that was killed."""
  lines = ['| module | mutants | killed | equivalent | survived |']
  lines += ['|---|---|---|---|---|']
  lines += [_row(name, result) for name, result in results.items()]
  sums = [sum(x) for x in zip(*map(_counts, results.values()), strict=True)]
  if not sums:
    return 'nothing to try'
  lines.append('| all | ' + ' | '.join(map(str, sums)) + ' |')
  _, killed, _, survived = sums
  share = killed / max(1, killed + survived)
  lines.append(f'\nkilled of those that are not equivalent: {share:.1%}')
  return '\n'.join(lines)


if __name__ == '__main__':
  sys.exit(main())
