"""The page about a dataset, and what it shares with the text about it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath
import numpy as np

from data_prep.inspection import summary
from mrnn_jax.reports import charts
from mrnn_jax.reports import page_parts as parts
from mrnn_jax.runtime import messages

_STYLE = """
.examples { display: grid; gap: 1rem 2rem; padding: 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 22rem), 1fr)); }
.examples h3 { overflow-wrap: anywhere; margin: 0; }
.examples ul { margin: .2rem 0; padding-left: 1.1rem; }
"""
# Captions longer than all but one in a thousand are shown as one bar.
_TAIL = 0.001
_NORM_BINS = 40


def render(
  path: epath.Path, metadata: Mapping[str, Any], found: summary.Summary
) -> str:
  """Return the page about a dataset, complete in itself.

  Args:
    path: of the dataset.
    metadata: what is stored beside the records.
    found: what is in it.
  """
  body = [
    f'<p><code>{parts.escape(path)}</code></p>',
    parts.section('What is in it', _counts(found)),
    parts.section('Sentences', _sentences(found)),
    parts.section('Vocabulary', _vocabulary(found)),
    parts.section('Features', _features(metadata, found.features)),
  ]
  notes = list(oddities(metadata))
  if notes:
    items = ''.join(f'<li>{parts.escape(text)}</li>' for text in notes)
    body.insert(2, parts.section('Noticed in building', f'<ul>{items}</ul>'))
  if found.examples:
    body.append(parts.section('Examples', _examples(found.examples)))
  title = f'Dataset {path.parent.name}'
  return parts.document(title, '\n'.join(body), extra_style=_STYLE)


def _counts(found: summary.Summary) -> str:
  rows = [
    [
      split,
      f'{x.images:,}',
      f'{x.captions:,}',
      f'{x.words:,}',
      span(x.each),
      f'{x.mean_length:.1f}',
      len(x.lengths) - 1,
    ]
    for split, x in found.splits.items()
  ]
  head = (
    'split',
    'images',
    'captions',
    'words',
    'captions an image',
    'words a caption',
    'longest',
  )
  return parts.table(head, rows)


def _sentences(found: summary.Summary) -> str:
  counts = list(all_lengths(found))
  last = tail(counts)
  shown = counts[: last + 1]
  chart = charts.histogram(
    [i - 0.5 for i in range(len(shown) + 1)],
    shown,
    'Words a caption',
    'words',
    'captions',
  )
  longer = sum(counts[last + 1 :])
  note = ''
  if longer:
    note = parts.paragraph(
      f'{messages.counted(longer, "caption")} '
      f'{"is" if longer == 1 else "are"} longer, up to {len(counts) - 1} words.'
    )
  return chart + note


def _vocabulary(found: summary.Summary) -> str:
  splits = list(found.splits)
  table = parts.table(
    ['seen at least', 'words', *splits],
    [
      [
        f'{x.threshold} times' if x.threshold > 1 else 'once',
        f'{x.size:,}',
        *(f'{100 * x.unknown[split]:.2f}%' for split in splits),
      ]
      for x in found.cuts
    ],
    'Words seen at least so often in training, and the share of words that are'
    ' unknown then',
  )
  growth = charts.line_chart(
    [charts.Series('distinct words', found.growth)],
    'Growth of the vocabulary',
    'training captions read',
    'distinct words',
    y_from_zero=True,
  )
  frequent = ', '.join(f'{word} ({n:,})' for word, n in found.frequent)
  return parts.columns(growth, table) + parts.paragraph(
    f'Most frequent: {frequent}.'
  )


def _features(
  metadata: Mapping[str, Any], features: summary.FeatureSummary | None
) -> str:
  chart = ''
  if features and len(features.norms):
    counts, edges = np.histogram(features.norms, _NORM_BINS)
    chart = charts.histogram(
      edges.tolist(), counts.tolist(), 'Norms of the features', 'norm', 'images'
    )
  named = [
    parts.paragraph(f'{what}: {", ".join(summary.name_some(images))}.')
    for what, images in _doubtful(features).items()
    if images
  ]
  facts = parts.facts(feature_facts(metadata, features))
  return ''.join([facts, *named, chart])


def _examples(examples: Sequence[summary.Example]) -> str:
  items = []
  for example in examples:
    captions = ''.join(f'<li>{parts.escape(c)}</li>' for c in example.captions)
    items.append(
      f'<article><h3>{parts.escape(example.image_id)}</h3>'
      f'<span class="soft">{parts.escape(example.split)}</span>'
      f'<ul>{captions}</ul></article>'
    )
  return f'<div class="examples">{"".join(items)}</div>'


def feature_facts(
  metadata: Mapping[str, Any], features: summary.FeatureSummary | None
) -> dict[str, str]:
  """Return what is to be said of features and photos, by its name."""
  encoder = metadata.get('encoder')
  name = encoder.get('name', 'unknown') if isinstance(encoder, dict) else ''
  facts = {'encoder': str(name or 'unknown')}
  if side := metadata.get('photo_size'):
    facts['photos'] = f'{side} x {side} pixels'
  if features is None:
    return facts
  if flips := metadata.get('view_flips'):
    facts['views of an image'] = f'{len(flips)} (told of the first)'
  norms = features.norms if len(features.norms) else np.zeros(1)
  facts |= {
    'numbers each': f'{features.dim:,} {features.dtype}',
    'mean': f'{features.mean:.4g}',
    'deviation': f'{features.std:.4g}',
    'least and greatest': f'{features.low:.4g} to {features.high:.4g}',
    'zeros': f'{100 * features.zeros:.1f}%',
    'norm': f'{norms.mean():.4g} ({norms.min():.4g} to {norms.max():.4g})',
    'the same for all images': f'{features.constant:,} of {features.dim:,}',
  }
  counts = _doubtful(features).items()
  return facts | {what: f'{len(images):,}' for what, images in counts}


def _doubtful(
  features: summary.FeatureSummary | None,
) -> dict[str, Sequence[str]]:
  """Return the images whose features deserve a look, by the reason."""
  if features is None:
    return {}
  return {
    'images with the feature of another': features.duplicates,
    'images with numbers not finite': features.not_finite,
  }


def oddities(metadata: Mapping[str, Any]) -> Iterator[str]:
  """Yield what the build has noticed, a line each."""
  noticed = metadata.get('oddities')
  for oddity in noticed if isinstance(noticed, list) else []:
    names = ', '.join(str(x) for x in oddity['names'][:3])
    more = ', ...' if oddity['count'] > 3 else ''
    yield f'{oddity["what"]}: {oddity["count"]:,} ({names}{more})'


def all_lengths(found: summary.Summary) -> Sequence[int]:
  """Return how many captions of all splits have so many words."""
  longest = max(len(x.lengths) for x in found.splits.values())
  total = np.zeros(longest, int)
  for split in found.splits.values():
    total[: len(split.lengths)] += split.lengths
  return total.tolist()


def tail(counts: Sequence[int]) -> int:
  """Return the length up to which captions are shown one by one."""
  total, passed = sum(counts), 0
  for length, number in enumerate(counts):
    passed += number
    if passed >= (1 - _TAIL) * total:
      return length
  return len(counts) - 1


def span(each: Sequence[int]) -> str:
  """Return how many captions images have: '5', or '1 to 7'."""
  there = [i for i, number in enumerate(each) if number]
  if not there:
    return '0'
  low, high = there[0], there[-1]
  return f'{low}' if low == high else f'{low} to {high}'
