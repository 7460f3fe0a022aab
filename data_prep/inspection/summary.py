"""What is in a prepared dataset, in numbers: words, sentences, features.

One pass over the records; features are summed as they go by, never held.
Letters: N images, D the feature's dimension.
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import hashlib
import random
from typing import Any

import numpy as np

from mrnn_jax.data import datasets, vocabulary
from mrnn_jax.runtime import progress
from mrnn_jax.runtime.errors import InputError

THRESHOLDS = (1, 2, 3, 5, 10)
_GROWTH_POINTS = 60
_BLOCK = 256
_NAMED_DUPLICATES = 10


@dataclasses.dataclass(frozen=True)
class SplitSummary:
  """The sentences of a split.

  Attributes:
    images: number of images.
    captions: number of captions.
    words: number of words, ends of sentences not counted.
    lengths: [longest + 1] number of captions with so many words.
    each: [most + 1] number of images with so many captions.
  """

  images: int
  captions: int
  words: int
  lengths: Sequence[int]
  each: Sequence[int]

  @property
  def mean_length(self) -> float:
    """Words a caption."""
    return self.words / max(self.captions, 1)


@dataclasses.dataclass(frozen=True)
class Cut:
  """A vocabulary: the words seen at least ``threshold`` times in training.

  Attributes:
    threshold: see above.
    size: its words, special ones not counted.
    unknown: split -> share of its words that are not in it.
  """

  threshold: int
  size: int
  unknown: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class FeatureSummary:
  """The features of all images.

  Attributes:
    dim: D.
    dtype: as stored.
    mean: of all numbers.
    std: their deviation.
    low: the least.
    high: the greatest.
    zeros: share of zeros.
    norms: [N] Euclidean norms of the images' features.
    constant: how many of the D are the same for all images.
    not_finite: images with a number that is not finite; they are left out of
      all else.
    duplicates: images whose feature another image has too, 'a = b' each.
  """

  dim: int
  dtype: str
  mean: float
  std: float
  low: float
  high: float
  zeros: float
  norms: np.ndarray
  constant: int
  not_finite: Sequence[str]
  duplicates: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Example:
  """An image, drawn by chance."""

  split: str
  image_id: str
  captions: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Summary:
  """What is in a dataset.

  Attributes:
    splits: split -> its sentences.
    growth: (training captions read, distinct words in them), in their order.
    cuts: the vocabulary at several thresholds.
    frequent: the most frequent words in training, with their numbers.
    features: the features of all images; None where photos stand for them.
    examples: some images, drawn by chance.
  """

  splits: Mapping[str, SplitSummary]
  growth: Sequence[tuple[int, int]]
  cuts: Sequence[Cut]
  frequent: Sequence[tuple[str, int]]
  features: FeatureSummary | None
  examples: Sequence[Example]


def summarize(
  sources: Mapping[str, Sequence[Mapping[str, Any]]],
  seed: int = 0,
  num_examples: int = 10,
) -> Summary:
  """Read all records once.

  Args:
    sources: split -> records of ``image_id``, ``captions`` and, unless photos
      stand for them, ``feature`` [D].
    seed: decides which examples are shown.
    num_examples: how many of them.

  Raises:
    InputError: there is no record.
  """
  places = [(split, i) for split, x in sources.items() for i in range(len(x))]
  if not places:
    raise InputError('the dataset holds no image: build it again.')
  number = min(num_examples, len(places))
  chosen = set(random.Random(seed).sample(places, number))
  features = _Features()
  words = {split: _Words() for split in sources}
  examples = []
  for split, i in progress.track(places, len(places), 'read', 'images'):
    record = sources[split][i]
    image_id = datasets.as_text(record['image_id'])
    captions = [datasets.as_text(caption) for caption in record['captions']]
    words[split].add(captions)
    if 'feature' in record:
      features.add(image_id, np.asarray(record['feature']))
    if (split, i) in chosen:
      examples.append(Example(split, image_id, captions))
  # A dataset of somebody's own may have other splits, but hardly will.
  train = words['train'] if 'train' in words else _Words()
  return Summary(
    {split: x.summary() for split, x in words.items()},
    train.growth(),
    [_cut(threshold, train, words) for threshold in THRESHOLDS],
    sorted(train.counts.items(), key=lambda x: (-x[1], x[0]))[:20],
    features.summary(),
    examples,
  )


class _Words:
  """Counts the words of a split."""

  def __init__(self):
    self.counts: dict[str, int] = {}
    self._lengths: list[int] = []
    self._each: list[int] = []
    self._distinct: list[int] = []

  def add(self, captions: Sequence[str]):
    """Take in the captions of the next image."""
    self._each.append(len(captions))
    for caption in captions:
      words = vocabulary.tokenize(caption)
      self._lengths.append(len(words))
      for word in words:
        self.counts[word] = self.counts.get(word, 0) + 1
      self._distinct.append(len(self.counts))

  def summary(self) -> SplitSummary:
    """Return what was counted."""
    lengths = np.bincount(self._lengths) if self._lengths else np.zeros(1, int)
    each = np.bincount(self._each) if self._each else np.zeros(1, int)
    return SplitSummary(
      len(self._each),
      len(self._lengths),
      sum(self._lengths),
      lengths.tolist(),
      each.tolist(),
    )

  def growth(self) -> list[tuple[int, int]]:
    """Return (captions read, distinct words) at some points on the way."""
    total = len(self._distinct)
    points = np.linspace(1, total, _GROWTH_POINTS).round().astype(int)
    points = np.unique(points)[: total or None]
    return [(int(n), self._distinct[n - 1]) for n in points]


def _cut(threshold: int, train: _Words, words: Mapping[str, _Words]) -> Cut:
  """Return the vocabulary at a threshold, and what splits miss in it."""
  kept = {word for word, count in train.counts.items() if count >= threshold}
  unknown = {}
  for split, x in words.items():
    missed = sum(n for word, n in x.counts.items() if word not in kept)
    unknown[split] = missed / max(sum(x.counts.values()), 1)
  return Cut(threshold, len(kept), unknown)


class _Features:
  """Sums up features as they go by, a block at a time."""

  def __init__(self):
    self._block: list[np.ndarray] = []
    self._first = np.zeros(0)
    self._any = False
    self._sum = self._squares = 0.0
    self._zeros = self._numbers = 0
    self._low, self._high = np.inf, -np.inf
    self._norms: list[np.ndarray] = []
    self._varies = np.zeros(0, bool)
    self._seen: dict[bytes, str] = {}
    self._duplicates: list[str] = []
    self._not_finite: list[str] = []

  def add(self, image_id: str, feature: np.ndarray):
    """Take in the [D] feature of the next image."""
    if not self._any:
      self._any, self._first = True, feature
      self._varies = np.zeros(feature.shape, bool)
    if not np.isfinite(feature).all():
      self._not_finite.append(image_id)
      return
    digest = hashlib.blake2b(feature.tobytes(), digest_size=16).digest()
    other = self._seen.setdefault(digest, image_id)
    if other != image_id:
      self._duplicates.append(f'{other} = {image_id}')
    self._block.append(feature)
    if len(self._block) == _BLOCK:
      self._sum_up()

  def _sum_up(self):
    """Take the block into the sums: [_BLOCK, D] --> numbers."""
    if not self._block:
      return
    raw = np.stack(self._block)
    self._block = []
    self._varies |= (raw != self._first).any(axis=0)
    block = raw.astype(np.float64)
    self._sum += block.sum()
    squares = np.einsum('nd,nd->n', block, block)
    self._squares += squares.sum()
    self._norms.append(np.sqrt(squares))
    self._zeros += int((raw == 0).sum())
    self._numbers += raw.size
    self._low = min(self._low, float(raw.min()))
    self._high = max(self._high, float(raw.max()))

  def summary(self) -> FeatureSummary | None:
    """Return what was summed up; None if there was none."""
    if not self._any:
      return None
    self._sum_up()
    number = max(self._numbers, 1)
    mean = self._sum / number
    variance = max(self._squares / number - mean**2, 0.0)
    return FeatureSummary(
      self._first.size,
      str(self._first.dtype),
      mean,
      variance**0.5,
      self._low + 0.0,  # Not -0.
      self._high,
      self._zeros / number,
      np.concatenate([*self._norms, np.zeros(0)]),
      int((~self._varies).sum()),
      self._not_finite,
      self._duplicates,
    )


def name_some(names: Sequence[str]) -> Iterator[str]:
  """Yield the first of many names, and how many more there are."""
  yield from names[:_NAMED_DUPLICATES]
  if len(names) > _NAMED_DUPLICATES:
    yield f'and {len(names) - _NAMED_DUPLICATES:,} more'
