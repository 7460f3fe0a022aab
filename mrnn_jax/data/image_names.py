"""How images are called: the key under which everything meets."""

import re
from typing import Any

from mrnn_jax.runtime import errors, messages

_EXTENSION = re.compile(
  r'(?<=.)\.(?:jpe?g|png|gif|bmp|tiff?|webp|eng)$', re.IGNORECASE
)


def image_key(name: str) -> str:
  """Reduce an image's name to what identifies it, however it was spelled.

  Captions, split lists and feature files name the same image as ``25.jpg``,
  ``images/00/25.jpg`` or ``00/25``.  The key is the file name without an
  image extension, with the two-digit folder before it if there is one.

  Args:
    name: an image's name, with or without folders and extension.

  Returns:
    The key under which captions, splits and features meet.
  """
  *folders, name = name.strip().replace('\\', '/').split('/')
  name = _EXTENSION.sub('', name)
  # A two-digit folder is part of the name in IAPR TC-12; every other folder
  # only says where somebody keeps the files.
  if folders and re.fullmatch(r'\d\d', folders[-1]):
    return f'{folders[-1]}/{name}'
  return name


def as_name(value: Any, where: str) -> str:
  """Return an image's name: text or a whole number.

  Raises:
    InputError: it is neither, empty, or nothing that could be a name.
  """
  if isinstance(value, int) and not isinstance(value, bool):
    value = str(value) if abs(value) < 10**18 else ''
  if not isinstance(value, str):
    raise errors.InputError(
      f'{where} has no name of an image: it must be text or a whole number.'
    )
  name = value.strip()
  if not image_key(name) or not messages.is_name(name):
    raise errors.InputError(
      f'{where} has {messages.shorten(value)} where the name of an image should'
      ' be: correct it.'
    )
  return name
