"""The command ``mrnn``: one name for all that the program does.

``mrnn caption DIR`` is ``python -m mrnn_jax.main --task=caption DIR``, and so
on: each subcommand runs a module as ``python -m`` does, with the same flags.
"""

from collections.abc import Sequence
import dataclasses
import difflib
import runpy
import sys

import mrnn_jax
from mrnn_jax.runtime import cli

_MAIN = 'mrnn_jax.main'


@dataclasses.dataclass(frozen=True)
class Subcommand:
  """What a subcommand runs.

  Attributes:
    text: what it does.
    module: run as the main one.
    args: stand before those of the user.
  """

  text: str
  module: str = _MAIN
  args: Sequence[str] = ()


def _task(text: str, name: str) -> Subcommand:
  return Subcommand(text, args=(f'--task={name}',))


SUBCOMMANDS = {
  'caption': _task('write captions: mrnn caption PHOTOS', 'caption'),
  'rank': _task(
    'rank photos and sentences: mrnn rank PHOTOS --sentences=FILE', 'rank'
  ),
  'extract': Subcommand(
    'photos -> features: mrnn extract --images=DIR --output=F.npz',
    'data_prep.extract',
  ),
  'build': Subcommand('captions and features -> a dataset', 'data_prep.build'),
  'inspect': Subcommand('what is in a dataset', 'data_prep.inspect'),
  'train': _task(
    'train a model on a dataset, and measure it', 'train_and_evaluate'
  ),
  'evaluate': _task('measure a trained model', 'evaluate'),
  'retrieve': _task('rank the images and sentences of a split', 'retrieve'),
  'report': _task('a page of what was measured', 'report'),
  'compare': Subcommand(
    'runs side by side: mrnn compare W1 W2', 'mrnn_jax.reports'
  ),
  'tables': Subcommand(
    "the paper's tables: every system, run and set side by side",
    'mrnn_jax.tables',
  ),
  'calibrate': _task('fit how sure captions are', 'calibrate'),
  'export': _task('a trained model as one file', 'export'),
  'score': _task('score files of pairs of an image and a sentence', 'score'),
  'serve': Subcommand(
    'photos in the browser, and an HTTP API: mrnn serve --photos=DIR',
    'mrnn_jax.serve',
  ),
  'metrics': Subcommand(
    "measure anybody's captions: mrnn metrics HYPOTHESES REFERENCES",
    'mrnn_jax.metrics',
  ),
}


def usage() -> str:
  """Return the overview."""
  width = max(map(len, SUBCOMMANDS))
  lines = [f'  {name:{width}}  {x.text}' for name, x in SUBCOMMANDS.items()]
  return '\n'.join(
    [
      'mrnn SUBCOMMAND [--FLAG=VALUE ...]',
      '',
      'm-RNN (Mao et al. 2014): captions; rankings of images and sentences.',
      '',
      *lines,
      '',
      'mrnn SUBCOMMAND --help lists its flags; mrnn --version.',
    ]
  )


def main() -> None:
  """Run the subcommand that is named, and exit."""
  name, *args = sys.argv[1:] or ['--help']
  if name in ('--help', '-h', 'help'):
    cli.print_help(usage())
    return
  if name == '--version':
    print(f'mrnn {mrnn_jax.__version__}')
    return
  if name not in SUBCOMMANDS:
    close = difflib.get_close_matches(name, SUBCOMMANDS, n=1)
    hint = f'did you mean mrnn {close[0]}?' if close else 'see mrnn --help.'
    print(f'error: there is no mrnn {name}: {hint}', file=sys.stderr)
    sys.exit(1)
  chosen = SUBCOMMANDS[name]
  sys.argv = [f'mrnn {name}', *chosen.args, *args]
  runpy.run_module(chosen.module, run_name='__main__', alter_sys=True)


if __name__ == '__main__':
  main()
