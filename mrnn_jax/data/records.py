"""The records of a split of a prepared dataset, or of several side by side."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
from typing import Any

import numpy as np

from mrnn_jax.runtime.errors import InputError


class Records(Sequence):
  """The records of a split; of a damaged one the file is named.

  ArrayRecord's chunks carry hashes: other bytes than were written are noticed.
  """

  def __init__(self, dataset: Any, name: str):
    """Open a split of a ``datasets.Dataset``."""
    self._dataset, self._name = dataset, name
    with self._reading():
      self._source = dataset.builder.as_data_source(name)
      self._split = dataset.builder.info.splits[name]
      self._length = len(self._source)

  def __len__(self) -> int:
    return self._length

  def __getitem__(self, index):
    """Return a record, a mapping."""
    if not 0 <= index < len(self):
      raise IndexError(index)  # No fault of the file: so loops find the end.
    with self._reading(index):
      return self._source[index]

  @contextlib.contextmanager
  def _reading(self, index: int | None = None) -> Iterator[None]:
    """Turn whatever goes wrong in reading into an InputError."""
    try:
      yield
    except Exception as error:  # Readers raise whatever their C++ side does.
      where = ''
      if index is not None:
        ends = np.cumsum(self._split.shard_lengths)
        shard = np.searchsorted(ends, index, side='right')
        where = f', at its file {self._split.filepaths[shard].name}'
      raise InputError(
        f'the {self._name} split in {self._dataset.path} cannot be read{where} '
        f'({type(error).__name__}: {error}): build the dataset again by '
        f'"python -m data_prep.build --dataset={self._dataset.name} '
        '--overwrite ...".'
      ) from error


class JoinedRecords(Sequence):
  """Records of the same images and captions, their features put together."""

  def __init__(self, parts: Sequence[Sequence[Mapping[str, Any]]], where: str):
    """Take the records of several datasets.

    Args:
      parts: of the same images, in whatever order.
      where: the datasets and the split, for messages.
    """
    self._parts, self._where = parts, where
    self._places: dict[int, dict[str | bytes, int]] = {}

  def __len__(self) -> int:
    return len(self._parts[0])

  def __getitem__(self, index):
    """Return a record, a mapping."""
    first = self._parts[0][index]
    features = [first['feature']]
    for number, part in enumerate(self._parts[1:], 1):
      other = self._find(number, part, index, first['image_id'])
      if list(other['captions']) != list(first['captions']):
        raise InputError(
          f'{self._where} have other captions of {as_text(first["image_id"])}: '
          'give datasets that were built from the same captions.'
        )
      features.append(other['feature'])
    return {
      'image_id': first['image_id'],
      'captions': first['captions'],
      'feature': np.concatenate(features),
    }

  def _find(
    self,
    number: int,
    part: Sequence[Mapping[str, Any]],
    index: int,
    image_id: str | bytes,
  ) -> Mapping[str, Any]:
    """Return the record of an image in another part."""
    # Built from the same captions they have the same order.
    if index < len(part) and (record := part[index])['image_id'] == image_id:
      return record
    if number not in self._places:
      self._places[number] = {part[i]['image_id']: i for i in range(len(part))}
    place = self._places[number].get(image_id)
    if place is None:
      raise InputError(
        f'{self._where} do not all have {as_text(image_id)}: give datasets '
        'that were built from the same captions and lists.'
      )
    return part[place]


def as_text(value: str | bytes) -> str:
  """Return a text of a record, which TFDS gives as bytes."""
  return value.decode('utf-8') if isinstance(value, bytes) else value
