"""The files of a dataset: which records each holds, and how it is written.

Which records a shard holds depends on nothing but the records, and its bytes on
nothing but them and their features: whoever writes it, alone or beside others,
writes the same file.
"""

from collections.abc import Iterable, Iterator, Sequence
import itertools
from typing import Any

from etils import epath
import numpy as np
import tensorflow_datasets as tfds

from data_prep import photo_table, records
from data_prep.writing.content import Images
from mrnn_jax.runtime import errors

# About so large is a shard, as TFDS has them at least.
SHARD_BYTES = 64 * 2**20


def cut(
  rows: Sequence[records.Record], image_bytes: int
) -> list[Sequence[records.Record]]:
  """Divide the records of a split into shards.

  Args:
    rows: the records, at least one.
    image_bytes: of what is stored of an image, about.

  Returns:
    The records of each shard, in their order; the shards are alike in number.
  """
  texts = sum(
    len(text) for row in rows for text in (row.image_id, *row.captions)
  )
  total = len(rows) * image_bytes + texts
  number = min(len(rows), 1 + total // SHARD_BYTES)
  bounds = [len(rows) * i // number for i in range(number + 1)]
  return [rows[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def make_features(images: Images) -> tfds.features.FeaturesDict:
  """Return what a record consists of, as TFDS describes it."""

  def vectors(dtype: np.dtype, *shape: int) -> tfds.features.Tensor:
    # As bytes, or TFDS would store float16 in four bytes each.
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')

  table, views = images.table, images.num_views - 1
  parts = {'image_id': tfds.features.Text()}
  if table is not None:
    parts['feature'] = vectors(table.dtype, table.dim)
  parts['captions'] = tfds.features.Sequence(tfds.features.Text())
  if table is not None and views > 0:
    parts['views'] = vectors(table.dtype, views, table.dim)
  if images.photos:
    # The file's bytes: TFDS would want to decode pictures by itself.
    parts['photo'] = tfds.features.Tensor(shape=(), dtype=np.object_)
  return tfds.features.FeaturesDict(parts)


def write(
  path: epath.PathLike, rows: Iterable[records.Record], images: Images
) -> None:
  """Write a shard.

  Args:
    path: the file.
    rows: its records.
    images: their features and photos.

  Raises:
    InputError: a photo can no longer be read.
  """
  features = make_features(images)
  serializer = tfds.core.ExampleSerializer(features.get_serialized_info())

  def serialize(row: records.Record, photo: bytes | None) -> bytes:
    parts: dict[str, Any] = {
      'image_id': row.image_id,
      'captions': list(row.captions),
    }
    if images.table is not None:
      parts['feature'] = images.table.get(row.image_id)
      if images.num_views > 1:
        parts['views'] = images.table.get_views(row.image_id)
    if images.photos:
      parts['photo'] = photo
    example = features.encode_example(parts)
    # The order of a message's fields is else another in every process.
    return serializer.get_tf_example(example).SerializeToString(
      deterministic=True
    )

  pairs: Iterable[tuple[records.Record, bytes | None]]
  pairs = ((row, None) for row in rows)
  if images.photos:
    pairs = _with_photos(rows, images.photos)
  tfds.core.ExampleWriter(tfds.core.FileFormat.ARRAY_RECORD).write(
    path, ((number, serialize(*pair)) for number, pair in enumerate(pairs))
  )


def _with_photos(
  rows: Iterable[records.Record], table: photo_table.PhotoTable
) -> Iterator[tuple[records.Record, bytes]]:
  """Yield records with their photos, which are read ahead."""
  rows, again = itertools.tee(rows)
  photos = table.all_of(row.image_id for row in again)
  for row, photo in zip(rows, photos, strict=True):
    if isinstance(photo, Exception):
      raise errors.InputError(
        f'the photo of {errors.printable(row.image_id)} could be read before, '
        f'and not now ({photo}): build again when the photos are in place.'
      )
    yield row, photo
