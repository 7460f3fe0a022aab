"""Pieces of self-contained HTML pages: a document, tables, charts.

Every function takes plain text and numbers and returns HTML in which they are
escaped; only arguments named ``body`` and those that say so are HTML already.
A page holds its own style and script, allows no others (by a content security
policy that names their hashes), and asks the network for nothing.
"""

import base64
from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import html
import json
import math
import pathlib
from typing import Any

# Charts are drawn in these units and scaled to the width there is; small, so
# that the text is still readable on a phone.
_WIDTH, _HEIGHT = 480, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 22, 10, 42


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
    script: JavaScript that runs once the page is there.
    extra_style: CSS besides that of ``page_parts.css``.
  """
  style = _read('page_parts.css') + extra_style
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


@dataclasses.dataclass(frozen=True)
class Series:
  """A line of a chart.

  Attributes:
    name: for the legend.
    points: (x, y), in the order of x.
    dashed: whether it is drawn as a broken line.
    dots: whether each point is marked.
  """

  name: str
  points: Sequence[tuple[float, float]]
  dashed: bool = False
  dots: bool = False


def line_chart(
  series: Sequence[Series],
  title: str,
  x_label: str,
  y_label: str,
  log_x: bool = False,
  log_y: bool = False,
  y_from_zero: bool = False,
) -> str:
  """Return lines in a frame with axes and a legend; '' without a point.

  Points that are not finite, or not positive on a logarithmic axis, are left
  out.
  """

  def usable(value: float, log: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not log)

  series = [
    dataclasses.replace(
      line,
      points=[
        (x, y) for x, y in line.points if usable(x, log_x) and usable(y, log_y)
      ],
    )
    for line in series
  ]
  points = [point for line in series for point in line.points]
  if not points:
    return ''
  xs, ys = zip(*points, strict=True)
  x_axis = _Axis(min(xs), max(xs), log_x, _LEFT, _WIDTH - _RIGHT, 7)
  low = min(0.0, *ys) if y_from_zero and not log_y else min(ys)
  y_axis = _Axis(low, max(ys), log_y, _HEIGHT - _BOTTOM, _TOP, 6, loose=True)
  parts = [_frame(x_axis, y_axis, x_label, y_label)]
  for i, line in enumerate(series):
    kind = f'line s{i % 6}' + (' dashed' if line.dashed else '')
    place = [
      f'{x_axis.place(x):.1f},{y_axis.place(y):.1f}' for x, y in line.points
    ]
    parts.append(f'<polyline class="{kind}" points="{" ".join(place)}"/>')
    if line.dots or len(line.points) == 1:
      parts += [
        f'<circle class="dot s{i % 6}" r="3.2" cx="{x_axis.place(x):.1f}" '
        f'cy="{y_axis.place(y):.1f}"><title>'
        f'{escape(f"{line.name}: {_number(x)}, {_number(y)}")}</title></circle>'
        for x, y in line.points
      ]
  ends = '; '.join(
    f'{line.name}: {_number(line.points[0][1])} at '
    f'{_number(line.points[0][0])} to {_number(line.points[-1][1])} at '
    f'{_number(line.points[-1][0])}'
    for line in series
    if line.points
  )
  return _figure(title, _legend(series), parts, f'{title}. {ends}')


def _legend(series: Sequence[Series]) -> str:
  """Return the names of lines beside a sample of each."""
  items = (
    f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><path '
    f'class="line s{i % 6}{" dashed" if line.dashed else ""}" d="M1 4H23"/>'
    f'</svg>{escape(line.name)}</li>'
    for i, line in enumerate(series)
  )
  return f'<ul class="legend">{"".join(items)}</ul>'


def histogram(
  edges: Sequence[float],
  counts: Sequence[float],
  title: str,
  x_label: str,
  y_label: str = 'number',
) -> str:
  """Return bars between edges [n + 1] as high as counts [n]; '' for n = 0.

  For whole numbers put the edges half-way between them.
  """
  if not len(counts):
    return ''
  x_axis = _Axis(edges[0], edges[-1], False, _LEFT, _WIDTH - _RIGHT, 9)
  y_axis = _Axis(0, max(*counts, 1), False, _HEIGHT - _BOTTOM, _TOP, 6, True)
  parts = [_frame(x_axis, y_axis, x_label, y_label)]
  bottom = y_axis.place(0)
  for left, right, count in zip(edges[:-1], edges[1:], counts, strict=True):
    x, top = x_axis.place(left), y_axis.place(count)
    # A hair between bars, but never more than a third of a narrow one.
    width = x_axis.place(right) - x
    width -= min(1.0, width / 3)
    where = (
      _number((left + right) / 2)
      if right - left == 1
      else f'{_number(left)} to {_number(right)}'
    )
    parts.append(
      f'<rect class="bar" x="{x:.1f}" y="{top:.1f}" width="{width:.2f}" '
      f'height="{bottom - top:.1f}"><title>'
      f'{escape(f"{where}: {_number(count)}")}</title></rect>'
    )
  highest = max(range(len(counts)), key=counts.__getitem__)
  where = f'{_number(edges[highest])} to {_number(edges[highest + 1])}'
  return _figure(
    title,
    '',
    parts,
    f'{title}. Bars from {_number(edges[0])} to {_number(edges[-1])}, the '
    f'highest between {where}: {_number(counts[highest])}.',
  )


class _Axis:
  """Where values lie between two ends in the picture, and round ones."""

  def __init__(
    self,
    low: float,
    high: float,
    log: bool,
    begin: float,
    end: float,
    num_ticks: int,
    loose: bool = False,
  ):
    """Map low..high to begin..end; ``loose``: out to the next round values."""
    self._log = log
    if low == high:
      low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    self.ticks = _log_ticks(low, high) if log else _ticks(low, high, num_ticks)
    if loose and not log:
      step = self.ticks[1] - self.ticks[0]
      low = step * math.floor(low / step + 1e-9)
      high = step * math.ceil(high / step - 1e-9)
      self.ticks = _ticks(low, high, num_ticks)
    elif loose:
      low, high = low / 1.08, high * 1.08
    self._low, self._high = self._scale(low), self._scale(high)
    self._begin, self._end = begin, end

  def _scale(self, value: float) -> float:
    return math.log10(value) if self._log else float(value)

  def place(self, value: float) -> float:
    """Return where a value lies in the picture."""
    part = (self._scale(value) - self._low) / (self._high - self._low)
    return self._begin + part * (self._end - self._begin)


def _ticks(low: float, high: float, number: int) -> list[float]:
  """Return about so many round values, at least two, from low to high."""
  raw = (high - low) / number
  power = 10 ** math.floor(math.log10(raw))
  step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  if last <= first:
    return [low, high]
  # Rounded, so that 3 * 0.1 is 0.3.
  return [float(f'{i * step:.12g}') for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
  """Return round values on a logarithmic axis, the fewer the longer it is."""
  decades = math.log10(high / low)
  digits = (
    (1, 2, 3, 5, 7) if decades < 1.2 else (1, 2, 5) if decades < 3 else (1,)
  )
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  values = [float(f'{d}e{p}') for p in powers for d in digits]
  inside = [v for v in values if low * 0.999 <= v <= high * 1.001]
  return inside if len(inside) > 1 else [low, high]


def _number(value: float) -> str:
  """Return a number as short as it can be read: 1,200, 18.7, 0.05."""
  if abs(value) >= 1000 or value == round(value):
    return f'{value:,.0f}'
  return f'{value:.3g}'


def _frame(x_axis: _Axis, y_axis: _Axis, x_label: str, y_label: str) -> str:
  """Return grid lines, the numbers at them, and the axes' names."""
  bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
  parts = []
  for value in y_axis.ticks:
    y = y_axis.place(value)
    parts.append(
      f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
      f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">'
      f'{_number(value)}</text>'
    )
  for value in x_axis.ticks:
    x = x_axis.place(value)
    parts.append(
      f'<path class="tick" d="M{x:.1f} {bottom}v5"/>'
      f'<text x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">'
      f'{_number(value)}</text>'
    )
  middle = (_TOP + bottom) / 2
  parts.append(
    f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>'
    f'<text class="label" x="{(_LEFT + right) / 2}" y="{_HEIGHT - 5}" '
    f'text-anchor="middle">{escape(x_label)}</text>'
    f'<text class="label" x="13" y="{middle}" text-anchor="middle" '
    f'transform="rotate(-90 13 {middle})">{escape(y_label)}</text>'
  )
  return ''.join(parts)


def _figure(
  title: str, legend: str, parts: Sequence[str], description: str
) -> str:
  """Return parts of a picture as a figure with its title."""
  return (
    f'<figure><figcaption>{escape(title)}</figcaption>{legend}'
    f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
    f'aria-label="{escape(description)}">{"".join(parts)}</svg></figure>'
  )
