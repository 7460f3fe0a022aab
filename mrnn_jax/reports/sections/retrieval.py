"""The recall curves of both directions, and how good P(w) has to be."""

from collections.abc import Mapping
from typing import Any

from mrnn_jax.config import Config
from mrnn_jax.evaluation import recall_curve
from mrnn_jax.models import MODELS
from mrnn_jax.reports import charts, page_parts
from mrnn_jax.reports import tables as tables_lib
from mrnn_jax.reports.sections.commands import command


def section(config: Config, evaluation: Mapping[str, Any] | None) -> str:
  """Return the recall curves of both directions (figure 3)."""
  curves = tables_lib.look_up(evaluation, ('retrieval', 'recall_curve'))
  if not evaluation or not curves:
    if evaluation and not can_rank(evaluation):
      body = page_parts.note(
        f'{evaluation["model"]} does not see the image: it cannot rank.'
      )
    else:
      body = page_parts.note(
        'Retrieval has not been evaluated on this split. This does it:',
        command('evaluate', config),
      )
    return page_parts.section('Retrieval', body, 'retrieval')
  drawn = []
  for direction, (title, things) in recall_curve.DIRECTIONS.items():
    curve = curves[direction]
    drawn.append(
      charts.line_chart(
        [
          charts.Series(evaluation['model'], recall_curve.points(curve)),
          charts.Series('chance', recall_curve.by_chance(curve), dashed=True),
        ],
        title,
        f'percent of all {things} retrieved',
        'mean number of true ones',
        log_x=True,
        y_from_zero=True,
      )
    )
  body = page_parts.columns(*drawn) + page_parts.paragraph(
    'Recall curves as in figure 3 of the paper; the axis is logarithmic, '
    'because the beginning of the list is what matters.'
  )
  effect = tables_lib.look_up(evaluation, ('retrieval', 'norm_images'))
  if effect:
    rows = [
      [
        K,
        *(f'{ranks[name]:.1f}' for name in ('r@1', 'r@5', 'r@10')),
        f'{ranks["median_rank"]:g}',
      ]
      for K, ranks in effect.items()
    ]
    body += page_parts.table(
      ['training images', 'R@1', 'R@5', 'R@10', 'Med r'],
      rows,
      'Image to text, by how many training images P(w) is estimated from '
      '(0: by perplexity)',
    )
  return page_parts.section('Retrieval', body, 'retrieval')


def can_rank(evaluation: Mapping[str, Any]) -> bool:
  """Say whether the model of an evaluation sees images, as far as is known."""
  model = MODELS.get(evaluation['model'])
  return model is None or model.sees_images


def writes(evaluation: Mapping[str, Any]) -> bool:
  """Say whether the model of an evaluation writes, as far as is known."""
  model = MODELS.get(evaluation['model'])
  return model is None or model.writes
