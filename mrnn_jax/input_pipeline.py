"""Prepared TFDS datasets -> batches, by Grain.

A split is read once: its captions become word ids, which are small; features,
which are not, are cached if they fit and read when needed if not.

Batches are planned, not drawn: which captions step n holds is a function of
the seed and n alone.  So the position in the data is the step number, and a
run resumes at any step on any number of devices and processes.

A row of a batch holds G = ``captions_per_row`` captions one after another,
short ones with long ones: the sums of their lengths vary much less than the
lengths, so that a few row lengths ("buckets") waste next to nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import functools
import json
from typing import Any

from etils import epath
import grain
import numpy as np

from mrnn_jax.errors import InputError
from mrnn_jax.vocabulary import PAD, UNK, Vocabulary

BUILDER = 'caption_features'
SPLITS = ('train', 'validation', 'test')

Batch = dict[str, np.ndarray]


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
      _text(caption)
      for i in range(len(source))
      for caption in source[i]['captions']
    ]

  def vocabulary(self, min_word_count: int) -> Vocabulary:
    """Cut the vocabulary from the word counts of the training split."""
    return Vocabulary.from_counts(self.metadata['word_counts'], min_word_count)


def open_dataset(name: str, data_dir: str = '') -> Dataset:
  """Open a dataset that ``data_prep.build`` has prepared.

  Args:
    name: of the dataset.
    data_dir: folder of prepared datasets; '' for TFDS's own.

  Raises:
    InputError: it is not there, or damaged.
  """
  import tensorflow_datasets as tfds  # Late: it is slow to import.

  root = epath.Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
  versions = sorted((root / BUILDER / name).glob('*.*.*'))
  if not versions:
    raise InputError(
      f'there is no dataset "{name}" in {root}: make it by "python -m '
      f'data_prep.build --dataset={name} ...", or name its folder by '
      '--data_dir.'
    )
  path = versions[-1]
  try:
    builder = tfds.builder_from_directory(path)
    metadata = json.loads((path / 'metadata.json').read_text())
  except (OSError, ValueError, AssertionError) as error:
    raise InputError(
      f'the dataset in {path} cannot be opened ({error}): build it again by '
      f'"python -m data_prep.build --dataset={name} --overwrite ...".'
    ) from error
  return Dataset(name, path, builder, metadata)


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

  def __getitem__(self, indices: np.ndarray) -> np.ndarray:
    """Return the features of some images: [...] --> [..., D]."""
    if self._cache is not None:
      return self._cache[indices]
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
    image_ids.append(_text(record['image_id']))
    features.keep(i, record['feature'])
    texts = [_text(caption) for caption in record['captions']]
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


def _text(value: str | bytes) -> str:
  return value.decode('utf-8') if isinstance(value, bytes) else value


def choose_buckets(lengths: np.ndarray, num_buckets: int) -> list[int]:
  """Choose at most ``num_buckets`` lengths that waste least.

  Each of ``lengths`` is padded to the next bucket; the sum is least, by
  dynamic programming over the distinct lengths.
  """
  values, counts = np.unique(lengths, return_counts=True)
  total = np.concatenate([[0], np.cumsum(counts)])
  n = len(values)
  # cost[j]: least sum for the first j values; one more bucket each round.
  cost = np.full(n + 1, np.inf)
  cost[0] = 0
  choices = []
  for _ in range(min(num_buckets, n)):
    table = np.full((n + 1, n + 1), np.inf)
    for j in range(1, n + 1):
      table[j, :j] = cost[:j] + (total[j] - total[:j]) * values[j - 1]
    choices.append(table.argmin(1))
    cost = table.min(1)
  buckets, j = [], n
  for choice in reversed(choices):
    if j > 0:
      buckets.append(int(values[j - 1]))
      j = int(choice[j])
  return buckets[::-1]


def fill_rows(
  lengths: np.ndarray, captions_per_row: int, rng: np.random.Generator | None
) -> np.ndarray:
  """Lay captions in rows, short ones with long ones.

  Args:
    lengths: [C].
    captions_per_row: G.
    rng: shuffles captions of equal length; None keeps them in order.

  Returns:
    [ceil(C / G), G] caption numbers, -1 for none, each caption once.
  """
  order = np.arange(len(lengths))
  if rng is not None:
    rng.shuffle(order)
  order = order[np.argsort(lengths[order], kind='stable')]
  num_rows = -(-len(order) // captions_per_row)
  padded = np.full(num_rows * captions_per_row, -1)
  # The empty places come first, as the shortest captions would.
  padded[len(padded) - len(order) :] = order
  columns = padded.reshape(captions_per_row, num_rows)
  # Every other quantile runs backwards: long with short.
  columns[1::2] = columns[1::2, ::-1]
  return columns.T


def plan_batches(
  lengths: np.ndarray,
  buckets: Sequence[int],
  batch_size: int,
  captions_per_row: int,
  rng: np.random.Generator | None,
) -> list[tuple[int, np.ndarray]]:
  """Plan one pass over captions, in full batches.

  Rows that fill no batch of their bucket move up to the next, so that only
  the last batch can be short.

  Returns:
    Pairs of a row length T and [rows, G] caption numbers, -1 for none.
  """
  rows_per_batch = max(1, batch_size // captions_per_row)
  rows = fill_rows(lengths, captions_per_row, rng)
  sums = np.where(rows >= 0, lengths[rows], 0).sum(1)
  bucket_of = np.searchsorted(buckets, sums)
  batches, waiting = [], rows[:0]
  for b, length in enumerate(buckets):
    mine = rows[bucket_of == b]
    if rng is not None:
      rng.shuffle(mine)
    # Rows moved up go first: they must not move on and on.
    mine = np.concatenate([waiting, mine])
    last = b == len(buckets) - 1
    stop = len(mine) if last else len(mine) - len(mine) % rows_per_batch
    batches += [
      (length, mine[i : i + rows_per_batch])
      for i in range(0, stop, rows_per_batch)
    ]
    waiting = mine[stop:]
  if rng is not None:
    rng.shuffle(batches)
  return batches


def fill_batch(
  split: CaptionSplit, length: int, rows: np.ndarray, num_rows: int
) -> Batch:
  """Fill a batch from the rows of a plan.

  Args:
    split: where the captions are.
    length: T.
    rows: [<= num_rows, G] caption numbers, -1 for none.
    num_rows: B; rows of padding make up the number.

  Returns:
    tokens and targets [B, T] int32, ``PAD`` where there is nothing; features
    [B, G, D]; captions [B, G], the caption numbers.
  """
  G = rows.shape[1]
  captions = np.full((num_rows, G), -1)
  captions[: len(rows)] = rows
  tokens = np.full((num_rows, length), PAD, np.int32)
  targets = np.full((num_rows, length), PAD, np.int32)
  features = np.zeros((num_rows, G, split.features.size), split.features.dtype)
  for b, row in enumerate(rows):
    t = 0
    # Captions first: the g-th ##START## of a row has the g-th feature.
    present = row[row >= 0]
    captions[b] = -1
    captions[b, : len(present)] = present
    for caption in present:
      ids = split.caption_tokens(caption)
      tokens[b, t : t + len(ids) - 1] = ids[:-1]
      targets[b, t : t + len(ids) - 1] = ids[1:]
      t += len(ids) - 1
  there = captions >= 0
  features[there] = split.features[split.owner[captions[there]]]
  return {
    'tokens': tokens,
    'targets': targets,
    'features': features,
    'captions': captions,
  }


class TrainingBatches:
  """The batches of a training run, by step number.

  Attributes:
    steps_per_epoch: batches in a pass over the captions.
    words_per_batch: the expected number of target words of a batch.
    buckets: row lengths that occur.
    padding: share of the target positions of a pass that are padding.
  """

  def __init__(
    self,
    split: CaptionSplit,
    batch_size: int,
    captions_per_row: int,
    num_buckets: int,
    seed: int,
    row_multiple: int = 1,
    shard: tuple[int, int] = (0, 1),
  ):
    """Plan batches.

    Args:
      split: the training split.
      batch_size: captions a step.
      captions_per_row: G.
      num_buckets: row lengths at most.
      seed: of the order.
      row_multiple: batches are padded to a multiple of it with empty rows.
      shard: (i, n): fill only part i of n of each batch's rows.
    """
    self._split, self._seed, self._shard = split, seed, shard
    self._batch_size = min(
      batch_size, -(-len(split.owner) // captions_per_row) * captions_per_row
    )
    self._captions_per_row = captions_per_row
    lengths = split.lengths
    rows = fill_rows(lengths, captions_per_row, None)
    sums = np.where(rows >= 0, lengths[rows], 0).sum(1)
    self.buckets = choose_buckets(sums, num_buckets)
    rows_per_batch = max(1, self._batch_size // captions_per_row)
    self.num_rows = -(-rows_per_batch // row_multiple) * row_multiple
    plan = self.plan(0)
    self.steps_per_epoch = len(plan)
    self.words_per_batch = lengths.sum() / len(plan)
    positions = sum(length * rows_per_batch for length, _ in plan)
    self.padding = 1 - lengths.sum() / positions

  @functools.lru_cache(maxsize=4)  # noqa: B019  (lives as long as the run)
  def plan(self, epoch: int) -> list[tuple[int, np.ndarray]]:
    """Return the batches of an epoch, as ``plan_batches``."""
    return plan_batches(
      self._split.lengths,
      self.buckets,
      self._batch_size,
      self._captions_per_row,
      np.random.default_rng((self._seed, epoch)),
    )

  def batch(self, step: int) -> Batch:
    """Return this shard's part of the batch of a step."""
    epoch, i = divmod(step, self.steps_per_epoch)
    length, rows = self.plan(epoch)[i]
    shard, num_shards = self._shard
    share = self.num_rows // num_shards
    mine = rows[shard * share : (shard + 1) * share]
    return fill_batch(self._split, length, mine, share)

  def iterate(
    self, start: int, stop: int, num_threads: int = 2
  ) -> Iterator[Batch]:
    """Yield the batches of steps ``start`` to ``stop``, filled ahead."""
    dataset = grain.MapDataset.range(start, stop).map(self.batch)
    return iter(
      dataset.to_iter_dataset(
        grain.ReadOptions(
          num_threads=num_threads, prefetch_buffer_size=4 * num_threads
        )
      )
    )


def evaluation_batches(
  split: CaptionSplit,
  batch_size: int,
  row_multiple: int = 1,
  num_buckets: int = 4,
) -> Iterator[Batch]:
  """Yield every caption of a split once, one a row, in few shapes."""
  buckets = choose_buckets(split.lengths, num_buckets)
  plan = plan_batches(split.lengths, buckets, batch_size, 1, None)
  num_rows = -(-batch_size // row_multiple) * row_multiple
  for length, rows in plan:
    yield fill_batch(split, length, rows, num_rows)


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
