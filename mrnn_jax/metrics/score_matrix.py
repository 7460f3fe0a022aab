"""Matrices of scores, sentences by images: checked, and cut into blocks.

S sentences, N images; owner [S] holds the index of each sentence's image, any
number of sentences per image but at least one.  Scores [S, N]: higher is
better, whatever they are.
"""

from collections.abc import Iterator

import numpy as np

from mrnn_jax.runtime.errors import InputError

# So many scores are compared at a time: they stay in the cache, and the memory
# needed does not grow with S times N.
_BLOCK = 1 << 18
# Columns of a piece: who is on a shortlist of theirs is kept beside it.
_COLUMNS = 1024


def blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
  """Cut rows so that a block holds about ``_BLOCK`` numbers."""
  step = max(1, _BLOCK // max(1, num_columns))
  for start in range(0, num_rows, step):
    yield slice(start, min(start + step, num_rows))


def pieces(num_rows: int, num_columns: int) -> Iterator[tuple[slice, slice]]:
  """Cut a matrix into rows and columns, those of the same columns in a row."""
  for start in range(0, num_columns, _COLUMNS):
    columns = slice(start, min(start + _COLUMNS, num_columns))
    for rows in blocks(num_rows, columns.stop - start):
      yield rows, columns


def check(
  scores: np.ndarray, owner: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Return scores [S, N] and owner [S] as arrays that fit each other."""
  scores, owner = np.asarray(scores), np.asarray(owner)
  if scores.ndim != 2 or not scores.size or owner.shape != scores.shape[:1]:
    raise InputError(
      f'Scores of shape {scores.shape} need one row for each sentence, whose '
      f'owners have shape {owner.shape}, and one column for each image.'
    )
  num_images = scores.shape[1]
  if (
    not np.issubdtype(owner.dtype, np.integer)
    or not ((owner >= 0) & (owner < num_images)).all()
  ):
    raise InputError(
      f'The owner of a sentence must be the index of one of {num_images} '
      'images.'
    )
  counts = np.bincount(owner, minlength=num_images)
  if not counts.all():
    raise InputError(f'Image {np.argmin(counts)} has no sentence.')
  return scores, owner


def check_finite(
  block: np.ndarray,
  sentences: np.ndarray,
  images: slice,
  listed: np.ndarray | None = None,
) -> None:
  """Refuse a block of scores if one is not finite.

  Args:
    block: [s, n] scores.
    sentences: [s] their numbers.
    images: theirs.
    listed: [s, n] which scores count; None: all.
  """
  bad = ~np.isfinite(block)
  if listed is not None:
    bad &= listed
  if bad.any():
    row, column = np.argwhere(bad)[0]
    raise InputError(
      f'The score of sentence {sentences[row]} for image '
      f'{images.start + column} is {block[row, column]}: only finite scores '
      'can be ranked.'
    )
