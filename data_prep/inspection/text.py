"""What is in a dataset, as lines of text."""

from collections.abc import Iterator, Sequence
from typing import Any

from etils import epath

from data_prep.inspection import page, summary
from mrnn_jax.reports import tables

_BAR = 40


def lines(
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
      page.span(x.each),
      f'{x.mean_length:.1f}',
    ]
    for split, x in found.splits.items()
  ]
  head = ['split', 'images', 'captions', 'words', 'an image', 'words each']
  yield tables.format_rows(head, rows)
  for oddity in page.oddities(metadata):
    yield f'  ! {oddity}'
  yield '\nWords a caption, all splits'
  yield from _bars(page.all_lengths(found))
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
  facts = page.feature_facts(metadata, found.features)
  width = max(map(len, facts))
  for name, value in facts.items():
    yield f'  {name:<{width}}  {value}'
  for example in found.examples:
    yield f'\n{example.image_id} ({example.split})'
    for caption in example.captions:
      yield f'  {caption}'


def _bars(counts: Sequence[int]) -> Iterator[str]:
  """Yield a histogram as lines of text; the long tail is one line."""
  last = page.tail(counts)
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
