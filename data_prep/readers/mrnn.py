"""The lists of dictionaries that the authors' TF-mRNN trains on.

A ``.npy`` file holds a pickled list; each dictionary is one image, with
``file_name`` and ``sentences``, a list of sentences of which each is a list of
words (or a string).  The files' names say the split: ``anno_list_mscoco_``
``train_m_RNN``, ``modelVal_m_RNN`` (validation), ``crVal_m_RNN`` (the 1,000
images that the authors report on, here test).
"""

from collections.abc import Sequence
from typing import Any

from etils import epath
import numpy as np

from data_prep import records
from data_prep.readers import gather, object_arrays, raw_files, splits
from mrnn_jax.runtime import errors

USUAL = ('anno_list_*.npy', 'captions.npy')


def read(raw: raw_files.RawFiles) -> records.RawDataset:
  """Read one or several lists; an image may say its own ``split``.

  Raises:
    InputError: a file is missing, malformed, or would run code.
  """
  paths = raw.find_all('captions', USUAL, several=True)
  if not raw.captions:
    paths = _without_union(paths)
  gatherer = gather.Gatherer(raw)
  for path in paths:
    of_file = splits.of_file(path.name.lower().replace('crval', 'test'))
    for number, image in enumerate(_images(path)):
      where = f'{path}, image {number},'
      sentences = _get(image, 'sentences')
      # The authors' list of COCO's test images has none.
      if sentences is None:
        sentences = []
      if not isinstance(sentences, (list, tuple, np.ndarray)):
        raise errors.InputError(
          f'{where} has "sentences" that are no list of sentences.'
        )
      gatherer.add(
        _text(_get(image, 'file_name')),
        [_sentence(sentence, where) for sentence in sentences],
        where,
        _text(_get(image, 'split')) or of_file,
      )
  return gatherer.finish(str(paths[0]))


def _without_union(paths: Sequence[epath.Path]) -> list[epath.Path]:
  """Leave out the union of two lists where its parts are there as well."""
  parts = [p for p in paths if 'trainmodelval' not in p.name.lower()]
  has_train = any(splits.of_file(p.name) == 'train' for p in parts)
  return parts if has_train else list(paths)


def _images(path: epath.Path) -> list[dict[Any, Any]]:
  """Return the dictionaries of a file."""
  images = object_arrays.load(path)
  if not isinstance(images, list) or not images:
    raise errors.InputError(
      f'{path} holds no list of dictionaries: give a list as TF-mRNN has it.'
    )
  for number, image in enumerate(images):
    if not isinstance(image, dict) or _get(image, 'file_name') is None:
      raise errors.InputError(
        f'{path}, image {number}, is no dictionary with "file_name" and'
        ' "sentences".'
      )
  return images


def _get(image: dict[Any, Any], key: str) -> Any:
  """Look up a key, which is bytes if Python 2 has written it."""
  value = image.get(key, image.get(key.encode()))
  return object_arrays.value_of(value)


def _sentence(sentence: Any, where: str) -> Any:
  """Return a sentence as text, its words joined by spaces."""
  sentence = object_arrays.value_of(sentence)
  if isinstance(sentence, (list, tuple, np.ndarray)):
    words = [_text(word) for word in sentence]
    if not all(isinstance(word, str) for word in words):
      raise errors.InputError(f'{where} has a word that is no text.')
    return ' '.join(words)
  return _text(sentence)


def _text(value: Any) -> Any:
  """Return bytes as text, NumPy's scalars as Python's, all else as it is."""
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, bytes):
    try:
      return value.decode('utf-8')
    except UnicodeDecodeError:
      return value.decode('latin-1')
  return value
