"""Runs side by side: ``python -m mrnn_jax.reports WORKDIR [WORKDIR ...]``.

They are set beside each other and beside chance; with ``--mean`` runs that
differ by seed are averaged.
"""

from collections.abc import Sequence
import sys

from mrnn_jax.reports import tables
from mrnn_jax.runtime.errors import InputError


def main(argv: Sequence[str]) -> int:
  """Print the comparison of the workdirs that are named."""
  workdirs = [arg for arg in argv if arg != '--mean']
  if not workdirs or any(name.startswith('-') for name in workdirs):
    print(
      'usage: python -m mrnn_jax.reports [--mean] WORKDIR [WORKDIR ...]\n'
      'Evaluations side by side; --mean: mean and standard deviation of runs '
      'that differ by seed.'
    )
    return 0 if argv[:1] in (['--help'], ['-h']) else 1
  try:
    print(
      tables.average(workdirs) if '--mean' in argv else tables.compare(workdirs)
    )
  except InputError as error:
    print(f'error: {error}', file=sys.stderr)
    return 1
  return 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
