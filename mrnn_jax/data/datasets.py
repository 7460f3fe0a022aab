"""Prepared TFDS datasets, read split by split.

A split is read once: its captions become word ids, which are small; features,
which are not, are kept in memory if they fit, and in a file if not.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import re
import sys
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.data.feature_spool import FeatureSpool
from mrnn_jax.data.vocabulary import UNK, Vocabulary
from mrnn_jax.runtime import files, json_files, messages
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
  """

  name: str
  path: epath.Path
  builder: Any
  metadata: Mapping[str, Any]

  @property
  def fingerprint(self) -> str:
    """The hash of everything that the dataset was built from."""
    return self.metadata['fingerprint']

  @property
  def feature_size(self) -> int:
    """D, the size of an image feature."""
    return self.metadata['feature_size']

  def training_captions(self) -> list[str]:
    """Return all raw captions of the training split."""
    source = _Source(self, 'train')
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
    data_dir: folder of prepared datasets; '' for TFDS's own.

  Raises:
    InputError: it is not there, or damaged.
  """
  root = epath.Path(data_dir or default_data_dir()).expanduser()
  folders = versions(root / BUILDER / name)
  if not folders:
    raise InputError(
      f'there is no dataset "{name}" in {root}: make it by "python -m '
      f'data_prep.build --dataset={name} ...", or name its folder by '
      '--data_dir.'
    )
  return Dataset(name, folders[-1], *open_folder(folders[-1]))


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
  """The image features [N, D] of a split, in memory or on disk.

  Attributes:
    size: D.
    dtype: as they are stored.
    cached_mb: MiB of memory that they take.
  """

  def __init__(self, source: Sequence[Mapping[str, Any]], cache_mb: float):
    """Take a source of records; ``cache_mb`` MiB of features go to memory.

    Beyond that they are kept in a file (``FeatureSpool``); where there is no
    place for it they are read from the records as they are needed.
    """
    self._source = source
    first = np.asarray(source[0]['feature'])
    self.dtype, self.size = first.dtype, first.size
    shape = len(source), self.size
    size_mb = len(source) * first.nbytes / 2**20
    self._cache: np.ndarray | FeatureSpool | None = None
    self.cached_mb = size_mb if size_mb <= cache_mb else 0.0
    if size_mb <= cache_mb:
      self._cache = np.empty(shape, self.dtype)
      return
    try:
      self._cache = FeatureSpool(*shape, self.dtype)
    except OSError as error:
      print(
        f'note: no place for {size_mb:,.0f} MB of features in '
        f'{files.user_cache()} ({error.strerror}): they are read from the '
        'dataset again and again, which is slow.',
        file=sys.stderr,
      )

  def __len__(self) -> int:
    return len(self._source)

  def keep(self, index: int, feature: np.ndarray) -> None:
    """Keep a feature that was read anyhow; all are, before any is asked for."""
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
  source = _Source(dataset, name)
  return make_split(name, source, vocabulary, cache_mb, first_caption_only)


class _Source(Sequence):
  """The records of a split; of a damaged one the file is named.

  ArrayRecord's chunks carry hashes: other bytes than were written are noticed.
  """

  def __init__(self, dataset: Dataset, name: str):
    self._dataset, self._name = dataset, name
    with self._reading():
      self._source = dataset.builder.as_data_source(name)
      self._split = dataset.builder.info.splits[name]

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> Mapping[str, Any]:
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


def as_text(value: str | bytes) -> str:
  """Return a text of a record, which TFDS gives as bytes."""
  return value.decode('utf-8') if isinstance(value, bytes) else value


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

  Reads blocks of images, once: nothing needs them all at once.
  """
  count, mean = 0, np.zeros(features.size)
  squares = np.zeros(features.size)  # Of differences from the mean.
  for start in range(0, len(features), block):
    rows = features[start : start + block].astype(np.float64)
    own_mean = rows.mean(0)
    # Two means become one (Chan et al. 1979).
    apart, share = own_mean - mean, len(rows) / (count + len(rows))
    squares += np.square(rows - own_mean).sum(0)
    squares += np.square(apart) * (count * share)
    mean, count = mean + apart * share, count + len(rows)
  return {
    'mean': mean.astype(np.float32),
    'std': np.sqrt(squares / count).astype(np.float32),
  }


def sample_images(num_images: int, num_sampled: int, seed: int) -> np.ndarray:
  """Draw distinct images by seed; a smaller draw begins a larger one."""
  order = np.random.default_rng((seed, 1)).permutation(num_images)
  return order[:num_sampled]
