"""The tables of measures, and the conventions behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrnn_jax.config import Config
from mrnn_jax.reports import page_parts, published
from mrnn_jax.reports import tables as tables_lib
from mrnn_jax.reports.sections.commands import command

# Headings, paths in evaluation.json and formats of the tables of systems.
_CAPTION_COLUMNS = (
  ('PPL', ('perplexity', 'corpus'), '{:.2f}'),
  ('PPL, geometric', ('perplexity', 'geometric_mean'), '{:.2f}'),
  *((f'B-{n}', ('bleu', 'cumulative', n - 1), '{:.3f}') for n in (1, 2, 3, 4)),
  ('CIDEr-D', ('cider_d',), '{:.3f}'),
  ('ROUGE-L', ('rouge_l',), '{:.3f}'),
)
_RANK_COLUMNS = (
  ('R@1', 'r@1'),
  ('R@5', 'r@5'),
  ('R@10', 'r@10'),
  ('Med r', 'median_rank'),
)
_DIRECTIONS = {
  'image_to_text': 'Image to text',
  'image_to_text_perplexity': 'Image to text, by perplexity',
  'text_to_image': 'Text to image',
}


def section(config: Config, evaluation: Mapping[str, Any] | None) -> str:
  """Return the tables of measures and the conventions behind them."""
  if not evaluation:
    body = page_parts.note(
      'This model has not been evaluated on this split. This does it:',
      command('evaluate', config),
    )
    return page_parts.section('Measures', body, 'measures')
  compared = tables_lib.comparison(evaluation)
  captions = tables_lib.table_cells(compared, tables_lib.CAPTION_ROWS)
  body = page_parts.columns(
    page_parts.table(*captions, 'Captions'), _retrieval(compared)
  )
  systems = {
    f'{evaluation["model"]} (ours)': evaluation,
    **published.published_rows(evaluation['dataset']),
  }
  if len(systems) > 1:
    tables = _systems('Captions', systems, _CAPTION_COLUMNS)
    tables += _retrieval(systems, ('image_to_text', 'text_to_image'))
    body += (
      '<details class="published"><summary>All that was published on '
      f'{page_parts.escape(evaluation["dataset"])}</summary>'
      + page_parts.paragraph(
        'As published: features, vocabularies and conventions differ. The '
        "paper's B-2 and B-3 cannot be cumulative by the definition used here."
      )
      + tables
      + '</details>'
    )
  conventions = {
    name.replace('_', ' '): tables_lib.plain(value)
    for name, value in evaluation['convention'].items()
  }
  body += '<h3>Conventions in force</h3>' + page_parts.facts(conventions)
  return page_parts.section('Measures', body, 'measures')


def _retrieval(
  systems: Mapping[str, Mapping[str, Any] | None],
  directions: Sequence[str] = tuple(_DIRECTIONS),
) -> str:
  """Return a table of ranks for each direction that a system has."""
  tables = [
    _systems(
      _DIRECTIONS[direction],
      systems,
      [
        (heading, ('retrieval', direction, key), '{:.1f}')
        for heading, key in _RANK_COLUMNS
      ],
    )
    for direction in directions
  ]
  return f'<div class="tables">{"".join(tables)}</div>'


def _systems(
  caption: str,
  systems: Mapping[str, Mapping[str, Any] | None],
  columns: Sequence[tuple[str, Sequence[str | int], str]],
) -> str:
  """Return a table with a row for each system that has one of the columns.

  Where nothing of ours is there to compare with, there is no table.
  """
  rows: list[list[str | None]] = []
  ours = []
  for name, result in systems.items():
    values = [tables_lib.look_up(result, path) for _, path, _ in columns]
    if any(value is not None for value in values):
      cells = [
        None if value is None else form.format(value)
        for value, (_, _, form) in zip(values, columns, strict=True)
      ]
      if name.endswith('(ours)'):
        ours.append(len(rows))
      rows.append([name, *cells])
  if not ours:
    return ''
  head = ['', *(heading for heading, _, _ in columns)]
  return page_parts.table(head, rows, caption, marked=ours)
