"""What the gallery of a results page shows, from the files of a workdir.

``Gallery.as_json`` is read by ``page.js``: sentences and images are named by
their index, so that each text and picture is in the page once.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

from etils import epath

from mrnn_jax import metrics as metrics_lib
from mrnn_jax.config import Config
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import tokenize
from mrnn_jax.reports.photos import Photos
from mrnn_jax.runtime import files, json_files, json_forms
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.json_forms import NUMBER

Line = Mapping[str, Any]
_REMEDY = 'write the file again'
_CAPTION = {
  'caption': str,
  'log_prob': NUMBER,
  'perplexity': NUMBER,
  'cut': bool,
}
_CAPTION_LINE = {'image_id': str, **_CAPTION, 'nbest?': [_CAPTION]}
_FOUND = {'image_id': str, 'score': NUMBER, 'caption?': str}
_QUERY = {'query': str, 'image_id': str, 'rank': NUMBER}
_IMAGE_LINE = {**_QUERY, 'top': [{**_FOUND, 'caption': str}]}
_SENTENCE_LINE = {**_QUERY, 'caption': str, 'top': [_FOUND]}


@dataclasses.dataclass(frozen=True)
class Gallery:
  """The images of a split, what people wrote, and what the model did.

  Attributes:
    image_ids: [N].
    references: [N] lists of sentences.
    captions: lines of captions.jsonl by image id; {} without that file.
    queries: lines of retrieval.jsonl; [] without that file.
  """

  image_ids: list[str]
  references: list[list[str]]
  captions: dict[str, Line]
  queries: list[Line]

  def as_json(self, photos: Photos | None) -> dict[str, Any]:
    """Return all that the page's script needs."""
    index = {image_id: i for i, image_id in enumerate(self.image_ids)}
    sentences: list[dict[str, Any]] = [
      {'text': text, 'image': i}
      for i, texts in enumerate(self.references)
      for text in texts
    ]
    # Of one image two may be the same.
    numbers: dict[tuple[int, str], list[int]] = {}
    for k, s in enumerate(sentences):
      numbers.setdefault((s['image'], s['text']), []).append(k)
    images: list[dict[str, Any]] = [{'id': x} for x in self.image_ids]
    for query in self.queries:
      i = index[query['image_id']]
      if query['query'] == 'image':
        images[i]['rank'] = query['rank']
        images[i]['found'] = [
          [numbers[index[x['image_id']], x['caption']][0], round(x['score'], 2)]
          for x in query['top']
        ]
      else:
        found = [
          [index[x['image_id']], round(x['score'], 2)] for x in query['top']
        ]
        for k in numbers[i, query['caption']]:
          sentences[k] |= {'rank': query['rank'], 'found': found}
    for image_id, line in self.captions.items():
      images[index[image_id]]['captions'] = [
        {
          'text': x['caption'],
          'logProb': round(x['log_prob'], 2),
          'perplexity': round(x['perplexity'], 2),
          'cut': x['cut'],
        }
        for x in line.get('nbest', [line])
      ]
    for i, measures in self._measures().items():
      images[i] |= measures
    return {
      'images': images,
      'sentences': sentences,
      'links': photos.links if photos else None,
      'thumbnails': photos.thumbnails if photos else None,
    }

  def _measures(self) -> dict[int, dict[str, float]]:
    """Return CIDEr-D and ROUGE-L of the captions of images, by index."""
    places, hypotheses, references = [], [], []
    for i, image_id in enumerate(self.image_ids):
      texts = [' '.join(tokenize(text)) for text in self.references[i]]
      texts = [text for text in texts if text]
      if image_id in self.captions and texts:
        places.append(i)
        hypotheses.append(
          ' '.join(tokenize(self.captions[image_id]['caption']))
        )
        references.append(texts)
    if not places:
      return {}
    return {
      i: {'cider': round(float(cider), 3), 'rouge': round(float(rouge), 3)}
      for i, cider, rouge in zip(
        places,
        metrics_lib.cider_d(hypotheses, references),
        metrics_lib.rouge_l(hypotheses, references),
        strict=True,
      )
    }


def load_gallery(config: Config) -> tuple[Gallery | None, list[str]]:
  """Read a gallery from a workdir and the dataset that it is about.

  Returns:
    The gallery, None where nothing can be shown; and what the reader should
    know, a sentence each.

  Raises:
    InputError: a file is broken, or speaks of images or sentences that the
      dataset lacks.
  """
  captions = {
    line['image_id']: line
    for line in read_lines(
      files.result_path(config.workdir, config.split, 'captions.jsonl'),
      lambda line: _CAPTION_LINE,
    )
  }
  queries = read_queries(
    files.result_path(config.workdir, config.split, 'retrieval.jsonl')
  )
  remarks = []
  try:
    dataset = datasets.open_dataset(config.dataset, config.data_dir)
    split = datasets.load_split(
      dataset,
      config.split,
      dataset.vocabulary(config.min_word_count),
      config.feature_cache_mb,
    )
    references = dict(zip(split.image_ids, split.captions, strict=True))
    origin = f'the {config.split} split in {dataset.path}'
  except InputError as error:
    if not queries and not captions:
      return None, [f'No images can be shown, because {error}']
    remarks.append(f"People's sentences are those that were ranked: {error}")
    references = {image_id: [] for image_id in captions}
    for query in queries:
      texts = references.setdefault(query['image_id'], [])
      if query['query'] == 'sentence':
        texts.append(query['caption'])
    origin = 'retrieval.jsonl'
  _check_known(references, captions, queries, origin)
  return (
    Gallery(list(references), list(references.values()), captions, queries),
    remarks,
  )


def _check_known(
  references: Mapping[str, Sequence[str]],
  captions: Mapping[str, Line],
  queries: Sequence[Line],
  origin: str,
) -> None:
  """Raise InputError where results speak of what the references lack."""
  for image_id in captions:
    if image_id not in references:
      raise InputError(
        f'captions.jsonl has the image {image_id!r}, which {origin} lacks: '
        'write it again by --task=caption.'
      )
  known = {(i, text) for i, texts in references.items() for text in texts}
  for query in queries:
    named = {query['image_id'], *(x['image_id'] for x in query['top'])}
    if not named <= references.keys():
      raise InputError(
        f'retrieval.jsonl has the image {min(named - references.keys())!r}, '
        f'which {origin} lacks: write it again by --task=retrieve.'
      )
    texts = {
      (x['image_id'], x['caption']) for x in query['top'] if 'caption' in x
    }
    if query['query'] == 'sentence':
      texts.add((query['image_id'], query['caption']))
    if not texts <= known:
      raise InputError(
        f'retrieval.jsonl has the sentence {min(texts - known)[1]!r}, which '
        f'{origin} lacks: write it again by --task=retrieve.'
      )


def read_queries(path: epath.Path) -> list[Line]:
  """Read the lines of retrieval.jsonl, see ``read_lines``."""
  return read_lines(
    path,
    lambda x: _IMAGE_LINE if x.get('query') == 'image' else _SENTENCE_LINE,
  )


def read_lines(
  path: epath.Path, form: Callable[[Line], json_forms.Form]
) -> list[Line]:
  """Read records, one a line of JSON; [] where there is no such file.

  Args:
    path: the file.
    form: returns what a line should look like.

  Raises:
    InputError: a line is no record of this form.
  """
  if not path.exists():
    return []
  lines: list[Line] = []
  for number, line in json_files.read_lines(path, _REMEDY):
    if wrong := json_forms.misfit(line, form(line)):
      raise InputError(f'{path}:{number} {wrong}: {_REMEDY}.')
    lines.append(line)
  return lines
