"""The results page of a workdir: ``report.html``, one file that opens anywhere.

Everything on it comes from files that other tasks write; a part whose file is
not there is replaced by a line that says which command makes it.
"""

from collections.abc import Mapping
import pathlib
from typing import Any

from etils import epath

from mrnn_jax.config import Config
from mrnn_jax.reports import evaluation_file, page_parts
from mrnn_jax.reports import gallery as gallery_lib
from mrnn_jax.reports import photos as photos_lib
from mrnn_jax.reports.sections import images, measures, retrieval, training
from mrnn_jax.reports.sections.commands import command
from mrnn_jax.runtime import files
from mrnn_jax.runtime.errors import InputError

PAGE_FILE = 'report.html'


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
      # First what is seen at a glance, then what it comes to.
      images.section(config, gallery, photos, remarks, evaluation),
      measures.section(config, evaluation),
      training.section(config),
      retrieval.section(config, evaluation),
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


def _read_evaluation(config: Config) -> dict[str, Any] | None:
  """Return what evaluation.json holds, None where it is not there."""
  path = files.result_path(config.workdir, config.split, 'evaluation.json')
  if not path.exists():
    return None
  return evaluation_file.read(path, command('evaluate', config))


def _introduction(config: Config, evaluation: Mapping[str, Any] | None) -> str:
  """Return what stands below the heading: whence the numbers, and links."""
  text = f'Work directory {config.workdir}'
  if evaluation:
    text += f', model of step {evaluation["step"]:,}'
  links = ''.join(
    f'<a href="#{name}">{name.capitalize()}</a> '
    for name in ('images', 'measures', 'training', 'retrieval')
  )
  return (
    f'<p class="soft">{page_parts.escape(text)}</p>'
    f'<nav aria-label="Parts of the page">{links}</nav>'
  )
