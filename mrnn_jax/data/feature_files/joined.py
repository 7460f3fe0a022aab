"""Features of several encoders side by side: one vector of an image."""

from collections.abc import Sequence
import sys

import numpy as np

from mrnn_jax.data.feature_files.table import Encoder, FeatureTable
from mrnn_jax.runtime import errors, messages


def join(
  tables: Sequence[FeatureTable], sources: Sequence[str]
) -> FeatureTable:
  """Return the features of several tables put together, image by image.

  Args:
    tables: of the same images, named alike or so that only one can be meant.
    sources: their files' names, for messages.

  Returns:
    The images that all tables have, in the order of the first one; in memory.

  Raises:
    InputError: no image is in all of them, or a name fits several images.
  """
  rows: list[list[int]] = []
  ids: list[str] = []
  for row, name in enumerate(tables[0].ids):
    others = [
      found
      for x in zip(tables[1:], sources[1:], strict=True)
      if (found := _find(name, *x)) is not None
    ]
    if len(others) + 1 == len(tables):
      rows.append([row, *others])
      ids.append(name)
  if not ids:
    raise errors.InputError(
      f'{" and ".join(sources)} have no image in common: give features of the '
      'same images.'
    )
  if left_out := len(tables[0].ids) - len(ids):
    print(
      f'note: {messages.counted(left_out, "image")} of {sources[0]} that '
      f'{" or ".join(sources[1:])} lacks: left out.',
      file=sys.stderr,
    )
  dtype = np.result_type(*(table.dtype for table in tables))
  features = np.empty((len(ids), sum(table.dim for table in tables)), dtype)
  start = 0
  for table, places in zip(tables, np.transpose(rows), strict=True):
    with np.errstate(over='ignore'):
      features[:, start : start + table.dim] = table.features[places]
    start += table.dim
  encoder = Encoder.joined([table.encoder for table in tables])
  return FeatureTable(ids, features, ','.join(sources), encoder)


def _find(name: str, table: FeatureTable, source: str) -> int | None:
  """Return the row of an image in another table, None where it is not."""
  try:
    return table.names.find(name)
  except errors.InputError as error:
    raise errors.InputError(f'{source}: {error}') from error
