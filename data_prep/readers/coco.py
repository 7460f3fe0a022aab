"""COCO's ``captions_*.json``, and anything else in that form.

``{"images": [{"id": 9, "file_name": ...}, ...], "annotations": [{"image_id":
9, "caption": ...}, ...]}``.  The files' names say the split (``train``,
``val``, ``test``); lists of names go before them.
"""

from typing import Any

from etils import epath

from data_prep import records
from data_prep.readers import gather, raw_files, splits
from mrnn_jax.data import image_names
from mrnn_jax.runtime import errors, json_files, messages

USUAL = ('captions_*.json',)


def read(raw: raw_files.RawFiles) -> records.RawDataset:
  """Read one or several caption files of COCO.

  Raises:
    InputError: a file is missing or malformed.
  """
  paths = raw.find_all('captions', USUAL, several=True)
  gatherer = gather.Gatherer(raw)
  for path in paths:
    _read_file(path, gatherer)
  return gatherer.finish(str(paths[0]))


def _read_file(path: epath.Path, gatherer: gather.Gatherer):
  """Gather the captions of one file, each image's in the file's order."""
  content = json_files.read_object(path)
  split = splits.of_file(path.name)
  names = {}
  for where, image in _objects(path, content, 'images'):
    names[_id(image, 'id', where)] = image_names.as_name(
      image.get('file_name'), where
    )
  captioned = set()
  for where, annotation in _objects(path, content, 'annotations'):
    image_id = _id(annotation, 'image_id', where)
    if image_id not in names:
      raise errors.InputError(
        f'{where} is about image {messages.listed([str(image_id)])}, which is'
        ' not among the "images": give the whole file.'
      )
    captioned.add(image_id)
    gatherer.add(names[image_id], [annotation.get('caption')], where, split)
  for image_id, name in names.items():
    if image_id not in captioned:
      gatherer.add(name, [], str(path))


def _objects(path: epath.Path, content: dict[str, Any], key: str):
  """Yield the place and the value of each object of a list in the file."""
  values = content.get(key)
  if not isinstance(values, list):
    raise errors.InputError(
      f'{path} has no list "{key}": give a captions_*.json of COCO.'
    )
  for number, value in enumerate(values):
    where = f'{path}, {key} {number},'
    if not isinstance(value, dict):
      raise errors.InputError(f'{where} is no JSON object.')
    yield where, value


def _id(value: dict[str, Any], key: str, where: str) -> int | str:
  """Return the id in an object: a whole number or text."""
  found = value.get(key)
  if isinstance(found, bool) or not isinstance(found, (int, str)):
    raise errors.InputError(f'{where} has no "{key}".')
  return found
