"""The files of a dataset: which records each holds, and how it is written.

Which records a shard holds depends on nothing but the records, and its bytes on
nothing but them and their features: whoever writes it, alone or beside others,
writes the same file.
"""

from collections.abc import Iterable, Sequence

from etils import epath
import numpy as np
import tensorflow_datasets as tfds

from data_prep import records
from mrnn_jax.data import feature_files as features_lib

# About so large is a shard, as TFDS has them at least.
SHARD_BYTES = 64 * 2**20


def cut(
  rows: Sequence[records.Record], feature_bytes: int
) -> list[Sequence[records.Record]]:
  """Divide the records of a split into shards.

  Args:
    rows: the records, at least one.
    feature_bytes: of one feature.

  Returns:
    The records of each shard, in their order; the shards are alike in number.
  """
  texts = sum(
    len(text) for row in rows for text in (row.image_id, *row.captions)
  )
  total = len(rows) * feature_bytes + texts
  number = min(len(rows), 1 + total // SHARD_BYTES)
  bounds = [len(rows) * i // number for i in range(number + 1)]
  return [rows[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]


def make_features(
  dim: int, dtype: np.dtype, num_views: int = 1
) -> tfds.features.FeaturesDict:
  """Return what a record consists of, as TFDS describes it.

  Args:
    dim: D, the length of a feature.
    dtype: float16 or float32.
    num_views: K of each image.
  """

  def vectors(*shape: int) -> tfds.features.Tensor:
    # As bytes, or TFDS would store float16 in four bytes each.
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding='bytes')

  parts = {
    'image_id': tfds.features.Text(),
    'feature': vectors(dim),
    'captions': tfds.features.Sequence(tfds.features.Text()),
  }
  if num_views > 1:
    parts['views'] = vectors(num_views - 1, dim)
  return tfds.features.FeaturesDict(parts)


def write(
  path: epath.PathLike,
  rows: Iterable[records.Record],
  table: features_lib.FeatureTable,
) -> None:
  """Write a shard.

  Args:
    path: the file.
    rows: its records.
    table: their features.
  """
  num_views = len(table.view_flips)
  features = make_features(table.dim, table.dtype, num_views)
  serializer = tfds.core.ExampleSerializer(features.get_serialized_info())

  def serialize(row: records.Record) -> bytes:
    parts = {
      'image_id': row.image_id,
      'feature': table.get(row.image_id),
      'captions': list(row.captions),
    }
    if num_views > 1:
      parts['views'] = table.get_views(row.image_id)
    example = features.encode_example(parts)
    # The order of a message's fields is else another in every process.
    return serializer.get_tf_example(example).SerializeToString(
      deterministic=True
    )

  tfds.core.ExampleWriter(tfds.core.FileFormat.ARRAY_RECORD).write(
    path, ((number, serialize(row)) for number, row in enumerate(rows))
  )
