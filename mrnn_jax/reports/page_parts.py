"""Pieces of self-contained HTML pages: a document, sections, tables.

Every function takes plain text and numbers and returns HTML in which they are
escaped; only arguments named ``body`` and those that say so are HTML already.
A page holds its own style and script, allows no others (by a content security
policy that names their hashes), and asks the network for nothing.
"""

import base64
from collections.abc import Mapping, Sequence
import hashlib
import html
import json
import pathlib
from typing import Any


def escape(text: Any) -> str:
  """Return a value as text that means nothing to HTML, quotes included."""
  return html.escape(str(text), quote=True)


def document(
  title: str, body: str, script: str = '', extra_style: str = ''
) -> str:
  """Return a whole page, light or dark as the reader's system is.

  Args:
    title: of the page; also its heading.
    body: HTML below the heading, without inline styles and event handlers,
      which the page's policy bars.
    script: JavaScript that runs once the page is there, after that of
      ``page_parts.js``.
    extra_style: CSS besides that of ``page_parts.css``.
  """
  style = _read('page_parts.css') + extra_style
  if script:
    script = _read('page_parts.js') + script
  policy = (
    f"default-src 'none'; style-src {_digest(style)}; "
    f"script-src {_digest(script)}; img-src 'self' data: file:; "
    "base-uri 'none'; form-action 'none'"
  )
  return (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    '<meta name="color-scheme" content="light dark">\n'
    f'<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n'
    f'<body>\n<main>\n<h1>{escape(title)}</h1>\n{body}\n</main>\n'
    + (f'<script>{script}</script>\n' if script else '')
    + '</body>\n</html>\n'
  )


def _read(name: str) -> str:
  return pathlib.Path(__file__).with_name(name).read_text(encoding='utf-8')


def _digest(text: str) -> str:
  """Return how a content security policy names a style or a script."""
  digest = hashlib.sha256(text.encode()).digest()
  return f"'sha256-{base64.b64encode(digest).decode()}'"


def data_script(element_id: str, value: Any) -> str:
  """Return JSON for a script to read, which no text in it can end."""
  text = json.dumps(value, ensure_ascii=False, separators=(',', ':'))
  for character in '<>&\u2028\u2029':
    text = text.replace(character, f'\\u{ord(character):04x}')
  return (
    f'<script type="application/json" id="{escape(element_id)}">{text}</script>'
  )


def section(heading: str, body: str, element_id: str = '') -> str:
  """Return a section of a page; ``body`` is HTML."""
  name = f' id="{escape(element_id)}"' if element_id else ''
  return f'<section{name}>\n<h2>{escape(heading)}</h2>\n{body}\n</section>'


def paragraph(text: str) -> str:
  """Return a paragraph."""
  return f'<p>{escape(text)}</p>'


def note(text: str, command: str = '') -> str:
  """Return a remark, with a command line below it that can be copied."""
  code = f'<br><code>{escape(command)}</code>' if command else ''
  return f'<p class="note">{escape(text)}{code}</p>'


def facts(pairs: Mapping[str, Any]) -> str:
  """Return names and values as a list that fills the width there is."""
  items = ''.join(
    f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>'
    for name, value in pairs.items()
  )
  return f'<dl class="facts">{items}</dl>'


def columns(*bodies: str) -> str:
  """Return pieces of HTML beside each other where the width allows it."""
  return '<div class="columns">' + ''.join(bodies) + '</div>'


def table(
  head: Sequence[str],
  rows: Sequence[Sequence[Any]],
  caption: str = '',
  marked: Sequence[int] = (),
  text_columns: Sequence[int] = (),
) -> str:
  """Return a table whose first column names the rows.

  Args:
    head: headings of the columns.
    rows: cells; None is shown as an empty one.
    caption: stands above the table.
    marked: indices of rows to stress.
    text_columns: columns besides the first that hold text: they begin at the
      left, where numbers end at the right.
  """

  def align(i: int) -> str:
    return ' class="text"' if i == 0 or i in text_columns else ''

  def cell(i: int, value: Any) -> str:
    text = '' if value is None else escape(value)
    if i == 0:
      return f'<th scope="row"{align(i)}>{text}</th>'
    return f'<td{align(i)}>{text}</td>'

  # A keyboard can scroll what can be focused.
  lines = [
    '<div class="scroll" role="region" tabindex="0" '
    f'aria-label="{escape(caption or "table")}"><table>'
  ]
  if caption:
    lines.append(f'<caption>{escape(caption)}</caption>')
  cells = (
    f'<th scope="col"{align(i)}>{escape(x)}</th>' for i, x in enumerate(head)
  )
  lines.append(f'<thead><tr>{"".join(cells)}</tr></thead>\n<tbody>')
  for number, row in enumerate(rows):
    mark = ' class="marked"' if number in marked else ''
    cells = (cell(i, value) for i, value in enumerate(row))
    lines.append(f'<tr{mark}>{"".join(cells)}</tr>')
  lines.append('</tbody></table></div>')
  return '\n'.join(lines)
