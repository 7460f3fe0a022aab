"""Karpathy's ``dataset.json``: its images, and their order in his features."""

from collections.abc import Iterable
from typing import Any

from etils import epath

from mrnn_jax.data import image_names
from mrnn_jax.runtime import errors, json_files, messages


def read_names(path: epath.Path) -> list[str]:
  """Return the images' names in the order of the columns of his features.

  Args:
    path: a ``dataset.json``; an image's column is its ``imgid``.

  Raises:
    InputError: it is malformed, or the columns are not 0, 1, 2, ...
  """
  images = read_images(path)
  names: list[str | None] = [None] * len(images)
  for number, (name, image) in enumerate(
    zip(name_images([(path, images)]), images, strict=True)
  ):
    column = image.get('imgid', number)
    if (
      not isinstance(column, int)
      or not 0 <= column < len(names)
      or names[column] is not None
    ):
      raise errors.InputError(
        f'{path}, image {number}, has "imgid" {messages.shorten(str(column))}:'
        ' it must number the images, each once, from 0.'
      )
    names[column] = name
  return [name for name in names if name is not None]


def name_images(
  files: Iterable[tuple[epath.Path, list[dict[str, Any]]]],
) -> list[str]:
  """Name the images of files that belong together, one after another.

  Args:
    files: path and images of each.

  Returns:
    Their ``filename``, with ``filepath`` before it where two folders have a
    file of that name.

  Raises:
    InputError: an image has no name.
  """
  found = []  # Place, folder and file name of each.
  first: dict[str, str] = {}  # Key of the file name -> folder.
  shared = set()
  for path, images in files:
    for number, image in enumerate(images):
      where = f'{path}, image {number},'
      name = image_names.as_name(image.get('filename'), where)
      folder = str(image.get('filepath') or '')
      found.append((where, folder, name))
      key = image_names.image_key(name)
      if first.setdefault(key, folder) != folder:
        shared.add(key)
  return [
    image_names.as_name(f'{folder}/{name}', where)
    if folder and image_names.image_key(name) in shared
    else name
    for where, folder, name in found
  ]


def read_images(path: epath.Path) -> list[dict[str, Any]]:
  """Return the images of the file."""
  images = json_files.read_object(path).get('images')
  if not isinstance(images, list) or not images:
    raise errors.InputError(
      f'{path} has no list "images": give Karpathy\'s dataset.json.'
    )
  for number, image in enumerate(images):
    if not isinstance(image, dict):
      raise errors.InputError(f'{path}, image {number}, is no JSON object.')
  return images
