"""How images are called, and how a name finds its image.

An image's id is its path: ``cats/1.jpg`` and ``dogs/1.jpg`` are two images.
Captions, split lists and features may begin their paths in different folders,
so that one says ``1.jpg`` or ``/home/me/photos/cats/1.jpg`` where another says
``cats/1.jpg``.  ``Names`` finds them, as long as only one can be meant.
"""

import bisect
from collections.abc import Iterable
import re
from typing import Any

from mrnn_jax.runtime import errors, messages

_EXTENSION = re.compile(
  r'(?<=.)\.(?:jpe?g|png|gif|bmp|tiff?|webp|eng)$', re.IGNORECASE
)
# Candidates that a message names.
_NAMED = 3


def image_key(name: str) -> str:
  """Reduce an image's name to its path, however it was spelled.

  Args:
    name: an image's name, with or without folders and extension.

  Returns:
    The path with slashes, without ``./`` and an image extension; '' for what
    names no file.
  """
  *folders, base = name.strip().replace('\\', '/').split('/')
  base = _EXTENSION.sub('', base)
  if base in ('', '.', '..'):
    return ''
  return '/'.join([*(x for x in folders if x not in ('', '.')), base])


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


class AmbiguousNameError(errors.InputError):
  """A name that fits several images.

  Attributes:
    fits: the images, 'b/a or c/a'.
  """

  def __init__(self, name: str, candidates: Iterable[str], count: int):
    """Name the candidates, or the first few of ``count``."""
    shown = [errors.printable(x) for x in candidates]
    more = count - len(shown)
    last = f'{more:,} more' if more else shown.pop()
    self.fits = f'{", ".join(shown)} or {last}'
    super().__init__(
      f'{errors.printable(name)} could be {self.fits}: name it with its folder.'
    )


class Names:
  """The names of images, found by any name that can mean only one of them.

  A name finds the image of the same path; else the only one whose path ends
  in it, or that it ends in, where folders count whole.  ``cats/1`` never finds
  ``dogs/1``, however alone that is.
  """

  def __init__(self, names: Iterable[str] = ()):
    """Take the names of images, numbered from 0."""
    self._names: list[str] = []
    self._numbers: dict[str, int] = {}
    # Number -> the longest name of another path by which it was claimed.
    self._claims: dict[int, str] = {}
    # The paths with folders, last parts first, sorted; made when needed.
    self._turned: list[str] = []
    self._is_turned = False
    for name in names:
      self.add(name)

  def __len__(self) -> int:
    """How many different images there are."""
    return len(self._numbers)

  def spelled(self, number: int) -> str:
    """Return a name as it was added."""
    return self._names[number]

  def numbers(self) -> Iterable[int]:
    """Return the number of each image, in order."""
    return self._numbers.values()

  def add(self, name: str) -> int:
    """Add a name.

    Returns:
      Its number, or that of the same path if it was there before; either way
      the next one gets the next number.
    """
    number = self._numbers.setdefault(image_key(name), len(self._names))
    self._names.append(name)
    self._is_turned = False
    return number

  def find(self, name: str) -> int | None:
    """Return the number of the image that a name means, None for no image.

    Raises:
      AmbiguousNameError: it could mean several.
    """
    key = image_key(name)
    number = self._numbers.get(key)
    if number is not None or not key:
      return number
    # With more folders than here: the longest end of it that is a path here.
    end = key
    while number is None and '/' in end:
      end = end.partition('/')[2]
      number = self._numbers.get(end)
    if number is None:
      end = key
    # Those with more folders than that.
    below = self._ending_in(end)
    if number is not None and not below:
      return number
    if number is None and len(below) <= 1:
      return self._number(below[0]) if below else None
    found = [] if number is None else [number]
    found += map(self._number, below[: _NAMED - len(found)])
    count = len(below) + (number is not None)
    raise AmbiguousNameError(name, [self.spelled(x) for x in found], count)

  def claim(self, name: str) -> int | None:
    """Find, but let names in different folders never find one image.

    Where this side knows ``1.jpg`` alone, ``cats/1.jpg`` finds it; when
    ``dogs/1.jpg`` comes as well, one of them is wrong.

    Raises:
      AmbiguousNameError: the name could mean several.
      InputError: another name has claimed the image.
    """
    number = self.find(name)
    key = image_key(name)
    if number is None or key in self._numbers:
      return number
    other = self._claims.setdefault(number, name)
    short, long = sorted((image_key(other), key), key=len)
    if short != long and not long.endswith(f'/{short}'):
      raise errors.InputError(
        f'{errors.printable(other)} and {errors.printable(name)} would both be'
        f' {errors.printable(self.spelled(number))}: name that with its folder.'
      )
    if key == long:
      self._claims[number] = name
    return number

  def elsewhere(self, name: str) -> str | None:
    """Return a name of the same file in another folder, if there is any."""
    key = image_key(name)
    while '/' in key:
      key = key.partition('/')[2]
      below = self._ending_in(key)
      if below:
        return self.spelled(self._number(below[0]))
    return None

  def _ending_in(self, end: str) -> range:
    """Return the places in ``_turned`` of paths that are this below another."""
    if not self._is_turned:
      self._turned = sorted(_turn(x) for x in self._numbers if '/' in x)
      self._is_turned = True
    begin = _turn(end)
    # What begins in it and a slash; '0' is what follows the slash.
    first = bisect.bisect_left(self._turned, f'{begin}/')
    return range(first, bisect.bisect_left(self._turned, f'{begin}0', first))

  def _number(self, place: int) -> int:
    """Return the number of the path at a place in ``_turned``."""
    return self._numbers[_turn(self._turned[place])]


def _turn(key: str) -> str:
  """Return a path with its parts in the opposite order."""
  return '/'.join(key.split('/')[::-1])
