"""The dataset ``caption_features``: image id, feature, photo, captions.

TFDS writes it as ArrayRecord, without TensorFlow.  Whoever trains opens it by
``tfds.builder_from_directory`` and needs nothing of this package.
"""

from collections.abc import Sequence
import itertools
import os
from typing import Any, ClassVar

from etils import epath
import tensorflow_datasets as tfds

from data_prep import records
from data_prep.writing import beam_jobs, shards
from data_prep.writing.content import Content, description
from mrnn_jax.data import datasets
from mrnn_jax.runtime import progress


# A class without types says nothing of the arguments that its heirs may give.
class CaptionFeatures(  # type: ignore[call-arg]
  tfds.core.ShardBasedBuilder, skip_registration=True
):
  """Writes records of images and their captions, in the lists' order.

  It is not registered with TFDS, because it can only be made with its
  content; ``tfds.builder('caption_features/flickr8k')`` reads a dataset that
  has been written from its files alone.

  TFDS's own ways to write keep a whole split in memory, want TensorFlow where
  that is more than a gigabyte, and on Beam cut other shards, or write every
  split three times; here a shard is a shard, whoever writes it.
  """

  name = datasets.BUILDER
  VERSION = tfds.core.Version('1.0.0')

  # Nothing is downloaded.  TFDS would look for a list of checksums beside the
  # module, for which it needs a package that it does not install everywhere.
  url_infos: ClassVar[dict[str, Any]] = {}

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
    return tfds.core.DatasetInfo(
      builder=self,
      description=description(self._content.name),
      features=shards.make_features(self._content.images),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(self._content.metadata()),
    )

  def _download_and_prepare(self, dl_manager, download_config=None):
    del dl_manager, download_config  # Nothing is downloaded.
    infos = []
    planned: list[tuple[epath.Path, Sequence[records.Record]]] = []
    for split, rows in self._content.checked.splits.items():
      parts = shards.cut(rows, self._content.images.bytes_each())
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
    tracked = progress.track(rows, len(rows), 'write', 'images')
    for path, part in planned:
      mine = itertools.islice(tracked, len(part))
      shards.write(path, mine, self._content.images)
    # Let the progress line come to its end.
    next(tracked, None)

  def _shard_iterators_per_split(self, dl_manager):
    raise NotImplementedError('TFDS asks for these to cut shards itself')
