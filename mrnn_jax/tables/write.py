"""The tables as files: JSON, Markdown, figure 3 as a picture, a page."""

from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from mrnn_jax.evaluation import recall_curve
from mrnn_jax.reports import charts, page_parts
from mrnn_jax.reports.tables import format_convention
from mrnn_jax.runtime import files
from mrnn_jax.tables import forms
from mrnn_jax.tables.rows import Row

JSON_FILE, MARKDOWN_FILE = 'tables.json', 'tables.md'
PICTURE_FILE, PAGE_FILE = 'figure3.png', 'tables.html'
_CURVES = (
  'Sentences: the list is that of the shortlist, as in the paper; images: all. '
  'Of the first seed.'
)


def write(
  workdir: epath.PathLike,
  rows: Sequence[Row],
  dataset: str,
  about: Mapping[str, Any],
) -> str:
  """Write all that is made of rows; return the Markdown.

  Args:
    workdir: where.
    rows: of the tables.
    dataset: its name.
    about: of the dataset and the protocol, for readers.
  """
  folder = epath.Path(workdir).expanduser()
  curves = {
    forms.label(row): row['recall_curve']
    for row in rows
    if 'recall_curve' in row
  }
  text = markdown(rows, dataset, about, bool(curves))
  files.write_json(
    folder / JSON_FILE, {'dataset': dataset, 'about': about, 'rows': list(rows)}
  )
  files.write_text(folder / MARKDOWN_FILE, text)
  if curves:
    files.write_bytes(folder / PICTURE_FILE, recall_curve.draw(curves))
  files.write_text(folder / PAGE_FILE, page(rows, dataset, about, curves))
  return text


def markdown(
  rows: Sequence[Row],
  dataset: str,
  about: Mapping[str, Any],
  has_curves: bool,
) -> str:
  """Return the tables as Markdown, aligned so that it reads as text too."""
  parts = [f'# The tables of the paper on {dataset}', forms.facts(about)]
  for table in forms.tables(rows, dataset):
    parts += [f'## {table.title}', _markdown_table(table.head(), table.cells())]
  parts += forms.notes(rows)
  if has_curves:
    parts += [
      '## Recall curves (the form of Figure 3)',
      f'![Recall curves of all systems]({PICTURE_FILE})',
      _CURVES,
    ]
  parts.append('## How each row was made')
  for row in rows:
    convention = format_convention(row['convention'])
    line = f'- **{_cell(row["name"])}**: {_cell(convention)}'
    if row['command']:
      line += f'\n\n  ```\n  {_wrapped(row["command"])}\n  ```\n'
    parts.append(line)
  return '\n\n'.join(parts) + '\n'


def _wrapped(command: str) -> str:
  """Return commands one a line."""
  return command.replace(' && ', '\n  ')


def _cell(text: str) -> str:
  return text.replace('|', '\\|').replace('<', '&lt;')


def _markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
  rows = [[_cell(cell) for cell in line] for line in (head, *lines)]
  widths = [max(3, *map(len, cells)) for cells in zip(*rows, strict=True)]

  def line(cells: Sequence[str]) -> str:
    first, *others = cells
    padded = [first.ljust(widths[0])]
    padded += [
      cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)
    ]
    return f'| {" | ".join(padded)} |'

  rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
  return '\n'.join([line(rows[0]), line(rule), *map(line, rows[1:])])


def page(
  rows: Sequence[Row],
  dataset: str,
  about: Mapping[str, Any],
  curves: Mapping[str, Mapping[str, recall_curve.Curve]],
) -> str:
  """Return the tables as a page that opens anywhere."""
  body = page_parts.paragraph(forms.facts(about))
  for table in forms.tables(rows, dataset):
    ours = [i for i, row in enumerate(table.rows) if row.get('key') == 'm-rnn']
    body += page_parts.section(
      table.title, page_parts.table(table.head(), table.cells(), marked=ours)
    )
  body += ''.join(map(page_parts.paragraph, forms.notes(rows)))
  if curves:
    body += page_parts.section(
      'Recall curves (the form of Figure 3)', _charts(curves)
    )
  body += page_parts.section('How each row was made', _details(rows))
  return page_parts.document(f"The paper's tables on {dataset}", body)


def _charts(
  curves: Mapping[str, Mapping[str, recall_curve.Curve]],
) -> str:
  drawn = []
  for direction, (title, things) in recall_curve.DIRECTIONS.items():
    series = [
      charts.Series(name, recall_curve.points(curve[direction]))
      for name, curve in curves.items()
    ]
    chance = recall_curve.by_chance(next(iter(curves.values()))[direction])
    drawn.append(
      charts.line_chart(
        [*series, charts.Series('chance', chance, dashed=True)],
        title,
        f'percent of all {things} retrieved',
        'mean number of true ones',
        log_x=True,
        y_from_zero=True,
      )
    )
  return page_parts.columns(*drawn) + page_parts.paragraph(_CURVES)


def _details(rows: Sequence[Row]) -> str:
  parts = []
  for row in rows:
    text = page_parts.paragraph(format_convention(row['convention']))
    commands = row['command'].split(' && ') if row['command'] else []
    text += ''.join(
      f'<p><code>{page_parts.escape(command)}</code></p>'
      for command in commands
    )
    name = page_parts.escape(row['name'])
    parts.append(f'<details><summary>{name}</summary>{text}</details>')
  return ''.join(parts)
