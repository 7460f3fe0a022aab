"""Charts of pages, drawn as SVG in HTML: lines and histograms.

As in ``page_parts``, text and numbers are escaped.
"""

from collections.abc import Sequence
import dataclasses
import math

from mrnn_jax.reports.axes import Axis
from mrnn_jax.reports.page_parts import escape

# Charts are drawn in these units and scaled to the width there is; small, so
# that the text is still readable on a phone.
_WIDTH, _HEIGHT = 480, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 22, 10, 42
# Colours of lines in page_parts.css: .s0 and so on.
_NUM_COLOURS = 10


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
  x_axis = Axis(min(xs), max(xs), log_x, _LEFT, _WIDTH - _RIGHT, 7)
  low = min(0.0, *ys) if y_from_zero and not log_y else min(ys)
  y_axis = Axis(low, max(ys), log_y, _HEIGHT - _BOTTOM, _TOP, 6, loose=True)
  parts = [_frame(x_axis, y_axis, x_label, y_label)]
  for i, line in enumerate(series):
    kind = f'line {_colour(i)}' + (' dashed' if line.dashed else '')
    place = [
      f'{x_axis.place(x):.1f},{y_axis.place(y):.1f}' for x, y in line.points
    ]
    parts.append(f'<polyline class="{kind}" points="{" ".join(place)}"/>')
    if line.dots or len(line.points) == 1:
      parts += [
        f'<circle class="dot {_colour(i)}" r="3.2" '
        f'cx="{x_axis.place(x):.1f}" cy="{y_axis.place(y):.1f}"><title>'
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


def _colour(number: int) -> str:
  return f's{number % _NUM_COLOURS}'


def _legend(series: Sequence[Series]) -> str:
  """Return the names of lines beside a sample of each."""
  items = (
    f'<li><svg class="key" viewBox="0 0 24 8" aria-hidden="true"><path '
    f'class="line {_colour(i)}{" dashed" if line.dashed else ""}" d="M1 4H23"/>'
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
  x_axis = Axis(edges[0], edges[-1], False, _LEFT, _WIDTH - _RIGHT, 9)
  y_axis = Axis(0, max(*counts, 1), False, _HEIGHT - _BOTTOM, _TOP, 6, True)
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


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str) -> str:
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


def _number(value: float) -> str:
  """Return a number as short as it can be read: 1,200, 18.7, 0.05."""
  if abs(value) >= 1000 or value == round(value):
    return f'{value:,.0f}'
  return f'{value:.3g}'
