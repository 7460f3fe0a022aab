"""Captions gathered by image, whatever the file they come from."""

from collections.abc import Iterable
from typing import Any

from data_prep import records
from data_prep.readers import raw_files, splits
from mrnn_jax.data import image_names
from mrnn_jax.runtime import errors, messages

# A sentence beyond this is no caption but a mistake in the file.
MAX_CAPTION = 10_000


class Gatherer:
  """Captions and splits of images, in the order of the files.

  Attributes:
    captions: image id -> its sentences.
    labels: image id -> split, for images of which a file says it.
  """

  def __init__(self, raw: raw_files.RawFiles):
    """Gather for a reader that was given these files."""
    self.captions: dict[str, list[str]] = {}
    self.labels: dict[str, str] = {}
    self._raw = raw
    self._spelled: dict[str, str] = {}
    self._label_places: dict[str, str] = {}
    self._respelled: dict[str, None] = {}
    self._without: list[str] = []
    self._not_read: dict[str, None] = {}

  def add(
    self,
    name: Any,
    sentences: Iterable[Any],
    where: str,
    split: Any = None,
  ) -> None:
    """Take in some captions of an image; it may have others already.

    Args:
      name: the image's name; whole numbers are names too.
      sentences: its captions.
      where: the place in the file, for messages.
      split: what the file says of the image's split; None or '': nothing.

    Raises:
      InputError: one of them is not what it should be, or the image has stood
        in another split before.
    """
    name = image_names.as_name(name, where)
    image_id = self._spelled.setdefault(image_names.image_key(name), name)
    if image_id != name:
      self._respelled[name] = None
    sentences = [_as_caption(sentence, where) for sentence in sentences]
    if image_id not in self.captions and not sentences:
      self._without.append(image_id)
      return
    self.captions.setdefault(image_id, []).extend(sentences)
    if split is None or split == '':
      return
    if not isinstance(split, str):
      raise errors.InputError(
        f'{where} has a split that is no text: write train, validation or test.'
      )
    label = splits.parse(split, where, self._raw.restval)
    if self.labels.setdefault(image_id, label) != label:
      raise errors.InputError(
        f'{where} puts {image_id} into {label}, but'
        f' {self._label_places[image_id]} puts it into'
        f' {self.labels[image_id]}: an image is in one split.'
      )
    self._label_places.setdefault(image_id, where)

  def leave_aside(self, names: Iterable[str]) -> None:
    """Take note of columns or keys that are not read."""
    self._not_read.update(dict.fromkeys(names))

  def finish(self, source: str) -> records.RawDataset:
    """Return the dataset, its images divided into splits.

    Args:
      source: the file's name, for the message.

    Raises:
      InputError: there is no caption, or the splits cannot be made.
    """
    if not self.captions:
      raise errors.InputError(f'{source} holds no caption: give another file.')
    oddities = []
    if self._respelled:
      what = 'images spelled in two ways (joined)'
      oddities.append(records.Oddity(what, tuple(self._respelled)))
    if self._not_read:
      what = 'columns that are not read'
      oddities.append(records.Oddity(what, tuple(self._not_read)))
    without = tuple(i for i in self._without if i not in self.captions)
    if without:
      what = 'images without captions (left out)'
      oddities.append(records.Oddity(what, without))
    return splits.assign(self.captions, self.labels, self._raw, oddities)


def _as_caption(value: Any, where: str) -> str:
  """Return a sentence, white space joined; '' if there is nothing in it."""
  if not isinstance(value, str):
    raise errors.InputError(
      f'{where} has a caption that is no text: write it as a string.'
    )
  check_length(value, where)
  if not _encodable(value):
    raise errors.InputError(
      f'{where} has half a character in {ascii(value[:40])}: correct the'
      ' escapes of the file.'
    )
  return ' '.join(value.split())


def check_length(caption: str, where: str) -> None:
  """Refuse a sentence that is longer than any.

  Raises:
    InputError: it is.
  """
  if len(caption) > MAX_CAPTION:
    raise errors.InputError(
      f'{where} has a caption of {len(caption):,} characters'
      f' ({messages.shorten(caption)}): at most {MAX_CAPTION:,} will do.'
    )


def _encodable(text: str) -> bool:
  """Whether text is whole: JSON can name halves of characters."""
  try:
    text.encode('utf-8')
  except UnicodeEncodeError:
    return False
  return True
