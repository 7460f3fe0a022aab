"""A dataset in its place: whether it is there already, and writing it."""

import contextlib
import io
import json

from absl import logging
from etils import epath
import tensorflow_datasets as tfds

from data_prep.caption_features import CaptionFeatures
from data_prep.writing import beam_jobs, places
from data_prep.writing.content import Content
from mrnn_jax.data import datasets
from mrnn_jax.runtime import errors


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
    True if it is there and whole, made from the same inputs.

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
    # What is damaged is written again: nothing is lost by it.
    return _is_whole(path)
  if overwrite:
    return False
  raise errors.InputError(
    f'{path} holds a dataset made from other input: replace it with'
    ' --overwrite, or write elsewhere with --data_dir.'
  )


def _is_whole(path: epath.Path) -> bool:
  """Say whether every record of a dataset can be read."""
  try:
    builder, _ = datasets.open_folder(path)
    for split in datasets.SPLITS:
      source = builder.as_data_source(split)
      for index in range(len(source)):
        source[index]  # ArrayRecord's chunks carry hashes.
  except Exception:  # Readers raise whatever their C++ side does.
    return False
  return True


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
