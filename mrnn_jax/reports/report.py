"""The results page of a workdir: ``report.html``, one file that opens anywhere.

Everything on it comes from files that other tasks write; a part whose file is
not there is replaced by a line that says which command makes it.
"""

from collections.abc import Mapping, Sequence
import json
import pathlib
import re
import shlex
from typing import Any

from etils import epath

from mrnn_jax.config import Config
from mrnn_jax.evaluation import recall_curve
from mrnn_jax.reports import gallery as gallery_lib
from mrnn_jax.reports import page_parts, published
from mrnn_jax.reports import photos as photos_lib
from mrnn_jax.reports import tables as tables_lib
from mrnn_jax.runtime import files
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import log as log_lib

PAGE_FILE = 'report.html'

# Headings, paths in evaluation.json and formats of the tables of systems.
_CAPTION_COLUMNS = (
  ('PPL', ('perplexity', 'corpus'), '{:.2f}'),
  ('PPL, geometric', ('perplexity', 'geometric_mean'), '{:.2f}'),
  *((f'B-{n}', ('bleu', 'cumulative', n - 1), '{:.3f}') for n in (1, 2, 3, 4)),
  ('CIDEr-D', ('cider_d',), '{:.3f}'),
  ('ROUGE-L', ('rouge_l',), '{:.3f}'),
)
_RANK_COLUMNS = (
  ('R@1', 'r@1'),
  ('R@5', 'r@5'),
  ('R@10', 'r@10'),
  ('Med r', 'median_rank'),
)
_DIRECTIONS = {
  'image_to_text': 'Image to text',
  'image_to_text_perplexity': 'Image to text, by perplexity',
  'text_to_image': 'Text to image',
}


def write_page(config: Config) -> epath.Path:
  """Write the results page of a workdir.

  Args:
    config: the workdir, the split, the dataset, and the folder of its photos
      if it is at hand.

  Returns:
    The page's path.

  Raises:
    InputError: the workdir is not there, a file in it is broken, or the photos
      are not where they should be.
  """
  workdir = epath.Path(config.workdir).expanduser()
  if not workdir.is_dir():
    raise InputError(
      f'there is no workdir {config.workdir}: train a model there by '
      '--task=train_and_evaluate, or name another --workdir.'
    )
  evaluation = _read_evaluation(config)
  gallery, remarks = gallery_lib.load_gallery(config)
  photos = None
  if config.photos and gallery:
    photos = photos_lib.find_photos(
      config.photos, gallery.image_ids, config.workdir, config.thumbnail_size
    )
  model, dataset = (
    (evaluation['model'], evaluation['dataset'])
    if evaluation
    else (config.model, config.dataset)
  )
  body = '\n'.join(
    [
      _introduction(config, evaluation),
      _measures(config, evaluation),
      _training(config),
      _recall(config, evaluation),
      _gallery(config, gallery, photos, remarks, evaluation),
    ]
  )
  path = files.result_path(config.workdir, config.split, PAGE_FILE)
  files.write_text(
    path,
    page_parts.document(
      f'{model} on {dataset}, {config.split} split',
      body,
      _asset('page.js') if gallery else '',
      _asset('page.css'),
    ),
  )
  print(f'wrote {path} ({path.stat().length / 2**20:.1f} MB)')
  return path


def _asset(name: str) -> str:
  return pathlib.Path(__file__).with_name(name).read_text(encoding='utf-8')


def _command(task: str, config: Config) -> str:
  """Return the command that runs a task on the workdir."""
  words = ['python', '-m', 'mrnn_jax.main', f'--workdir={config.workdir}']
  words.append(f'--task={task}')
  if config.data_dir:
    words.append(f'--data_dir={config.data_dir}')
  if config.split != 'test':
    words.append(f'--split={config.split}')
  return shlex.join(words)


def _read_evaluation(config: Config) -> dict[str, Any] | None:
  """Return what evaluation.json holds, None where it is not there."""
  path = files.result_path(config.workdir, config.split, 'evaluation.json')
  if not path.exists():
    return None
  try:
    result = json.loads(path.read_text())
    # Everything that is read without asking.
    for key in ('dataset', 'model', 'split', 'step', 'convention'):
      result[key]
    result['convention'].items()
  except (ValueError, KeyError, TypeError, AttributeError) as error:
    raise InputError(
      f'{path} is not an evaluation ({type(error).__name__}: {error}): make it '
      f'again by "{_command("evaluate", config)}".'
    ) from error
  return result


def _introduction(config: Config, evaluation: Mapping[str, Any] | None) -> str:
  """Return what stands below the heading: whence the numbers, and links."""
  text = f'Work directory {config.workdir}'
  if evaluation:
    text += f', model of step {evaluation["step"]:,}'
  links = ''.join(
    f'<a href="#{name}">{name.capitalize()}</a> '
    for name in ('measures', 'training', 'retrieval', 'images')
  )
  return (
    f'<p class="soft">{page_parts.escape(text)}</p>'
    f'<nav aria-label="Parts of the page">{links}</nav>'
  )


def _measures(config: Config, evaluation: Mapping[str, Any] | None) -> str:
  """Return the tables of measures and the conventions behind them."""
  if not evaluation:
    body = page_parts.note(
      'This model has not been evaluated on this split. This does it:',
      _command('evaluate', config),
    )
    return page_parts.section('Measures', body, 'measures')
  compared = tables_lib.comparison(evaluation)
  captions = tables_lib.table_cells(compared, tables_lib.CAPTION_ROWS)
  body = page_parts.columns(
    page_parts.table(*captions, 'Captions'), _retrieval(compared)
  )
  systems = {
    f'{evaluation["model"]} (ours)': evaluation,
    **published.published_rows(evaluation['dataset']),
  }
  if len(systems) > 1:
    tables = _systems('Captions', systems, _CAPTION_COLUMNS)
    tables += _retrieval(systems, ('image_to_text', 'text_to_image'))
    body += (
      '<details class="published"><summary>All that was published on '
      f'{page_parts.escape(evaluation["dataset"])}</summary>'
      + page_parts.paragraph(
        'As published: features, vocabularies and conventions differ. The '
        "paper's B-2 and B-3 cannot be cumulative by the definition used here."
      )
      + tables
      + '</details>'
    )
  conventions = {
    name.replace('_', ' '): _plain(value)
    for name, value in evaluation['convention'].items()
  }
  body += '<h3>Conventions in force</h3>' + page_parts.facts(conventions)
  return page_parts.section('Measures', body, 'measures')


def _plain(value: Any) -> str:
  """Return a value of a convention as people write it."""
  if isinstance(value, Mapping):
    return ', '.join(_plain(x) for x in value.values() if x not in ('', None))
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if isinstance(value, int | float):
    return f'{value:,.12g}'
  if re.fullmatch(r'[0-9a-f]{64}', str(value)):
    return str(value)[:12]  # A checksum: its beginning tells it apart.
  return str(value)


def _retrieval(
  systems: Mapping[str, Mapping[str, Any] | None],
  directions: Sequence[str] = tuple(_DIRECTIONS),
) -> str:
  """Return a table of ranks for each direction that a system has."""
  tables = [
    _systems(
      _DIRECTIONS[direction],
      systems,
      [
        (heading, ('retrieval', direction, key), '{:.1f}')
        for heading, key in _RANK_COLUMNS
      ],
    )
    for direction in directions
  ]
  return f'<div class="tables">{"".join(tables)}</div>'


def _systems(
  caption: str,
  systems: Mapping[str, Mapping[str, Any] | None],
  columns: Sequence[tuple[str, Sequence[str | int], str]],
) -> str:
  """Return a table with a row for each system that has one of the columns.

  Where nothing of ours is there to compare with, there is no table.
  """
  rows = []
  for name, result in systems.items():
    values = [tables_lib.look_up(result, path) for _, path, _ in columns]
    if any(value is not None for value in values):
      cells = [
        None if value is None else form.format(value)
        for value, (_, _, form) in zip(values, columns, strict=True)
      ]
      rows.append([name, *cells])
  ours = [i for i, row in enumerate(rows) if row[0].endswith('(ours)')]
  if not ours:
    return ''
  head = ['', *(heading for heading, _, _ in columns)]
  return page_parts.table(head, rows, caption, marked=ours)


def _training(config: Config) -> str:
  """Return the curves of the training log."""
  lines = log_lib.read_log(epath.Path(config.workdir).expanduser())

  def points(key: str) -> list[tuple[float, float]]:
    return [
      (line['epoch'], line[key])
      for line in lines
      if 'epoch' in line and key in line
    ]

  charts = [
    page_parts.line_chart(
      [
        page_parts.Series('training, with dropout', points('train_perplexity')),
        page_parts.Series(
          'validation', points('validation_perplexity'), dots=True
        ),
      ],
      'Perplexity a word',
      'epoch',
      'perplexity',
      log_y=True,
    ),
    page_parts.line_chart(
      [page_parts.Series('cost of a step', points('cost'))],
      'Cost (eq. 6)',
      'epoch',
      'bits a word',
    ),
  ]
  if not any(charts):
    body = page_parts.note(
      'There is no training log here. Training writes it:',
      _command('train', config),
    )
  else:
    body = page_parts.columns(*filter(None, charts))
  return page_parts.section('Training', body, 'training')


def _recall(config: Config, evaluation: Mapping[str, Any] | None) -> str:
  """Return the recall curves of both directions (figure 3)."""
  curves = tables_lib.look_up(evaluation, ('retrieval', 'recall_curve'))
  if not curves:
    if evaluation and evaluation['model'] == 'rnn-base':
      body = page_parts.note('RNN-Base does not see the image: it cannot rank.')
    else:
      body = page_parts.note(
        'Retrieval has not been evaluated on this split. This does it:',
        _command('evaluate', config),
      )
    return page_parts.section('Retrieval', body, 'retrieval')
  charts = []
  for direction, (title, things) in recall_curve.DIRECTIONS.items():
    curve = curves[direction]
    charts.append(
      page_parts.line_chart(
        [
          page_parts.Series(evaluation['model'], recall_curve.points(curve)),
          page_parts.Series(
            'chance', recall_curve.by_chance(curve), dashed=True
          ),
        ],
        title,
        f'percent of all {things} retrieved',
        'mean number of true ones',
        log_x=True,
        y_from_zero=True,
      )
    )
  body = page_parts.columns(*charts) + page_parts.paragraph(
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


def _gallery(
  config: Config,
  gallery: gallery_lib.Gallery | None,
  photos: photos_lib.Photos | None,
  remarks: Sequence[str],
  evaluation: Mapping[str, Any] | None,
) -> str:
  """Return the gallery's frame and its data; the script does the rest."""
  notes = [page_parts.note(remark) for remark in remarks]
  if not gallery:
    return page_parts.section('Images', ''.join(notes), 'images')
  if not gallery.captions:
    notes.append(
      page_parts.note(
        'No captions have been written for this split. This does it:',
        _command('caption', config),
      )
    )
  can_rank = not evaluation or evaluation['model'] != 'rnn-base'
  if not gallery.queries and can_rank:
    notes.append(
      page_parts.note(
        'No sentences have been ranked for this split. This does it:',
        _command('retrieve', config),
      )
    )
  if not photos:
    notes.append(
      page_parts.note(
        'Photos are shown where their folder is named:',
        f'{_command("report", config)} --photos=DIR',
      )
    )
  else:
    notes += [
      page_parts.note(
        f'{len(ids):,} {"photo is" if len(ids) == 1 else "photos are"} '
        f'{what}, for example {ids[0]}.'
      )
      for ids, what in (
        (photos.missing, 'not in the folder of photos'),
        (photos.broken, 'broken'),
      )
      if ids
    ]
  body = (
    ''.join(notes)
    + '<div id="gallery"><noscript>'
    + page_parts.paragraph('The gallery needs JavaScript.')
    + '</noscript></div>'
    + page_parts.data_script('gallery-data', gallery.as_json(photos))
  )
  return page_parts.section('Images', body, 'images')
