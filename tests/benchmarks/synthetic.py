"""Writes made-up raw data of the size of a dataset that is not at hand.

``python -m tests.benchmarks.synthetic --like=flickr30k --raw_dir=DIR`` writes
captions, lists and a feature file as people have them, to time the whole job.
Words follow a Markov chain in which a few continuations are common, so that
sentences begin alike about as often as people's do.
"""

import dataclasses
import json
import math
import pathlib

from absl import app, flags
import numpy as np

FEATURE_SIZE = 4096


@dataclasses.dataclass(frozen=True)
class Size:
  """How large a dataset is.

  Attributes:
    train, validation, test: images.
    captions: sentences of an image, from and to.
    words: mean words of a sentence.
    vocabulary: words there are, nearly all of them five times or more in
      training, as the vocabulary is cut.
  """

  train: int
  validation: int
  test: int
  captions: tuple[int, int]
  words: float
  vocabulary: int


# IAPR TC-12's validation images are cut from its training list.
SIZES = {
  'flickr30k': Size(29783, 1000, 1000, (5, 5), 12.4, 7500),
  'iaprtc12': Size(17665, 0, 1962, (2, 5), 7.0, 2000),
  # By Karpathy's split, restval for training.
  'coco': Size(113287, 5000, 5000, (5, 5), 10.5, 10000),
}
# Images whose features are made at a time.
_BLOCK = 4096


def sentences(
  num: int, words: float, vocabulary: int, rng: np.random.Generator
) -> list[str]:
  """Make sentences of a Markov chain over words w0, w1, ..."""
  lengths = np.clip(rng.poisson(words - 2, num) + 2, 2, 60)
  tokens = np.zeros((num, lengths.max()), np.int64)
  before = np.zeros(num, np.int64)
  for t in range(tokens.shape[1]):
    rank = np.minimum(rng.zipf(1.45, num) - 1, vocabulary - 1)
    # Which word has that rank depends on the word before, by a fixed rule; a
    # third of all words are the common ones whatever stands before.
    shift = np.where(rng.random(num) < 1 / 3, 0, (before * 7919) % vocabulary)
    tokens[:, t] = before = (rank + shift) % vocabulary
  return [
    ' '.join(f'w{i}' for i in row[:length])
    for row, length in zip(tokens.tolist(), lengths, strict=True)
  ]


def write(
  like: str, folder: pathlib.Path, seed: int = 0, share: float = 1.0
) -> None:
  """Write captions, lists and features like those of a dataset.

  Args:
    like: one of ``SIZES``.
    folder: where.
    seed: of all that is made up.
    share: of its images.
  """
  size, rng = SIZES[like], np.random.default_rng(seed)
  size = dataclasses.replace(
    size,
    **{
      split: math.ceil(share * getattr(size, split))
      for split in ('train', 'validation', 'test')
    },
  )
  num = size.train + size.validation + size.test
  counts = rng.integers(size.captions[0], size.captions[1] + 1, num)
  texts = iter(sentences(counts.sum(), size.words, size.vocabulary, rng))
  captions = [[next(texts) for _ in range(count)] for count in counts]
  folder.mkdir(parents=True, exist_ok=True)
  if like == 'coco':
    ids = _write_karpathy(size, captions, folder)
  elif like == 'flickr30k':
    ids = [f'{i:08}.jpg' for i in range(num)]
    lines = [
      f'{name}#{k}\t{text}\n'
      for name, mine in zip(ids, captions, strict=True)
      for k, text in enumerate(mine)
    ]
    (folder / 'results_20130124.token').write_text(''.join(lines))
  else:
    ids = [f'{i // 1000:02}/{i}' for i in range(num)]
    for name, mine in zip(ids, captions, strict=True):
      path = folder / 'annotations_complete_eng' / f'{name}.eng'
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(
        f'<DOC>\n<DOCNO>annotations/{name}.eng</DOCNO>\n'
        f'<DESCRIPTION>{"; ".join(mine)};</DESCRIPTION>\n</DOC>\n'
      )
  if like != 'coco':
    stop = 0
    for split in ('train', 'validation', 'test'):
      start, stop = stop, stop + getattr(size, split)
      if stop > start:
        (folder / f'{split}.txt').write_text('\n'.join(ids[start:stop]) + '\n')
  write_features(folder / 'features.npy', ids, FEATURE_SIZE, rng)


def _write_karpathy(
  size: Size, captions: list[list[str]], folder: pathlib.Path
) -> list[str]:
  """Write a ``dataset.json``; return the images' names."""
  splits = [
    name
    for name, count in (
      ('train', size.train),
      ('val', size.validation),
      ('test', size.test),
    )
    for _ in range(count)
  ]
  ids = [f'COCO_{i:012}.jpg' for i in range(len(splits))]
  images = [
    {
      'filename': name,
      'imgid': i,
      'split': split,
      'sentences': [{'raw': text} for text in mine],
    }
    for i, (name, split, mine) in enumerate(
      zip(ids, splits, captions, strict=True)
    )
  ]
  (folder / 'dataset.json').write_text(json.dumps({'images': images}))
  return ids


def write_features(
  path: pathlib.Path, ids: list[str], dim: int, rng: np.random.Generator
) -> None:
  """Write features that are mapped into memory, and their names beside them."""
  features = np.lib.format.open_memmap(path, 'w+', np.float16, (len(ids), dim))
  for start in range(0, len(ids), _BLOCK):
    some = features[start : start + _BLOCK]
    some[:] = np.maximum(rng.standard_normal(some.shape, np.float32), 0)
  features.flush()
  path.with_suffix('.txt').write_text('\n'.join(ids) + '\n')


def main(argv: list[str]) -> None:
  """Write what the flags say."""
  del argv
  folder = pathlib.Path(flags.FLAGS.raw_dir).expanduser()
  write(flags.FLAGS.like, folder, share=flags.FLAGS.share)


if __name__ == '__main__':
  flags.DEFINE_enum('like', 'flickr30k', list(SIZES), 'Which size.')
  flags.DEFINE_float('share', 1.0, 'Share of its images.')
  flags.DEFINE_string('raw_dir', None, 'Where to write.', required=True)
  app.run(main)
