"""The forms of the paper's tables: headings, and what stands in each cell."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from mrnn_jax.reports.tables import look_up
from mrnn_jax.tables.rows import Row
from mrnn_jax.tables.runs import CONTEXT, REFERENCE

# Beside a value that is not told from the m-RNN's by resampling.
NOT_TOLD_APART = '°'
_NUMBERS = {
  # Dataset -> the paper's number of the table of each form.
  'iaprtc12': {'generation': 'Table 1', 'retrieval': 'Table 2'},
  'flickr8k': {'generation': 'Table 5', 'retrieval': 'Table 3'},
  'flickr30k': {'generation': 'Table 5', 'retrieval': 'Table 4'},
}


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of a table.

  Attributes:
    heading: stands above it.
    path: of the value in a row.
    form: how it is written.
    compared: the measure by which rows are compared with the m-RNN, or ''.
  """

  heading: str
  path: tuple[str | int, ...]
  form: str
  compared: str = ''

  def cell(self, row: Row) -> str:
    """Return what stands there for a row; '' where it has no value."""
    value = look_up(row, self.path)
    if value is None:
      return ''
    text = self.form.format(value)
    spread = look_up(row.get('std'), self.path)
    if spread is not None and len(self.path) < 3:  # Not of ranks.
      text += f' ± {self.form.format(spread)}'
    told = look_up(row, ('difference', self.compared, 'significant'))
    return text + (NOT_TOLD_APART if told is False else '')


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of rows.

  Attributes:
    title: what it shows.
    columns: without that of the rows' names.
    rows: those that have a value in it.
  """

  title: str
  columns: Sequence[Column]
  rows: Sequence[Row]

  def head(self) -> list[str]:
    """Return the headings."""
    return ['', *(column.heading for column in self.columns)]

  def cells(self) -> list[list[str]]:
    """Return the lines."""
    return [
      [label(row), *(column.cell(row) for column in self.columns)]
      for row in self.rows
    ]


def label(row: Row) -> str:
  """Return how a row is called, and of how many seeds it is."""
  seeds = len(row.get('seeds', ()))
  return row['name'] + (f' ({seeds} seeds)' if seeds > 1 else '')


_WORDS = (
  Column('PPL', ('perplexity',), '{:.2f}'),
  *(
    Column(f'B-{n}', ('bleu', n - 1), '{:.3f}', 'bleu_4' if n == 4 else '')
    for n in (1, 2, 3, 4)
  ),
  Column('CIDEr-D', ('cider_d',), '{:.3f}', 'cider_d'),
  Column('ROUGE-L', ('rouge_l',), '{:.3f}'),
)
_RANKS = (
  ('R@1', 'r@1', '{:.1f}'),
  ('R@5', 'r@5', '{:.1f}'),
  ('R@10', 'r@10', '{:.1f}'),
  ('Med r', 'median_rank', '{:g}'),
)


def _within(name: str) -> list[Column]:
  return [
    dataclasses.replace(column, path=(name, *column.path), compared='')
    for column in _WORDS
  ]


def _ranked(pool: str) -> list[Column]:
  """Return the columns of both directions."""
  return [
    Column(
      f'{arrow} {heading}',
      (pool, direction, name),
      form,
      f'{direction}_r@1' if name == 'r@1' and pool == 'retrieval' else '',
    )
    for direction, arrow in (
      ('image_to_text', 'i→t'),
      ('text_to_image', 't→i'),
    )
    for heading, name, form in _RANKS
  ]


def tables(rows: Sequence[Row], dataset: str) -> list[Table]:
  """Return the tables of rows, those that have any of our own.

  Args:
    rows: all.
    dataset: its name, for the number that the paper gives to a table.
  """
  numbers = _NUMBERS.get(dataset, {})
  context = max((row.get('context_words', 0) for row in rows), default=0)
  shortlist = max((row.get('shortlist', 0) for row in rows), default=0)

  def title(form: str, text: str) -> str:
    number = numbers.get(form)
    return f'{text} (the form of {number})' if number else text

  made = [
    (title('generation', 'Generated sentences'), _WORDS),
    (
      'Generated sentences as long as each reference, the end barred',
      _within(REFERENCE),
    ),
    (
      f'The same after the first {context} words of each reference, which are '
      'not judged',
      _within(CONTEXT),
    ),
    (title('retrieval', 'Retrieval'), _ranked('retrieval')),
    (
      f'Retrieval, sentences among those of the {shortlist} nearest images',
      _ranked('retrieval_shortlist'),
    ),
  ]
  return [
    table
    for title_, columns in made
    if (table := Table(title_, columns, _shown(rows, columns))).rows
    and any(not row['published'] for row in table.rows)
  ]


def _shown(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
  return [
    row
    for row in rows
    if any(look_up(row, column.path) is not None for column in columns)
  ]


def notes(rows: Sequence[Row]) -> list[str]:
  """Return what a reader of the tables has to know, a sentence or two each."""
  texts = [
    'PPL is of all sentences of the test split, ##END## counted; BLEU is '
    'cumulative.'
  ]
  if any(row['published'] for row in rows):
    texts.append(
      'Rows that end with a source are published figures: other features, '
      "vocabularies and conventions; the paper's B-2 and B-3 cannot be "
      'cumulative.'
    )
  if any('difference' in row for row in rows):
    texts.append(
      f"{NOT_TOLD_APART}: B-4, CIDEr-D or R@1 is not told from the m-RNN's: 0 "
      'lies in the 95% interval of the difference over 1,000 resamples of the '
      'test images (paired bootstrap, first seed).'
    )
  if any('std' in row for row in rows):
    texts.append(
      '±: standard deviation over seeds; ranks: mean over the seeds that are '
      'ranked.'
    )
  return texts


def facts(about: Mapping[str, Any]) -> str:
  """Return what is to be known of the dataset and the protocol, a sentence."""
  return (
    f'{about["images"]:,} test images, {about["sentences"]:,} sentences, '
    f'vocabulary {about["vocabulary"]:,}; features of {about["encoder"]}, '
    f'{about["feature_size"]:,} numbers. Retrieval by shortlist: sentences of '
    f'the {about["shortlist"]} nearest images.'
  )
