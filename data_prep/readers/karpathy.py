"""Karpathy's ``dataset.json``: Flickr8K, Flickr30K or COCO with his splits.

``{"images": [{"filename": ..., "split": "train", "imgid": 0, "sentences":
[{"raw": ..., "tokens": [...]}, ...]}, ...]}``.  Sentences are read as people
wrote them (``raw``), or by their tokens where that is missing.
"""

from typing import Any

from data_prep import records
from data_prep.readers import gather, raw_files
from mrnn_jax.data import karpathy_file
from mrnn_jax.runtime import errors

USUAL = ('dataset.json', 'dataset_*.json')


def read(raw: raw_files.RawFiles) -> records.RawDataset:
  """Read a ``dataset.json``.

  Raises:
    InputError: it is missing or malformed.
  """
  paths = raw.find_all('captions', USUAL)
  files = [(path, karpathy_file.read_images(path)) for path in paths]
  names = iter(karpathy_file.name_images(files))
  gatherer = gather.Gatherer(raw)
  for path, images in files:
    for number, image in enumerate(images):
      where = f'{path}, image {number},'
      sentences = image.get('sentences')
      if not isinstance(sentences, list):
        raise errors.InputError(
          f'{where} has no list "sentences": give Karpathy\'s dataset.json.'
        )
      gatherer.add(
        next(names),
        [_sentence(sentence, where) for sentence in sentences],
        where,
        image.get('split'),
      )
  return gatherer.finish(str(paths[0]))


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
