"""Rows of the tables: means over seeds of what runs have measured.

A row is JSON: its name, whether it is published or ours, the commands that
made it, the convention, and the measures, each where ``MEASURED`` says.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mrnn_jax.reports import published
from mrnn_jax.reports.tables import look_up, mean_and_spread
from mrnn_jax.tables import per_image
from mrnn_jax.tables.runs import CONTEXT, REFERENCE, Run
from mrnn_jax.tables.systems import REFERENCE_SYSTEM

Row = dict[str, Any]

_WORDS = {
  'perplexity': ('perplexity', 'corpus'),
  'bleu': ('bleu', 'cumulative'),
  'cider_d': ('cider_d',),
  'rouge_l': ('rouge_l',),
}
_DIRECTIONS = ('image_to_text', 'text_to_image', 'image_to_text_perplexity')
# Name in a row -> path in what a run has measured.
MEASURED: dict[str, Any] = {
  **_WORDS,
  REFERENCE: {name: (REFERENCE, *path) for name, path in _WORDS.items()},
  CONTEXT: {name: (CONTEXT, *path) for name, path in _WORDS.items()},
  'retrieval': {name: ('retrieval', name) for name in _DIRECTIONS},
  'retrieval_shortlist': {
    name: ('retrieval_shortlist', name) for name in _DIRECTIONS
  },
}


def measures(result: Mapping[str, Any], paths: Mapping[str, Any]) -> Row:
  """Return what is there of a result, by the names of a row.

  Args:
    result: of a run, or in the form of evaluation.json.
    paths: name -> path, or further names.
  """
  row = {}
  for name, path in paths.items():
    value = (
      measures(result, path)
      if isinstance(path, Mapping)
      else look_up(result, path)
    )
    if value is not None and value not in ({}, []):
      row[name] = value
  return row


def combine(trees: Sequence[Any], how: Callable[[Sequence[float]], float]):
  """Combine numbers that stand at the same place of several trees.

  Args:
    trees: dictionaries and lists of numbers; what one lacks, the others have.
    how: the numbers there are -> one.
  """
  first = trees[0]
  if isinstance(first, Mapping):
    names = dict.fromkeys(name for tree in trees for name in tree)
    return {
      name: combine([tree[name] for tree in trees if name in tree], how)
      for name in names
    }
  if isinstance(first, list):
    return [combine(values, how) for values in zip(*trees, strict=True)]
  return how(trees)


def system_row(
  runs: Sequence[Run],
  results: Sequence[Mapping[str, Any]],
  reference: Mapping[str, Any] | None,
) -> Row:
  """Return the row of a system.

  Args:
    runs: those of its seeds that are done.
    results: what they have measured.
    reference: the first run of what others are compared with, or None.
  """
  system, first = runs[0].system, results[0]
  trees = [measures(result, MEASURED) for result in results]
  row = {
    'name': system.label,
    'key': system.key,
    'published': False,
    'command': ' && '.join(runs[0].commands()),
    'convention': first['convention'],
    'seeds': [run.seed for run in runs],
    'ranked_seeds': [run.seed for run in runs if run.ranked],
    'workdirs': [str(run.folder) for run in runs],
    **combine(trees, lambda values: mean_and_spread(values)[0]),
  }
  if len(runs) > 1:
    row['std'] = combine(trees, lambda values: mean_and_spread(values)[1])
  if CONTEXT in first:
    row['context_words'] = first[CONTEXT]['context_words']
  # Curves and differences are those of the first seed.
  ranked = next((x for x in results if x.get('retrieval')), None)
  if ranked:
    row['shortlist'] = ranked['shortlist']
    row['recall_curve'] = _curves(ranked)
  if reference is not None and system.key != REFERENCE_SYSTEM:
    row['difference'] = per_image.differences(
      first['per_image'], reference['per_image']
    )
  return row


def _curves(result: Mapping[str, Any]) -> dict[str, Any]:
  """Return the curves of figure 3: sentences of a shortlist, all images."""
  return {
    'image_to_text': result['retrieval_shortlist']['recall_curve'][
      'image_to_text'
    ],
    'text_to_image': result['retrieval']['recall_curve']['text_to_image'],
  }


def random_row(result: Mapping[str, Any]) -> Row:
  """Return the row of chance, computed exactly for the pool of a result."""
  return {
    'name': 'Random',
    'key': 'random',
    'published': False,
    'command': '(computed exactly for the pool, no run)',
    'convention': {
      name: result['convention'][name]
      for name in ('images', 'sentences', 'ties')
    },
    'shortlist': result['shortlist'],
    'retrieval': result['chance'],
    'retrieval_shortlist': result['chance_shortlist'],
  }


def published_rows(dataset: str) -> list[Row]:
  """Return what was published on a dataset, never as ours."""
  return [
    {
      'name': name,
      'published': True,
      'command': '',
      'convention': {'source': name.rpartition(', ')[2]},
      **measures(result, {**_WORDS, 'retrieval': MEASURED['retrieval']}),
    }
    for name, result in published.published_rows(dataset).items()
  ]


def table_rows(
  done: Mapping[str, Sequence[tuple[Run, Mapping[str, Any]]]], dataset: str
) -> list[Row]:
  """Return all rows: published ones first, then ours.

  Args:
    done: key of a system -> its runs that are done, with what they measured.
    dataset: its name.
  """
  reference = None
  if done.get(REFERENCE_SYSTEM):
    reference = done[REFERENCE_SYSTEM][0][1]
  rows = published_rows(dataset)
  for pairs in done.values():
    if pairs:
      runs, results = zip(*pairs, strict=True)
      rows.append(system_row(runs, results, reference))
  ranked = (
    result
    for pairs in done.values()
    for _, result in pairs
    if result.get('retrieval')
  )
  if (result := next(ranked, None)) is not None:
    rows.append(random_row(result))
  return rows
