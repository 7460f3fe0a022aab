"""The gallery's frame and its data; the script does the rest."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrnn_jax.config import Config
from mrnn_jax.reports import gallery as gallery_lib
from mrnn_jax.reports import page_parts
from mrnn_jax.reports import photos as photos_lib
from mrnn_jax.reports.sections.commands import command
from mrnn_jax.reports.sections.retrieval import can_rank, writes


def section(
  config: Config,
  gallery: gallery_lib.Gallery | None,
  photos: photos_lib.Photos | None,
  remarks: Sequence[str],
  evaluation: Mapping[str, Any] | None,
) -> str:
  """Return the gallery's frame and its data; the script does the rest."""
  # What somebody may do to see more stands above the photos, the rest below.
  notes, below = [], [page_parts.note(remark) for remark in remarks]
  if not gallery:
    return page_parts.section('Images', ''.join(below), 'images')
  if not gallery.captions and (not evaluation or writes(evaluation)):
    notes.append(
      page_parts.note(
        'No captions have been written for this split. This does it:',
        command('caption', config),
      )
    )
  if not gallery.queries and (not evaluation or can_rank(evaluation)):
    notes.append(
      page_parts.note(
        'No sentences have been ranked for this split. This does it:',
        command('retrieve', config),
      )
    )
  if not photos:
    notes.append(
      page_parts.note(
        'Photos are shown where their folder is named:',
        f'{command("report", config)} --photos=DIR',
      )
    )
  else:
    below += [
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
    + ''.join(below)
  )
  return page_parts.section('Images', body, 'images')
