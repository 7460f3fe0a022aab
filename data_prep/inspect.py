"""The command ``python -m data_prep.inspect``: what is in a dataset."""

from collections.abc import Sequence
from typing import Any

from absl import flags
from etils import epath

from data_prep.inspection import page, summary, text
from mrnn_jax.data import datasets
from mrnn_jax.runtime import cli, files, messages
from mrnn_jax.runtime.errors import InputError

USAGE = """
python -m data_prep.inspect DIR [--html=FILE]

Say what is in a prepared dataset: counts, lengths of sentences, growth and
size of the vocabulary, words outside it, features, some examples. DIR is the
folder of the dataset, or --data_dir of data_prep.build.
"""


def inspect(
  folder: str, dataset: str, html: str, num_examples: int, seed: int
) -> None:
  """Print what is in a dataset, and write it as a page if one is wanted.

  Args:
    folder: of the dataset, or of several.
    dataset: which of several; '' if there is one.
    html: the page to write; '' for none.
    num_examples: how many images to show.
    seed: decides which.

  Raises:
    InputError: there is no dataset, or it is damaged.
  """
  path = find(folder, dataset)
  metadata, sources = _open(path)
  try:
    found = summary.summarize(sources, seed, num_examples)
    report = '\n'.join(text.lines(path, metadata, found))
    html_page = page.render(path, metadata, found)
  except InputError:
    raise
  except Exception as error:  # Readers raise whatever their C++ side does.
    raise _damaged(path, error) from error
  print(report)
  if html:
    files.write_text(html, html_page)
    print(f'\nWrote {html}')


def find(folder: str, dataset: str = '') -> epath.Path:
  """Return the folder that holds the files of a dataset.

  Args:
    folder: this folder, or one that it lies in.
    dataset: the name of the dataset where the folder holds several.

  Raises:
    InputError: there is none, or several could be meant.
  """
  root = epath.Path(folder).expanduser()
  if not root.is_dir():
    raise InputError(f'there is no folder {root}: name that of a dataset.')
  if (root / 'dataset_info.json').exists():
    return root
  if root.name != datasets.BUILDER:
    inner = root / datasets.BUILDER
    root = inner if inner.is_dir() else root
  # The folder of one dataset, or of several.
  latest: dict[str, epath.Path] = {}
  for place in (root, *sorted(root.iterdir())):
    if versions := datasets.versions(place):
      latest[place.name] = versions[-1]
  if dataset:
    latest = {x: path for x, path in latest.items() if x == dataset}
  if not latest:
    name = f'dataset "{dataset}"' if dataset else 'prepared dataset'
    raise InputError(
      f'there is no {name} in {folder}: name the folder that'
      ' data_prep.build has written.'
    )
  if len(latest) > 1:
    raise InputError(
      f'{folder} holds {", ".join(latest)}: say which with --dataset.'
    )
  return next(iter(latest.values()))


def _open(path: epath.Path) -> tuple[dict[str, Any], dict[str, Any]]:
  """Return what is stored beside the records, and the records by split."""
  builder, metadata = datasets.open_folder(path)
  try:
    names = sorted(
      builder.info.splits,
      key=lambda x: (x not in datasets.SPLITS, (*datasets.SPLITS, x).index(x)),
    )
    sources = {split: builder.as_data_source(split) for split in names}
  except Exception as error:  # Readers raise whatever their C++ side does.
    raise _damaged(path, error) from error
  return metadata, sources


def _damaged(path: epath.Path, error: Exception) -> InputError:
  return InputError(
    f'the dataset in {path} cannot be read ({messages.first_line(error)}):'
    ' build it again by "python -m data_prep.build --overwrite ...".'
  )


def define_flags(values: flags.FlagValues) -> dict[str, list[str]]:
  """Define the flags; return their names by groups, for ``--help``."""
  flags.DEFINE_string(
    'dataset', '', 'Which dataset, where DIR holds several.', flag_values=values
  )
  flags.DEFINE_string(
    'html', '', 'Write a page as well, for a browser.', flag_values=values
  )
  flags.DEFINE_integer(
    'num_examples', 10, 'Images to show.', 0, flag_values=values
  )
  flags.DEFINE_integer('seed', 0, 'Decides which.', flag_values=values)
  return {'What to show': ['dataset', 'html', 'num_examples', 'seed']}


def run(argv: Sequence[str] | None = None) -> None:
  """Parse the flags and inspect, or print what the flags are; then exit.

  Args:
    argv: the command line; ``sys.argv`` by default.
  """

  def main(folder: str = '', **values: Any):
    inspect(folder or datasets.default_data_dir(), **values)

  cli.run_with_flags(
    main, define_flags, USAGE, argv, 'nothing was written.', takes=1
  )


if __name__ == '__main__':
  run()
