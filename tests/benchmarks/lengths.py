"""Captions that are as long, and begin as alike, as those of Flickr8K.

The statistics are of Flickr8K (Hodosh, Young and Hockenmaier 2013) with the
split lists that come with it, under this package's tokenisation and its
vocabulary of words seen 5 times: 30,000 training captions with 354,454 target
words, and 5,000 test captions with 59,333 of them and 40,169 distinct prefixes.

With ``$MRNN_DATA`` set to a folder that holds ``flickr8k/`` the captions are
the real ones.
"""

from collections.abc import Mapping
import functools
import os

import numpy as np

from data_prep.readers import raw_files
from mrnn_jax.data.vocabulary import END, START, UNK, Vocabulary, count_words

VOCAB_SIZE = 2539
FEATURE_SIZE = 1280
CAPTIONS_PER_IMAGE = 5

# Target words of a training caption, ``##END##`` among them: how many have it.
LENGTHS = {
  3: 15, 4: 125, 5: 340, 6: 854, 7: 1948, 8: 2501, 9: 2919, 10: 3317,
  11: 3311, 12: 3133, 13: 2771, 14: 2333, 15: 1864, 16: 1339, 17: 978,
  18: 683, 19: 518, 20: 369, 21: 213, 22: 138, 23: 105, 24: 80, 25: 51,
  26: 36, 27: 19, 28: 10, 29: 9, 30: 8, 31: 5, 32: 3, 33: 2, 34: 2, 38: 1,
}  # fmt: skip
# Prefixes of a test caption, ``##START##`` the first, that an earlier caption
# of the split has too: how many captions have so many.
SHARED = {
  1: 131, 2: 704, 3: 1353, 4: 1377, 5: 820, 6: 415, 7: 143, 8: 43, 9: 9,
  10: 3, 12: 1,
}  # fmt: skip

Captions = list[np.ndarray]


def training_captions(count: int, vocab_size: int, seed: int = 0) -> Captions:
  """Return captions of word ids, ``##START##`` to ``##END##``."""
  if _real(count, vocab_size, 'train'):
    return flickr8k()['train'][:count]
  rng = np.random.default_rng((seed, 0))
  lengths = _draw(rng, LENGTHS, count)
  words = _draw_words(rng, vocab_size, int(lengths.sum()))
  ends = np.cumsum(lengths)
  return [
    np.concatenate([[START], words[stop - n : stop - 1], [END]])
    for n, stop in zip(lengths, ends, strict=True)
  ]


def test_pool(count: int, vocab_size: int, seed: int = 0) -> Captions:
  """Return captions that share prefixes, as many people's of one scene do.

  Synthetic ones share as much as the whole test split does, however many they
  are, so that a small trial foretells a large one.
  """
  if _real(count, vocab_size, 'test'):
    return flickr8k()['test'][:count]
  rng = np.random.default_rng((seed, 1))
  lengths = _draw(rng, LENGTHS, count)
  shared = np.minimum(_draw(rng, SHARED, count), lengths)
  captions, seen = [], set()
  for length, k in zip(lengths.tolist(), shared.tolist(), strict=True):
    words = _beginning(rng, captions, k) if captions else [START]
    k = len(words)
    while len(words) < length:
      words.append(int(_draw_words(rng, vocab_size, 1)[0]))
      # The first word of its own makes a prefix that nobody has had.  In a
      # tiny vocabulary there may be none.
      if len(words) == k + 1 and tuple(words) in seen and rng.random() < 0.99:
        words.pop()
    seen.update(tuple(words[:t]) for t in range(1, len(words) + 1))
    captions.append(np.asarray([*words, END]))
  return captions


test_pool.__test__ = False  # A name that pytest would collect.


def source(count: int, vocab_size: int, split: str) -> str:
  """Say where captions come from."""
  return 'Flickr8K' if _real(count, vocab_size, split) else 'synthetic'


def features(count: int, feature_size: int, seed: int = 0) -> np.ndarray:
  """Return image features [count, D]: random, as their values cost nothing."""
  rng = np.random.default_rng((seed, 2))
  return rng.standard_normal((count, feature_size), np.float32)


def num_targets(captions: Captions) -> int:
  """Return the number of target words."""
  return sum(len(caption) - 1 for caption in captions)


@functools.cache
def flickr8k() -> Mapping[str, Captions]:
  """Return the real captions of the splits 'train' and 'test'."""
  # Late: it is needed only where the data is.
  from data_prep import readers

  folder = os.path.join(os.environ['MRNN_DATA'], 'flickr8k')
  raw = readers.DATASETS['flickr8k'](raw_files.RawFiles(folder))
  sentences = {
    split: [
      sentence
      for image_id in raw.splits[split]
      for sentence in raw.captions[image_id]
    ]
    for split in ('train', 'test')
  }
  vocabulary = Vocabulary.from_counts(count_words(sentences['train']), 5)
  return {
    split: [np.asarray(vocabulary.encode_caption(text)) for text in texts]
    for split, texts in sentences.items()
  }


def _real(count: int, vocab_size: int, split: str) -> bool:
  """Return whether the real captions serve."""
  if 'MRNN_DATA' not in os.environ or vocab_size != VOCAB_SIZE:
    return False
  return count <= len(flickr8k()[split])


def _draw(
  rng: np.random.Generator, histogram: Mapping[int, int], count: int
) -> np.ndarray:
  """Draw values from a histogram."""
  counts = np.asarray(list(histogram.values()), np.float64)
  return rng.choice(list(histogram), count, p=counts / counts.sum())


def _draw_words(
  rng: np.random.Generator, vocab_size: int, count: int
) -> np.ndarray:
  """Draw words, frequent ones first in the vocabulary, as Zipf has it."""
  total = _zipf(vocab_size)
  return UNK + np.searchsorted(total, rng.random(count) * total[-1])


@functools.cache
def _zipf(vocab_size: int) -> np.ndarray:
  return np.cumsum(1 / (np.arange(UNK, vocab_size) + 1.0))


def _beginning(
  rng: np.random.Generator, captions: Captions, k: int
) -> list[int]:
  """Return the first k words of a caption that has so many."""
  while True:
    other = captions[rng.integers(len(captions))]
    # A caption's last prefix ends before ``##END##``.
    if len(other) - 1 >= k:
      return other[:k].tolist()
    k -= 1
