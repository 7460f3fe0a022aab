"""Prepared TFDS datasets, read split by split.

A split is read once: its captions become word ids, which are small; features,
which are not, are cached if they fit and read when needed if not.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
import os
import re
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.data.feature_files.table import Encoder
from mrnn_jax.data.records import JoinedRecords, Records, as_text
from mrnn_jax.data.vocabulary import UNK, Vocabulary
from mrnn_jax.runtime import json_files, messages
from mrnn_jax.runtime.errors import InputError

# What TFDS calls all of them, each being a configuration.
BUILDER = 'caption_features'
SPLITS = ('train', 'validation', 'test')
_VERSION = re.compile(r'[0-9]+\.[0-9]+\.[0-9]+')


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A prepared dataset: a TFDS builder and what its metadata says.

  Attributes:
    name: of the dataset, e.g. 'flickr8k'.
    path: its folder.
    builder: the TFDS builder.
    metadata: what data_prep stored: word_counts, fingerprint, encoder, ...
    parts: of one whose features are put together from several, these; path and
      builder are then the first one's.
  """

  name: str
  path: epath.Path
  builder: Any
  metadata: Mapping[str, Any]
  parts: tuple['Dataset', ...] = ()

  @property
  def fingerprint(self) -> str:
    """The hash of everything that the dataset was built from."""
    return self.metadata['fingerprint']

  @property
  def feature_size(self) -> int:
    """D, the size of an image feature."""
    return self.metadata['feature_size']

  @property
  def place(self) -> str:
    """Where it lies, for messages."""
    return ' and '.join(str(x.path) for x in self.parts or (self,))

  def records(self, split: str) -> Sequence[Mapping[str, Any]]:
    """Open the records of a split: image_id, feature, captions.

    Raises:
      InputError: it is missing or damaged.
    """
    if not self.parts:
      return Records(self, split)
    return JoinedRecords(
      [part.records(split) for part in self.parts],
      f'the {split} splits in {self.place}',
    )

  def training_captions(self) -> list[str]:
    """Return all raw captions of the training split."""
    source = Records(self, 'train')
    return [
      as_text(caption)
      for i in range(len(source))
      for caption in source[i]['captions']
    ]

  def vocabulary(self, min_word_count: int) -> Vocabulary:
    """Cut the vocabulary from the word counts of the training split."""
    return Vocabulary.from_counts(self.metadata['word_counts'], min_word_count)


def default_data_dir() -> str:
  """Return where TFDS keeps datasets."""
  import tensorflow_datasets as tfds

  return tfds.core.constants.DATA_DIR


def open_dataset(name: str, data_dir: str = '') -> Dataset:
  """Open a dataset that ``data_prep.build`` has prepared.

  Args:
    name: of the dataset.
    data_dir: folder of prepared datasets; '' for TFDS's own.  Of several,
      separated by commas, the features of an image are put together in this
      order; all else must be the same in each.

  Raises:
    InputError: it is not there, or damaged, or those of several folders do not
      go together.
  """
  folders = split_paths(data_dir)
  if len(folders) > 1:
    return _join([open_dataset(name, folder) for folder in folders])
  root = epath.Path(data_dir or default_data_dir()).expanduser()
  folders = versions(root / BUILDER / name)
  if not folders:
    raise InputError(
      f'there is no dataset "{name}" in {root}: make it by "python -m '
      f'data_prep.build --dataset={name} ...", or name its folder by '
      '--data_dir.'
    )
  return Dataset(name, folders[-1], *open_folder(folders[-1]))


def split_paths(paths: str) -> list[str]:
  """Split paths that are separated by commas; what is there is one path."""
  paths = os.fspath(paths)
  if ',' not in paths or epath.Path(paths).expanduser().exists():
    return [paths]
  return [path for path in paths.split(',') if path]


def joined_fingerprint(fingerprints: Sequence[str]) -> str:
  """Return the fingerprint of datasets put together."""
  if len(fingerprints) == 1:
    return fingerprints[0]
  return hashlib.sha256(' '.join(fingerprints).encode()).hexdigest()


def _join(parts: Sequence[Dataset]) -> Dataset:
  """Return a dataset whose features are those of all of them.

  Raises:
    InputError: their captions differ.
  """
  first = parts[0]
  for other in parts[1:]:
    if other.metadata['word_counts'] != first.metadata['word_counts']:
      raise InputError(
        f'{first.path} and {other.path} have other training captions: give '
        'datasets that were built from the same captions and lists.'
      )
  encoder = Encoder.joined([Encoder(**x.metadata['encoder']) for x in parts])
  metadata = {
    **first.metadata,
    'fingerprint': joined_fingerprint([x.fingerprint for x in parts]),
    'feature_size': sum(x.feature_size for x in parts),
    'encoder': vars(encoder),
  }
  return Dataset(first.name, first.path, first.builder, metadata, tuple(parts))


def versions(folder: epath.Path) -> list[epath.Path]:
  """Return the folders of a dataset's versions, the latest last.

  Beside them may lie what an interrupted build has left.
  """
  found = folder.iterdir() if folder.is_dir() else ()
  return sorted(
    (path for path in found if _VERSION.fullmatch(path.name)),
    key=lambda path: [int(number) for number in path.name.split('.')],
  )


def open_folder(path: epath.Path) -> tuple[Any, dict[str, Any]]:
  """Return the TFDS builder of a folder, and the metadata stored in it.

  Raises:
    InputError: the folder is damaged.
  """
  import tensorflow_datasets as tfds  # Late: it is slow to import.

  try:
    builder = tfds.builder_from_directory(path)
    metadata = json_files.read_object(
      path / 'metadata.json', 'it is not what was written'
    )
    _check_metadata(metadata)
  except Exception as error:  # TFDS raises nearly anything.
    raise InputError(
      f'the dataset in {path} cannot be opened ({messages.first_line(error)}):'
      f' build it again by "python -m data_prep.build '
      f'--dataset={path.parent.name} --overwrite ...".'
    ) from error
  return builder, metadata


def _check_metadata(metadata: Mapping[str, Any]) -> None:
  """Raise ValueError where metadata are not what is read of them later."""
  encoder = metadata.get('encoder')
  counts = metadata.get('word_counts')
  sound = {
    'fingerprint': isinstance(metadata.get('fingerprint'), str),
    'feature_size': type(metadata.get('feature_size')) is int,
    'encoder': isinstance(encoder, dict)
    and all(isinstance(encoder.get(x), str) for x in ('name', 'weights')),
    'word_counts': isinstance(counts, dict)
    and all(type(count) is int for count in counts.values()),
  }
  wrong = [name for name, is_sound in sound.items() if not is_sound]
  if wrong:
    raise ValueError(f'metadata.json does not tell {", ".join(wrong)}')


class Features:
  """The image features [N, D] of a split, cached or read when needed."""

  def __init__(self, source: Sequence[Mapping[str, Any]], cache_mb: float):
    """Take a source of records; cache features up to ``cache_mb`` MiB."""
    self._source = source
    first = np.asarray(source[0]['feature'])
    self.dtype, self.size = first.dtype, first.size
    fits = len(source) * first.nbytes <= cache_mb * 2**20
    self._cache = (
      np.empty((len(source), self.size), self.dtype) if fits else None
    )

  def __len__(self) -> int:
    return len(self._source)

  def keep(self, index: int, feature: np.ndarray) -> None:
    """Put a feature that was read anyhow into the cache, if there is one."""
    if self._cache is not None:
      self._cache[index] = feature

  def __getitem__(self, indices: np.ndarray | slice) -> np.ndarray:
    """Return the features of some images: [...] --> [..., D]."""
    if self._cache is not None:
      return self._cache[indices]
    if isinstance(indices, slice):
      indices = np.arange(len(self))[indices]
    flat = np.stack(
      [self._source[int(i)]['feature'] for i in np.ravel(indices)]
    )
    return flat.reshape(*np.shape(indices), self.size)

  def all(self) -> np.ndarray:
    """Return all features [N, D]; for splits that fit in memory."""
    return self[np.arange(len(self))]


@dataclasses.dataclass(frozen=True)
class CaptionSplit:
  """A split: N images, and C captions as word ids.

  Attributes:
    name: train, validation or test.
    image_ids: [N].
    captions: [N] lists of raw captions.
    features: [N, D], raw.
    owner: [C] each caption's image; captions stand in the images' order.
    tokens: all captions' ``##START## ... ##END##``, one after another.
    offsets: [C + 1] where each caption begins in ``tokens``.
  """

  name: str
  image_ids: list[str]
  captions: list[list[str]]
  features: Features
  owner: np.ndarray
  tokens: np.ndarray
  offsets: np.ndarray

  @property
  def lengths(self) -> np.ndarray:
    """[C] target words of each caption, ``##END##`` among them."""
    return np.diff(self.offsets) - 1

  def caption_tokens(self, index: int) -> np.ndarray:
    """Return caption ``index`` as ids, from ``##START##`` to ``##END##``."""
    return self.tokens[self.offsets[index] : self.offsets[index + 1]]


def make_split(
  name: str,
  source: Sequence[Mapping[str, Any]],
  vocabulary: Vocabulary,
  cache_mb: float = 2048,
  first_caption_only: bool = False,
) -> CaptionSplit:
  """Read a split from records of image_id, feature and captions."""
  if not len(source):
    raise InputError(f'the {name} split is empty.')
  features = Features(source, cache_mb)
  image_ids, captions, owner, encoded = [], [], [], []
  for i in range(len(source)):
    record = source[i]
    image_ids.append(as_text(record['image_id']))
    features.keep(i, record['feature'])
    texts = [as_text(caption) for caption in record['captions']]
    captions.append(texts[:1] if first_caption_only else texts)
    for caption in captions[-1]:
      owner.append(i)
      encoded.append(np.asarray(vocabulary.encode_caption(caption), np.int32))
  return CaptionSplit(
    name=name,
    image_ids=image_ids,
    captions=captions,
    features=features,
    owner=np.asarray(owner),
    tokens=np.concatenate(encoded),
    offsets=np.cumsum([0] + [len(ids) for ids in encoded]),
  )


def load_split(
  dataset: Dataset,
  name: str,
  vocabulary: Vocabulary,
  cache_mb: float = 2048,
  first_caption_only: bool = False,
) -> CaptionSplit:
  """Read a split of a prepared dataset.

  Raises:
    InputError: the split is missing, empty or damaged.
  """
  source = dataset.records(name)
  return make_split(name, source, vocabulary, cache_mb, first_caption_only)


def count_unknown(split: CaptionSplit, first: int = 0) -> np.ndarray:
  """Return [C] how many words of each caption are ``##UNK##``.

  Args:
    split: C captions.
    first: so many words at the beginning of each are not counted.
  """
  position = np.arange(len(split.tokens)) - np.repeat(
    split.offsets[:-1], np.diff(split.offsets)
  )
  # Position 0 is ##START##.
  unknown = (split.tokens == UNK) & (position > first)
  return np.add.reduceat(unknown.astype(np.int64), split.offsets[:-1])


def feature_statistics(
  features: Features, block: int = 1024
) -> dict[str, np.ndarray]:
  """Return mean and standard deviation [D] of features [N, D], float32.

  Reads blocks of images, twice: nothing needs them all at once.
  """

  def average(fn):
    total = np.zeros(features.size)
    for start in range(0, len(features), block):
      index = np.arange(start, min(start + block, len(features)))
      total += fn(features[index].astype(np.float64)).sum(0)
    return total / len(features)

  mean = average(lambda x: x)
  variance = average(lambda x: np.square(x - mean))
  return {
    'mean': mean.astype(np.float32),
    'std': np.sqrt(variance).astype(np.float32),
  }


def sample_images(num_images: int, num_sampled: int, seed: int) -> np.ndarray:
  """Draw distinct images by seed; a smaller draw begins a larger one."""
  order = np.random.default_rng((seed, 1)).permutation(num_images)
  return order[:num_sampled]
