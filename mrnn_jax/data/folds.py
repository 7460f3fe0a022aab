"""Folds of the training images, and splits of some of their images.

A fold is written "1/3", the first of three.  An image is in the same one
wherever it comes from: its name alone decides.
"""

from collections.abc import Sequence
import dataclasses
import hashlib

import numpy as np

from mrnn_jax.data.datasets import CaptionSplit
from mrnn_jax.data.image_features import SelectedFeatures
from mrnn_jax.runtime.errors import InputError

MAX_FOLDS = 100


def parse(fold: str) -> tuple[int, int]:
  """Return i and n of a fold "i/n".

  Raises:
    InputError: it is none.
  """
  first, slash, second = fold.partition('/')
  if slash and first.isdecimal() and second.isdecimal():
    part, count = int(first), int(second)
    if 1 <= part <= count and 2 <= count <= MAX_FOLDS:
      return part, count
  raise InputError(
    f'--held_out_fold={fold}: write the first of three as 1/3, of at most '
    f'{MAX_FOLDS}.'
  )


def is_in(image_ids: Sequence[str], fold: str) -> np.ndarray:
  """Return [N] whether each image is in a fold; '' has none."""
  if not fold:
    return np.zeros(len(image_ids), bool)
  part, count = parse(fold)
  digests = (hashlib.sha256(x.encode()).digest() for x in image_ids)
  numbers = (int.from_bytes(digest[:8], 'little') for digest in digests)
  return np.asarray([number % count == part - 1 for number in numbers])


def without(split: CaptionSplit, fold: str) -> CaptionSplit:
  """Return a split without the images of a fold; of '' the split itself.

  Raises:
    InputError: no image is in the fold, or none is left.
  """
  if not fold:
    return split
  kept = np.flatnonzero(~is_in(split.image_ids, fold))
  if len(kept) in (0, len(split.image_ids)):
    what = 'all' if not len(kept) else 'none'
    raise InputError(
      f'--held_out_fold={fold} holds {what} of the {len(split.image_ids)} '
      f'images of the {split.name} split: name a part of another size.'
    )
  return select(split, kept)


def select(split: CaptionSplit, images: np.ndarray) -> CaptionSplit:
  """Return a split of some of its images, in the order given.

  Args:
    split: N images, C captions.
    images: their numbers, none twice.
  """
  captions = captions_of(split, images)
  lengths = np.diff(split.offsets)
  features, photos = split.given_features, split.given_photos
  return dataclasses.replace(
    split,
    image_ids=[split.image_ids[i] for i in images],
    captions=[split.captions[i] for i in images],
    given_features=features and SelectedFeatures(features, images),
    owner=np.repeat(
      np.arange(len(images)),
      np.bincount(split.owner, minlength=len(split.image_ids))[images],
    ),
    tokens=np.concatenate([split.caption_tokens(c) for c in captions]),
    offsets=np.cumsum([0, *lengths[captions]]),
    given_photos=photos and photos.select(images),
  )


def captions_of(split: CaptionSplit, images: np.ndarray) -> np.ndarray:
  """Return the numbers of the captions of some images, image by image."""
  counts = np.bincount(split.owner, minlength=len(split.image_ids))
  first = np.cumsum(counts) - counts
  return np.concatenate(
    [np.arange(first[i], first[i] + counts[i]) for i in images]
  )
