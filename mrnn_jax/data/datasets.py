"""Prepared TFDS datasets, read split by split.

A split is read once: its captions become word ids, which are small; features,
which are not, are kept in memory if they fit, and in a file if not.
"""

from collections.abc import Mapping, Sequence
import copy
import dataclasses
import re
import threading
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.data.image_features import FIRST, Features
from mrnn_jax.data.metadata import check_metadata, join_metadata
from mrnn_jax.data.records import JoinedRecords, Records, as_text
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

  @property
  def view_flips(self) -> list[bool]:
    """[K] which views of an image are mirrored; the first is its feature."""
    return self.metadata.get('view_flips', [False])

  @property
  def has_features(self) -> bool:
    """Whether its images have features; else they have photos alone."""
    return self.metadata.get('features', True)

  @property
  def photo_size(self) -> int:
    """Pixels of a side of its photos; 0 where it has none."""
    return self.metadata.get('photo_size', 0)

  def training_captions(self) -> list[str]:
    """Return all raw captions of the training split."""
    texts = (record['captions'] for record in Records(self, 'train'))
    return [as_text(caption) for captions in texts for caption in captions]

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
  folders = files.split_paths(data_dir)
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
  for part in parts:
    if not part.has_features:
      raise InputError(
        f'{part.path} has photos alone: features are put together, so build it '
        'with --features.'
      )
  metadata = join_metadata([part.metadata for part in parts])
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
    check_metadata(metadata)
  except Exception as error:  # TFDS raises nearly anything.
    raise InputError(
      f'the dataset in {path} cannot be opened ({messages.first_line(error)}):'
      f' build it again by "python -m data_prep.build '
      f'--dataset={path.parent.name} --overwrite ...".'
    ) from error
  return builder, metadata


@dataclasses.dataclass(frozen=True)
class CaptionSplit:
  """A split: N images, and C captions as word ids.

  Attributes:
    name: train, validation or test.
    image_ids: [N].
    captions: [N] lists of raw captions.
    given_features: [N, D], raw; None where photos stand for them.
    owner: [C] each caption's image; captions stand in the images' order.
    tokens: all captions' ``##START## ... ##END##``, one after another.
    offsets: [C + 1] where each caption begins in ``tokens``.
    given_photos: of the images, if the dataset has any.
  """

  name: str
  image_ids: list[str]
  captions: list[list[str]]
  given_features: Features | None
  owner: np.ndarray
  tokens: np.ndarray
  offsets: np.ndarray
  given_photos: 'Photos | None' = None

  @property
  def has_features(self) -> bool:
    """Whether its images have features; else they have photos alone."""
    return self.given_features is not None

  @property
  def features(self) -> Features:
    """[N, D] raw features of the images.

    Raises:
      InputError: they have photos alone.
    """
    if self.given_features is None:
      raise InputError(
        f'the {self.name} split has photos alone: build it with --features, or '
        'use a model that was trained with its encoder.'
      )
    return self.given_features

  @property
  def photos(self) -> 'Photos':
    """[N] photos of the images.

    Raises:
      InputError: the dataset has none.
    """
    if self.given_photos is None:
      raise InputError(
        f'the {self.name} split has no photos: build it by "python -m '
        'data_prep.build --photos=DIR ...".'
      )
    return self.given_photos

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
  view_flips: Sequence[bool] = (False,),
  views: str = FIRST,
) -> CaptionSplit:
  """Read a split from records of image_id, feature, captions and views.

  Records may lack features; their photos are ``load_split``'s business.
  """
  if not len(source):
    raise InputError(f'the {name} split is empty.')
  features = None
  if 'feature' in source[0]:
    features = Features(source, cache_mb, view_flips, views)
  image_ids, captions, owner, encoded = [], [], [], []
  for i in range(len(source)):
    record = source[i]
    image_ids.append(as_text(record['image_id']))
    if features:
      features.keep(i, record)
    texts = [as_text(caption) for caption in record['captions']]
    captions.append(texts[:1] if first_caption_only else texts)
    for caption in captions[-1]:
      owner.append(i)
      encoded.append(np.asarray(vocabulary.encode_caption(caption), np.int32))
  return CaptionSplit(
    name=name,
    image_ids=image_ids,
    captions=captions,
    given_features=features,
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
  views: str = FIRST,
) -> CaptionSplit:
  """Read a split of a prepared dataset.

  Args:
    dataset: which.
    name: of the split.
    vocabulary: whose ids its words become.
    cache_mb: MiB up to which features are kept in memory.
    first_caption_only: whether other captions are left out.
    views: what the features of images are, see ``image_features.VIEWS``.

  Raises:
    InputError: the split is missing, empty or damaged.
  """
  split = make_split(
    name,
    dataset.records(name),
    vocabulary,
    cache_mb,
    first_caption_only,
    dataset.view_flips,
    views,
  )
  if not dataset.photo_size:
    return split
  photos = Photos(dataset, name, split.image_ids)
  return dataclasses.replace(split, given_photos=photos)


_OPENING = threading.Lock()


class Photos:
  """The photos of a split's images, read when they are needed.

  It may be sent to other processes, which open the dataset for themselves.
  """

  def __init__(self, dataset: Dataset, name: str, image_ids: Sequence[str]):
    """Take the photos of all N images of a split, in its order."""
    self.size, self.image_ids = dataset.photo_size, list(image_ids)
    self._place, self._name = (dataset.name, dataset.path), name
    self._numbers = np.arange(len(self.image_ids))
    self._source: Records | None = None

  def select(self, images: np.ndarray) -> 'Photos':
    """Return the photos of some images, in the order given."""
    selected = copy.copy(self)
    selected.image_ids = [self.image_ids[i] for i in images]
    selected._numbers = self._numbers[images]
    return selected

  def __len__(self) -> int:
    return len(self.image_ids)

  def __getstate__(self) -> dict[str, Any]:
    return {**vars(self), '_source': None}

  def __getitem__(self, index: int) -> bytes:
    """Return the JPEG of an image, a square of ``size`` pixels a side."""
    if self._source is None:
      # By one thread, its first record too: parts of TFDS are imported when
      # they are used, and two threads at that may wait for each other.
      with _OPENING:
        if self._source is None:
          name, path = self._place
          dataset = Dataset(name, path, *open_folder(path))
          source = Records(dataset, self._name)
          source[int(self._numbers[index])]
          self._source = source
    return self._source[int(self._numbers[index])]['photo']


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


def sample_images(num_images: int, num_sampled: int, seed: int) -> np.ndarray:
  """Draw distinct images by seed; a smaller draw begins a larger one."""
  order = np.random.default_rng((seed, 1)).permutation(num_images)
  return order[:num_sampled]
