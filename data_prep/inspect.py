"""The command ``python -m data_prep.inspect``: what is in a dataset."""

from collections.abc import Iterator, Sequence
import json
from typing import Any

from absl import flags
from etils import epath
import tensorflow_datasets as tfds

from data_prep import caption_features, inspect_page, records, summary
from mrnn_jax.reports import tables
from mrnn_jax.runtime import cli, files
from mrnn_jax.runtime.errors import InputError

USAGE = """
python -m data_prep.inspect DIR [--html=FILE]

Say what is in a prepared dataset: counts, lengths of sentences, growth and
size of the vocabulary, words outside it, features, some examples. DIR is the
folder of the dataset, or --data_dir of data_prep.build.
"""
_BAR = 40


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
    text = '\n'.join(as_text(path, metadata, found))
    page = inspect_page.render(path, metadata, found)
  except InputError:
    raise
  except Exception as error:  # Readers raise whatever their C++ side does.
    raise _damaged(path, error) from error
  print(text)
  if html:
    files.write_text(html, page)
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
  if root.name != caption_features.CaptionFeatures.name:
    inner = root / caption_features.CaptionFeatures.name
    root = inner if inner.is_dir() else root
  versions: dict[str, epath.Path] = {}
  patterns = ('*.*.*', '*/*.*.*')
  for path in sorted(x for pattern in patterns for x in root.glob(pattern)):
    # Beside a dataset may lie what an interrupted build has left.
    named = path.suffix.lstrip('.').isdigit()
    if named and (path / 'dataset_info.json').exists():
      versions[path.parent.name] = path
  if dataset:
    versions = {x: path for x, path in versions.items() if x == dataset}
  if not versions:
    name = f'dataset "{dataset}"' if dataset else 'prepared dataset'
    raise InputError(
      f'there is no {name} in {folder}: name the folder that'
      ' data_prep.build has written.'
    )
  if len(versions) > 1:
    raise InputError(
      f'{folder} holds {", ".join(versions)}: say which with --dataset.'
    )
  return next(iter(versions.values()))


def _open(path: epath.Path) -> tuple[dict[str, Any], dict[str, Any]]:
  """Return what is stored beside the records, and the records by split."""
  try:
    builder = tfds.builder_from_directory(path)
    metadata = json.loads((path / 'metadata.json').read_text())
    names = sorted(
      builder.info.splits,
      key=lambda x: (x not in records.SPLITS, (*records.SPLITS, x).index(x)),
    )
    sources = {split: builder.as_data_source(split) for split in names}
    if not isinstance(metadata, dict):
      raise ValueError('metadata.json is no JSON object')
    return metadata, sources
  except Exception as error:  # TFDS raises nearly anything.
    raise _damaged(path, error) from error


def _damaged(path: epath.Path, error: Exception) -> InputError:
  reason = (str(error).split('\n')[0] or type(error).__name__).rstrip('.')
  return InputError(
    f'the dataset in {path} cannot be read ({reason}): build it again by'
    ' "python -m data_prep.build --overwrite ...".'
  )


def as_text(
  path: epath.Path, metadata: dict[str, Any], found: summary.Summary
) -> Iterator[str]:
  """Yield the lines of the report."""
  yield f'{path}\n'
  rows = [
    [
      split,
      f'{x.images:,}',
      f'{x.captions:,}',
      f'{x.words:,}',
      inspect_page.span(x.each),
      f'{x.mean_length:.1f}',
    ]
    for split, x in found.splits.items()
  ]
  head = ['split', 'images', 'captions', 'words', 'an image', 'words each']
  yield tables.format_rows(head, rows)
  for oddity in inspect_page.oddities(metadata):
    yield f'  ! {oddity}'
  yield '\nWords a caption, all splits'
  yield from _bars(inspect_page.all_lengths(found))
  yield '\nVocabulary by how often a word must be seen in training'
  splits = list(found.splits)
  yield tables.format_rows(
    ['at least', 'words', *(f'unknown, {split}' for split in splits)],
    [
      [
        f'{x.threshold}',
        f'{x.size:,}',
        *(f'{100 * x.unknown[split]:.2f}%' for split in splits),
      ]
      for x in found.cuts
    ],
  )
  yield '\nGrowth: distinct words after so many training captions'
  shown = found.growth[:: max(1, len(found.growth) // 6)]
  if found.growth and shown[-1] != found.growth[-1]:
    shown = [*shown, found.growth[-1]]
  yield tables.format_rows(
    ['captions', *(f'{n:,}' for n, _ in shown)],
    [['words', *(f'{words:,}' for _, words in shown)]],
  )
  frequent = ', '.join(f'{word} {n:,}' for word, n in found.frequent[:10])
  yield f'Most frequent: {frequent}'
  yield '\nFeatures'
  facts = inspect_page.feature_facts(metadata, found.features)
  width = max(map(len, facts))
  for name, value in facts.items():
    yield f'  {name:<{width}}  {value}'
  for example in found.examples:
    yield f'\n{example.image_id} ({example.split})'
    for caption in example.captions:
      yield f'  {caption}'


def _bars(counts: Sequence[int]) -> Iterator[str]:
  """Yield a histogram as lines of text; the long tail is one line."""
  last = inspect_page.tail(counts)
  bars = [(f'{i}', n) for i, n in enumerate(counts[: last + 1])]
  if any(counts[last + 1 :]):
    bars.append((f'{last + 1}+', sum(counts[last + 1 :])))
  while bars and not bars[0][1]:
    bars.pop(0)
  highest = max((n for _, n in bars), default=1)
  width = max((len(f'{n:,}') for _, n in bars), default=1)
  for label, n in bars:
    # Whatever is there at all is seen.
    length = max(round(_BAR * n / highest), 1 if n else 0)
    yield f'  {label:>4}  {n:>{width},}  {"#" * length}'.rstrip()


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
  values = flags.FlagValues()
  groups = define_flags(values)

  def main(folder: str = ''):
    inspect(
      folder or tfds.core.constants.DATA_DIR,
      **{name: values[name].value for name in values},
    )

  cli.run(main, USAGE, groups, argv, values, 'nothing was written.', takes=1)


if __name__ == '__main__':
  run()
