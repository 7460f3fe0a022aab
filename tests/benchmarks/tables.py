"""What was measured, as text."""

from collections.abc import Mapping, Sequence
import statistics
from typing import Any

from tests.benchmarks.harness import Growth, Result, Side

_HEADINGS = (
  'median',
  'best',
  'spread',
  'compile s',
  'peak MB',
  'GFLOP/s',
  'product',
  'share',
  'cores',
  'others',
)


def format_result(result: Result) -> str:
  """Return the table of a comparison.

  Columns: units a second (median and best of the turns, and their spread as a
  share of the median), seconds of compiling, peak memory of the process,
  GFLOP/s of the products that had to be done, GFLOP/s of the large product
  beside it, the share of it, how many cores this work kept busy, and how many
  other processes did.
  """
  first = result.sides[0]
  unit = first.set_up['unit']
  lines = [result.comparison.name]
  for side in result.sides:
    facts = {**side.set_up['sizes'], **side.facts}
    told = ', '.join(f'{k} {_number(v)}' for k, v in facts.items())
    lines.append(f'  {side.name}: {told}')
  headings = (f'{unit}/s', *_HEADINGS)
  rows = [headings] + [_cells(side) for side in result.sides]
  lines += _align(rows)
  lines += _verdicts(result)
  if result.agreement:
    same = 'results' if result.agrees else 'results are NOT the same'
    lines.append(f'  {same}: {result.agreement}')
  return '\n'.join(lines)


def _cells(side: Side) -> tuple[str, ...]:
  rates = [turn.rate for turn in side.turns]
  median = statistics.median(rates)
  reached = statistics.median(t.flops / t.seconds for t in side.turns)
  product = statistics.median(t.product for t in side.turns)
  share = statistics.median(t.share for t in side.turns)
  known = [t.others for t in side.turns if t.others is not None]
  compiling = side.set_up['compile_seconds']
  return (
    side.name,
    _number(median),
    _number(max(rates)),
    f'{(max(rates) - min(rates)) / median:.1%}',
    f'{compiling:.1f}' if compiling else '-',
    f'{side.peak_bytes / 1e6:,.0f}',
    f'{reached / 1e9:.1f}' if reached else '-',
    f'{product / 1e9:.1f}' if product else '-',
    f'{share:.0%}' if share else '-',
    f'{statistics.median(t.cores for t in side.turns):.1f}',
    f'{max(known):.1f}' if known else '-',
  )


def _verdicts(result: Result) -> list[str]:
  """Say how ours compares, and whether a floor is reached."""
  lines, comparison = [], result.comparison
  if whole := result.whole_seconds:
    told = ', '.join(f'{k} {v:,.1f} s' for k, v in whole.items())
    unit = result.sides[0].set_up['unit']
    lines.append(f'  all {comparison.whole:,} {unit}: {told}')
  if ratios := result.ratios:
    pairs = ', '.join(f'{ratio:.2f}' for ratio in ratios)
    lines.append(
      f'  ours to PyTorch, by pairs: {pairs}; best {max(ratios):.2f}, median '
      f'{statistics.median(ratios):.2f}'
      + _floor(max(ratios), comparison.floor, '.2f')
    )
  if comparison.share_floor:
    shares = [turn.share for turn in result.sides[0].turns]
    lines.append(
      f'  share of the product: best {max(shares):.0%}, median '
      f'{statistics.median(shares):.0%}'
      + _floor(max(shares), comparison.share_floor, '.0%')
    )
  return lines


def _floor(value: float, floor: float, form: str) -> str:
  if not floor:
    return ''
  reached = 'reached' if value >= floor else 'NOT reached'
  return f'; floor {floor:{form}}: {reached}'


def format_growth(growth: Growth, rows: Sequence[Mapping[str, Any]]) -> str:
  """Return the table of a growth: each size, and its cost to the one before."""
  unit = rows[0]['unit']
  cells = [(growth.name, 'seconds', 'times', f'{unit}/s', 'GFLOP/s', 'share')]
  before = None
  for row in rows:
    seconds = row['seconds']
    flops = row['flops'] / seconds
    share = f'{flops / row["product"]:.0%}' if row['product'] else '-'
    cells.append(
      (
        _number(row['size']),
        f'{seconds:.2f}',
        f'{seconds / before:.2f}' if before else '',
        _number(row['amount'] / seconds),
        f'{flops / 1e9:.1f}',
        share,
      )
    )
    before = seconds
  return '\n'.join(_align(cells))


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return [
    '  '
    + row[0].ljust(widths[0])
    + ''.join(
      '  ' + cell.rjust(width)
      for cell, width in zip(row[1:], widths[1:], strict=True)
    )
    for row in rows
  ]


def _number(value: Any) -> str:
  if isinstance(value, float):
    return f'{value:,.0f}' if value >= 1000 else f'{value:.3g}'
  return f'{value:,}' if isinstance(value, int) else str(value)
