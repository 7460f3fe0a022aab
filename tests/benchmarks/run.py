"""The command ``python -m tests.benchmarks.run``: measures, prints, stores."""

import importlib
import importlib.util
import sys
import time
from typing import Any

from absl import flags

from mrnn_jax.runtime import cli
from mrnn_jax.runtime.errors import InputError
from tests.benchmarks import harness, machine, tables, work

SUITES = ('train', 'rank', 'decode', 'input', 'encoder')
USAGE = """
python -m tests.benchmarks.run [--suite=train,rank,decode,input,encoder]
  [--json=FILE]

Measure training, ranking, writing captions, the input pipeline and training
through the encoder on this machine, each beside a straightforward PyTorch
implementation of the same work (pip install torch). The captions have
Flickr8K's lengths; with $MRNN_DATA set to a folder that holds flickr8k/ they
are its own. Leave the machine alone meanwhile: the column "others" says how
many cores other programs kept busy.
"""
GROUPS = {
  'What to measure': ['suite', 'scale', 'repeats', 'torch', 'growth', 'json'],
  'How': ['model', 'image_block', 'tile_rows'],
}


def define_flags() -> None:
  """Define the flags; not on import, which every benchmark process does."""
  flags.DEFINE_string(
    'suite', ','.join(SUITES), 'Which, with commas between them.'
  )
  flags.DEFINE_enum(
    'scale',
    'small',
    ['tiny', 'small', 'full'],
    'tiny: only to see that all runs; small: a few minutes; full: an epoch of '
    'training, and the whole matrix of Flickr8K.',
  )
  flags.DEFINE_integer('repeats', 3, 'Turns of each.', lower_bound=1)
  flags.DEFINE_bool('torch', True, 'Measure PyTorch too.')
  flags.DEFINE_bool('growth', False, 'Also tables of doublings.')
  flags.DEFINE_string('json', '', 'File for everything measured.')
  flags.DEFINE_string(
    'model',
    '',
    'decode: a model file that --task=export wrote. Default: the pretrained '
    'model, or a random one where there is none.',
  )
  flags.DEFINE_integer(
    'image_block', 0, "rank: images at a time; 0: the program's own."
  )
  flags.DEFINE_integer(
    'tile_rows', 0, "rank: rows of logits a tile; 0: the program's own."
  )


def main() -> None:
  """Run the suites that the flags name."""
  names = flags.FLAGS.suite.split(',')
  for name in names:
    if name not in SUITES:
      raise InputError(
        f'--suite={name}: choose among {", ".join(SUITES)}, with commas '
        'between them.'
      )
  options = harness.Options(
    **{
      name: flags.FLAGS[name].value
      for name in harness.Options.__dataclass_fields__
    }
  )
  if options.torch and importlib.util.find_spec('torch') is None:
    raise InputError(
      'PyTorch is not installed: "pip install torch", or leave it out by '
      '--notorch.'
    )
  results = run(names, options, flags.FLAGS.growth)
  if flags.FLAGS.json:
    # Here: no benchmark process needs what it imports.
    from mrnn_jax.runtime import files

    files.write_json(flags.FLAGS.json, results)
    print(f'all of it: {flags.FLAGS.json}')
  refuse_disagreement(results)


def refuse_disagreement(results: dict[str, Any]) -> None:
  """Raise InputError where both sides did not get the same.

  Args:
    results: what ``run`` returns.
  """
  for suite in results['suites'].values():
    for measured in suite['comparisons']:
      if not measured['agrees']:
        raise InputError(
          f'{measured["name"]}: the two sides differ by more than rounding '
          f'allows ({measured["agreement"]}): one of them is wrong, and what '
          'was measured means nothing.'
        )


def run(
  names: list[str],
  options: harness.Options,
  growth: bool = False,
  bench: type = work.Remote,
) -> dict[str, Any]:
  """Run suites, print their tables, and return all that was measured.

  Args:
    names: of the suites.
    options: what the command line says.
    growth: whether tables of doublings are wanted.
    bench: ``work.Remote``, or ``work.Bench`` for all in this process.
  """
  host = machine.describe_host()
  print(', '.join(f'{key} {value}' for key, value in host.items()))
  results: dict[str, Any] = {
    'host': host,
    'scale': options.scale,
    'started': time.strftime('%Y-%m-%dT%H:%M:%S%z'),
    'suites': {},
  }
  for name in names:
    # By name: a benchmark process imports this module, and no other suite.
    suite = importlib.import_module(f'tests.benchmarks.{name}')
    measured, start = [], time.perf_counter()
    for comparison in suite.comparisons(options):
      measured.append(harness.compare(comparison, options, bench))
      print(f'\n{tables.format_result(measured[-1])}', flush=True)
    results['suites'][name] = {'comparisons': [m.as_json() for m in measured]}
    if name == 'input':
      stalling = suite.stalling(measured)
      results['suites'][name]['stalling'] = stalling
      print(
        f'  input is {stalling["times"]:.0f} times as fast as training; '
        f'{stalling["share"]:.1%} of its time at most'
      )
    if growth:
      results['suites'][name]['growth'] = grown = {}
      for one in suite.growths(options):
        grown[one.name] = harness.grow(one, bench)
        print(f'\n{tables.format_growth(one, grown[one.name])}', flush=True)
    results['suites'][name]['seconds'] = time.perf_counter() - start
  return results


if __name__ == '__main__':
  define_flags()
  sys.exit(cli.run(main, USAGE, GROUPS, stopped='nothing was kept.'))
