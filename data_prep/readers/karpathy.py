"""Karpathy's ``dataset.json``: Flickr8K, Flickr30K or COCO with his splits.

``{"images": [{"filename": ..., "split": "train", "imgid": 0, "sentences":
[{"raw": ..., "tokens": [...]}, ...]}, ...]}``.  Sentences are read as people
wrote them (``raw``), or by their tokens where that is missing.
"""

from typing import Any

from etils import epath

from data_prep import messages, records
from data_prep.readers import files, gather
from mrnn_jax import errors

USUAL = ('dataset.json', 'dataset_*.json')


def read(raw: files.RawFiles) -> records.RawDataset:
  """Read a ``dataset.json``.

  Raises:
    InputError: it is missing or malformed.
  """
  paths = raw.find_all('captions', USUAL)
  gatherer = gather.Gatherer(raw)
  for path in paths:
    for number, image in enumerate(_images(path)):
      where = f'{path}, image {number},'
      sentences = image.get('sentences')
      if not isinstance(sentences, list):
        raise errors.InputError(
          f'{where} has no list "sentences": give Karpathy\'s dataset.json.'
        )
      gatherer.add(
        image.get('filename'),
        [_sentence(sentence, where) for sentence in sentences],
        where,
        image.get('split'),
      )
  return gatherer.finish(str(paths[0]))


def read_names(path: epath.Path) -> list[str]:
  """Return the images' names in the order of the columns of his features.

  Args:
    path: a ``dataset.json``; an image's column is its ``imgid``.

  Raises:
    InputError: it is malformed, or the columns are not 0, 1, 2, ...
  """
  images = _images(path)
  names: list[str | None] = [None] * len(images)
  for number, image in enumerate(images):
    where = f'{path}, image {number},'
    column = image.get('imgid', number)
    if (
      not isinstance(column, int)
      or not 0 <= column < len(names)
      or names[column] is not None
    ):
      raise errors.InputError(
        f'{where} has "imgid" {messages.shorten(str(column))}: it must number'
        ' the images, each once, from 0.'
      )
    names[column] = gather.as_name(image.get('filename'), where)
  return [name for name in names if name is not None]


def _images(path: epath.Path) -> list[dict[str, Any]]:
  """Return the images of the file."""
  images = files.read_json(path).get('images')
  if not isinstance(images, list) or not images:
    raise errors.InputError(
      f'{path} has no list "images": give Karpathy\'s dataset.json.'
    )
  for number, image in enumerate(images):
    if not isinstance(image, dict):
      raise errors.InputError(f'{path}, image {number}, is no JSON object.')
  return images


def _sentence(sentence: Any, where: str) -> Any:
  """Return a sentence as it was written, or its tokens joined."""
  if not isinstance(sentence, dict):
    raise errors.InputError(f'{where} has a sentence that is no JSON object.')
  if 'raw' in sentence:
    return sentence['raw']
  tokens = sentence.get('tokens')
  if not isinstance(tokens, list) or not all(
    isinstance(token, str) for token in tokens
  ):
    raise errors.InputError(
      f'{where} has a sentence with neither "raw" nor "tokens".'
    )
  return ' '.join(tokens)
