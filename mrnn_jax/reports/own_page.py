"""A page of one's own photos: captions or rankings, in one file.

It is made of the lines that ``--task=caption`` and ``--task=rank`` write, and
holds the photos, so that it can be sent as it is.
"""

from collections.abc import Mapping, Sequence
import os
import pathlib
from typing import Any

from etils import epath

from mrnn_jax.reports import page_parts
from mrnn_jax.reports import photos as photos_lib
from mrnn_jax.runtime import files

Line = Mapping[str, Any]
_SUFFIXES = ('.html', '.htm')
# The longer side of the photos in the page, in pixels.
_SIZE = 400


def is_page(output: str) -> bool:
  """Return whether a name is that of a page."""
  return output.lower().endswith(_SUFFIXES)


def write(
  output: str,
  image_ids: Sequence[str],
  lines: Sequence[Line],
  paths: Mapping[str, str],
  calibration: Mapping[str, Any] | None = None,
) -> epath.Path:
  """Write the page; return its path.

  Args:
    output: where.
    image_ids: [N] what the images are called, each but once.
    lines: captions, one line an image; or rankings, of images and sentences.
    paths: the photos' files by name; {} where there are features alone.
    calibration: of the model that wrote the captions, if it has one.
  """
  path = epath.Path(output).expanduser()
  photos = None
  if paths:
    photos = photos_lib.show(
      [pathlib.Path(paths[x]) if x in paths else None for x in image_ids],
      image_ids,
      os.fspath(path.parent),
      _SIZE,
    )
  ranked = bool(lines) and 'query' in lines[0]
  content = page_content(image_ids, lines)
  content |= {
    'thumbnails': photos.thumbnails if photos else None,
    'links': photos.links if photos else None,
  }
  count = f'{len(image_ids):,} photo{"" if len(image_ids) == 1 else "s"}'
  title = f'{count}, {"ranked" if ranked else "captioned"}'
  body = '\n'.join(
    [
      *map(page_parts.paragraph, _explanations(lines, ranked, calibration)),
      '<div id="own"><noscript>'
      + page_parts.paragraph('This page needs JavaScript.')
      + '</noscript></div>',
      page_parts.data_script('own-data', content),
    ]
  )
  page = page_parts.document(
    title, body, _asset('own_page.js'), _asset('own_page.css')
  )
  files.write_text(path, page)
  return path


def page_content(
  image_ids: Sequence[str], lines: Sequence[Line]
) -> dict[str, Any]:
  """Return what the page's script reads.

  Returns:
    'images', each with 'id', its 'captions' or the sentences 'found' for it;
    'sentences' with the images 'found' for them.  Both are named by their
    numbers.
  """
  number = {image_id: i for i, image_id in enumerate(image_ids)}
  images: list[dict[str, Any]] = [{'id': x} for x in image_ids]
  sentences: list[dict[str, Any]] = []
  for line in lines:
    if line.get('query') == 'sentence':
      found = [[number[x['image_id']], _round(x['score'])] for x in line['top']]
      sentences.append({'text': line['caption'], 'found': found})
    elif 'query' in line:
      images[number[line['image_id']]]['found'] = [
        [x['caption'], _round(x['score'])] for x in line['top']
      ]
    else:
      images[number[line['image_id']]] |= {
        'captions': [_caption(x) for x in line.get('nbest', [line])],
        'unfamiliar': line.get('unfamiliar', False),
      }
  return {'images': images, 'sentences': sentences}


def _caption(hypothesis: Line) -> dict[str, Any]:
  caption = {
    'text': hypothesis['caption'],
    'logProb': _round(hypothesis['log_prob']),
    'perplexity': _round(hypothesis['perplexity']),
    'cut': hypothesis['cut'],
  }
  if 'confidence' in hypothesis:
    caption['confidence'] = round(hypothesis['confidence'], 3)
  return caption


def _round(value: float) -> float:
  return round(value, 2)


def _explanations(
  lines: Sequence[Line], ranked: bool, calibration: Mapping[str, Any] | None
) -> list[str]:
  """Return what the reader has to know of the numbers, a sentence each."""
  if ranked:
    return [
      'Sentences stand below each photo, the best first; photos below each '
      'sentence, further down. Scores compare within one list.'
    ]
  if not lines or 'confidence' not in lines[0] or not calibration:
    return []
  return [
    'The percentage is the chance that a caption is good: that its CIDEr-D, '
    'beside what people would write, is above '
    f'{calibration["threshold"]:g}. It was measured on photos like those that '
    'the model was trained on. A photo marked as unfamiliar is unlike them: '
    'do not trust its caption.'
  ]


def _asset(name: str) -> str:
  return pathlib.Path(__file__).with_name(name).read_text(encoding='utf-8')
