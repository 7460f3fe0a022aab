"""The dataset ``caption_features``: image id, feature and captions.

TFDS writes it as ArrayRecord, without TensorFlow.  Whoever trains opens it by
``tfds.builder_from_directory`` and needs nothing of this package.
"""

from collections.abc import Sequence
import contextlib
import dataclasses
import hashlib
import io
import itertools
import json
import os

from absl import logging
from etils import epath
import numpy as np
import tensorflow_datasets as tfds

from data_prep import beam_jobs, checks, places, records, shards
from mrnn_jax.data import feature_files as features_lib
from mrnn_jax.data import vocabulary
from mrnn_jax.runtime import errors, progress

DESCRIPTIONS = {
  'flickr8k': 'Flickr8K: 8,000 photos of people and animals in action.',
  'flickr30k': 'Flickr30K: 31,783 photos of everyday life.',
  'iaprtc12': 'IAPR TC-12: 19,627 photos, mostly of travels.',
  'scenes': 'Scenes: pictures and sentences that the program makes itself.',
}


def description(name: str) -> str:
  """Return what a dataset is, in a sentence."""
  return DESCRIPTIONS.get(name, f'{name}: captions and features from files.')


@dataclasses.dataclass(frozen=True)
class Content:
  """Everything that a dataset is made of.

  Attributes:
    name: the dataset, one of ``DESCRIPTIONS`` or somebody's own.
    checked: its records and what the checks found.
    table: the features of its images.
    fingerprint: identifies the inputs, see ``fingerprint``.
  """

  name: str
  checked: checks.Checked
  table: features_lib.FeatureTable
  fingerprint: str

  def metadata(self) -> dict:
    """Return what is stored beside the records, in ``metadata.json``."""
    splits = self.checked.splits
    return {
      'fingerprint': self.fingerprint,
      'feature_size': self.table.dim,
      'encoder': dataclasses.asdict(self.table.encoder),
      'num_captions': self.checked.num_captions,
      'num_words': self.checked.words,
      'oddities': [
        {'what': o.what, 'count': o.count, 'names': list(o.names[:20])}
        for o in self.checked.oddities
      ],
      'word_counts': vocabulary.count_words(
        caption for record in splits['train'] for caption in record.captions
      ),
    }


class CaptionFeatures(tfds.core.ShardBasedBuilder, skip_registration=True):
  """Writes records of image id, feature and captions, in the lists' order.

  It is not registered with TFDS, because it can only be made with its
  content; ``tfds.builder('caption_features/flickr8k')`` reads a dataset that
  has been written from its files alone.

  TFDS's own ways to write keep a whole split in memory, want TensorFlow where
  that is more than a gigabyte, and on Beam cut other shards, or write every
  split three times; here a shard is a shard, whoever writes it.
  """

  name = 'caption_features'
  VERSION = tfds.core.Version('1.0.0')

  # Nothing is downloaded.  TFDS would look for a list of checksums beside the
  # module, for which it needs a package that it does not install everywhere.
  url_infos = {}

  def __init__(
    self,
    content: Content,
    data_dir: epath.Path,
    engine: beam_jobs.Engine | None = None,
  ):
    self._content = content
    self._engine = engine
    self._workshop = data_dir
    super().__init__(
      data_dir=os.fspath(data_dir),
      config=tfds.core.BuilderConfig(
        name=content.name, description=description(content.name)
      ),
      file_format='array_record',
    )

  def _info(self) -> tfds.core.DatasetInfo:
    table = self._content.table
    return tfds.core.DatasetInfo(
      builder=self,
      description=description(self._content.name),
      features=shards.make_features(table.dim, table.dtype),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(self._content.metadata()),
    )

  def _download_and_prepare(self, dl_manager, download_config=None):
    del dl_manager, download_config  # Nothing is downloaded.
    table = self._content.table
    infos, planned = [], []
    for split, rows in self._content.checked.splits.items():
      parts = shards.cut(rows, table.dim * table.dtype.itemsize)
      template = tfds.core.ShardedFileTemplate(
        data_dir=self.data_path,
        dataset_name=self.name,
        split=split,
        filetype_suffix='array_record',
      )
      paths = template.sharded_filepaths(len(parts))
      lengths = [len(part) for part in parts]
      infos.append((split, lengths, template, paths))
      planned += zip(paths, parts, strict=True)
    if self._engine:
      beam_jobs.write(planned, self._engine, self._workshop / 'jobs')
    else:
      self._write_here(planned)
    self.info.set_splits(
      tfds.core.SplitDict(
        [
          tfds.core.SplitInfo(
            name=split,
            shard_lengths=lengths,
            num_bytes=sum(path.stat().length for path in paths),
            filename_template=template,
          )
          for split, lengths, template, paths in infos
        ]
      )
    )

  def _write_here(
    self, planned: list[tuple[epath.Path, Sequence[records.Record]]]
  ):
    """Write the planned shards, one after another, with progress."""
    rows = list(itertools.chain.from_iterable(part for _, part in planned))
    tracked = progress.track(rows, len(rows), 'write images')
    for path, part in planned:
      mine = itertools.islice(tracked, len(part))
      shards.write(path, mine, self._content.table)
    # Let the progress line come to its end.
    next(tracked, None)

  def _shard_iterators_per_split(self, dl_manager):
    raise NotImplementedError('TFDS asks for these to cut shards itself')


def fingerprint(
  checked: checks.Checked,
  seed: int | None,
  encoder: features_lib.Encoder,
  features_digest: str,
) -> str:
  """Identify the inputs of a dataset by their content.

  Args:
    checked: the records and what the checks found.
    seed: the seed that the splits depend on, if they do.
    encoder: which network made the features.
    features_digest: identifies the features, see ``digest_features``.

  Returns:
    64 hexadecimal digits.
  """
  content = {
    'splits': {
      split: [[record.image_id, record.captions] for record in rows]
      for split, rows in checked.splits.items()
    },
    'oddities': [str(oddity) for oddity in checked.oddities],
    'seed': seed,
    'encoder': dataclasses.asdict(encoder),
    'features': features_digest,
  }
  text = json.dumps(content, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def digest_features(
  checked: checks.Checked, table: features_lib.FeatureTable
) -> str:
  """Identify the features of all records by their bytes, dtype and order."""
  digest = hashlib.sha256(f'{np.dtype(table.dtype)} {table.dim}'.encode())
  for rows in checked.splits.values():
    for record in rows:
      digest.update(table.get(record.image_id).tobytes())
  return digest.hexdigest()


def dataset_path(data_dir: epath.PathLike, name: str) -> epath.Path:
  """Return the directory of a dataset below TFDS's data directory."""
  root = epath.Path(data_dir).expanduser()
  version = str(CaptionFeatures.VERSION)
  return root / CaptionFeatures.name / name / version


def is_there(
  data_dir: epath.PathLike,
  name: str,
  wanted: str,
  overwrite: bool,
) -> bool:
  """Say whether a dataset is there already and need not be written.

  Args:
    data_dir: TFDS's data directory.
    name: the dataset.
    wanted: the fingerprint of the inputs at hand.
    overwrite: whether a dataset of other inputs may be replaced.

  Returns:
    True if it is there, made from the same inputs.

  Raises:
    InputError: another one is there and must not be overwritten.
  """
  path = dataset_path(data_dir, name)
  places.recover(path)
  if not path.exists():
    return False
  try:
    metadata = json.loads((path / 'metadata.json').read_text())
    found = metadata['fingerprint']
  except (OSError, ValueError, KeyError, TypeError):
    found = None
  if found == wanted:
    return True
  if overwrite:
    return False
  raise errors.InputError(
    f'{path} holds a dataset made from other input: replace it with'
    ' --overwrite, or write elsewhere with --data_dir.'
  )


def write(
  content: Content,
  data_dir: epath.PathLike,
  engine: beam_jobs.Engine | None = None,
) -> epath.Path:
  """Write a dataset so that it is there as a whole or not at all.

  It is made in a directory beside its place and moved there when it is
  complete; an older one stays in its place until then.

  Args:
    content: what to write.
    data_dir: TFDS's data directory.
    engine: who writes the shards, byte by byte the same ones; by default this
      process does.

  Returns:
    The directory of the dataset, for ``tfds.builder_from_directory``.

  Raises:
    InputError: another process builds the same dataset, or the engine fails.
  """
  path = dataset_path(data_dir, content.name)
  # Its bars take many lines in a log; ours stand in _download_and_prepare.
  tfds.disable_progress_bar()
  with places.workshop(path) as workshop:
    with _quiet():
      builder = CaptionFeatures(content, workshop, engine)
      builder.download_and_prepare()
    places.move_in(epath.Path(builder.data_dir), path)
  return path


@contextlib.contextmanager
def _quiet():
  """Hush what TFDS says of every dataset whose name it does not know.

  It also announces a download of unknown size on stdout; there is none.
  """
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.set_verbosity(verbosity)
