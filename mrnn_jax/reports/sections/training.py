"""The curves of the training log."""

from etils import epath

from mrnn_jax.config import Config
from mrnn_jax.models import MODELS
from mrnn_jax.reports import charts, page_parts
from mrnn_jax.reports.sections.commands import command
from mrnn_jax.training import log as log_lib
from mrnn_jax.training.objectives import CIDER, PERPLEXITY


def section(config: Config) -> str:
  """Return the curves of the training log."""
  lines = log_lib.read_log(epath.Path(config.workdir).expanduser())

  def points(key: str) -> list[tuple[float, float]]:
    return [
      (line['epoch'], line[key])
      for line in lines
      if 'epoch' in line and key in line
    ]

  rewards = points('train_reward')
  mixed = config.teacher or config.label_smoothing
  drawn = [
    charts.line_chart(
      [
        charts.Series('training, with dropout', points('train_perplexity')),
        charts.Series('validation', points(PERPLEXITY.key), dots=True),
      ],
      'Perplexity a word',
      'epoch',
      'perplexity',
      log_y=True,
    ),
    charts.line_chart(
      [
        charts.Series('training, samples', rewards),
        charts.Series('validation, greedy', points(CIDER.key), dots=True),
      ],
      'CIDEr-D',
      'epoch',
      'CIDEr-D',
    ),
    charts.line_chart(
      # A policy's cost says nothing: it is 0 on the average.
      [charts.Series('cost of a step', points('cost'))] * (not rewards),
      'Cost, with what is mixed in' if mixed else 'Cost (eq. 6)',
      'epoch',
      'bits a word',
    ),
  ]
  if not any(drawn) and MODELS[config.model].fitted:
    body = page_parts.note(
      f'{config.model} is fitted at one go, not step by step: it has no log.'
    )
  elif not any(drawn):
    body = page_parts.note(
      'There is no training log here. Training writes it:',
      command('train', config),
    )
  else:
    body = page_parts.columns(*filter(None, drawn))
  return page_parts.section('Training', body, 'training')
