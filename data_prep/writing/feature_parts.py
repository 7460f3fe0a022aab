"""Features on their way to a file: saved in parts, so that a run may stop."""

from collections.abc import Sequence
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

import numpy as np

from mrnn_jax.data.feature_files import Encoder
from mrnn_jax.encoders import photos
from mrnn_jax.runtime import files, npz
from mrnn_jax.runtime.errors import InputError

# Photos of a part, which a run that is stopped does not do again.
_PART_SIZE = 512


def report_path(output: pathlib.Path) -> pathlib.Path:
  """Return the list of unreadable photos that lies beside a feature file."""
  return output.with_name(f'{output.name}.unreadable.txt')


def discard(output: pathlib.Path) -> None:
  """Remove the parts of a feature file, if there are any."""
  folder = _folder(output)
  if folder.exists():
    shutil.rmtree(folder)


def _folder(output: pathlib.Path) -> pathlib.Path:
  """Return where the parts of a feature file lie while it is made."""
  return output.with_name(f'{output.name}.parts')


class Parts:
  """Features saved beside the output while they are made.

  A part holds the same photos in every run, and each of its batches is the
  same, so the output of a run that was stopped does not differ by a bit.

  Attributes:
    done: how many photos, the first ones, have their features saved.
  """

  def __init__(
    self,
    output: pathlib.Path,
    found: Sequence[photos.Photo],
    encoder: Encoder,
    batch_size: int,
    dtype: str,
    view_flips: Sequence[bool] = (False,),
  ):
    """Take up the parts of an earlier run, if it had the same photos.

    Args:
      output: the file to write.
      found: the photos.
      encoder: how their features are made.
      batch_size: photos at a time.
      dtype: of the features in the output.
      view_flips: [K] which views of a photo are mirrored.

    Raises:
      InputError: the output's folder cannot be written to.
    """
    self._output = output
    self._found = found
    self._encoder = encoder
    self._dtype = dtype
    self._flips = list(view_flips)
    self._folder = _folder(output)
    self._part_size = -(-_PART_SIZE // batch_size) * batch_size
    self._features: list[np.ndarray] = []
    self._reasons: list[str] = []
    plan = _plan(found, encoder, batch_size, len(self._flips))
    self._take_up(plan)
    self.done = 0
    while self._path(self.done).exists():
      self.done += self._part_size
    self.done = min(self.done, len(found))

  def _take_up(self, plan: str):
    """Keep the parts of an earlier run if they are of the same photos."""
    path = self._folder / 'plan.txt'
    if path.exists():
      if path.read_text() != plan:
        print('The photos or the settings have changed: beginning anew.')
        discard(self._output)
    else:
      # Parts without a plan are what a killed run did not come to remove.
      discard(self._output)
    try:
      files.write_text(path, plan)
    except OSError as error:
      raise InputError(
        f'{self._output.parent} cannot be written to ({error.strerror}): name'
        ' another --output.'
      ) from error

  def _path(self, first: int) -> pathlib.Path:
    """Return the file of the part whose first photo has this number."""
    return self._folder / f'{first:08}.npz'

  def add(self, features: np.ndarray, reasons: Sequence[str]):
    """Take a batch; save the part when it is full or the last."""
    self._features.append(features)
    self._reasons += reasons
    filled = len(self._reasons)
    if filled == self._part_size or self.done + filled == len(self._found):
      npz.write(
        self._path(self.done),
        features=np.concatenate(self._features),
        reasons=np.array(self._reasons, np.str_),
      )
      self.done += filled
      self._features, self._reasons = [], []

  def finish(self) -> list[tuple[str, str]]:
    """Write output and report, and remove the parts.

    Returns:
      Name and reason of each photo that could not be read.

    Raises:
      InputError: none could.
    """
    reasons, features = [], []
    for first in range(0, len(self._found), self._part_size):
      with np.load(self._path(first), allow_pickle=False) as part:
        some = part['reasons'].tolist()
        readable = [not reason for reason in some]
        features.append(part['features'][readable].astype(self._dtype))
      reasons += some
    pairs = zip(self._found, reasons, strict=True)
    unreadable = [(photo.id, reason) for photo, reason in pairs if reason]
    if len(unreadable) == len(self._found):
      discard(self._output)
      name, reason = unreadable[0]
      raise InputError(
        f'none of the {len(unreadable):,} photos can be read, the first is'
        f' {name} ({reason}): correct --images.'
      )
    failed = {name for name, _ in unreadable}
    report = report_path(self._output)
    if unreadable:
      lines = [f'{name}\t{reason}\n' for name, reason in unreadable]
      # In the folder first, where a killed run leaves nothing for long.
      made = self._folder / 'unreadable.txt'
      made.write_text(''.join(lines), encoding='utf-8')
      made.replace(report)
    else:
      report.unlink(missing_ok=True)
    features, views = np.concatenate(features), {}
    if len(self._flips) > 1:
      views = {'views': features[:, 1:], 'view_flips': np.array(self._flips)}
      features = features[:, 0]
    made = self._folder / 'output.npz'
    npz.write(
      made,
      ids=np.array([x.id for x in self._found if x.id not in failed], np.str_),
      features=features,
      encoder=np.array(self._encoder.name),
      weights=np.array(self._encoder.weights),
      **views,
    )
    made.replace(self._output)
    discard(self._output)
    return unreadable


def _plan(
  found: Sequence[photos.Photo],
  encoder: Encoder,
  batch_size: int,
  num_views: int,
) -> str:
  """Return a hash of all that the features depend on."""
  entries = []
  for photo in found:
    try:
      status = os.stat(photo.path)
      entries.append([photo.id, photo.path, status.st_size, status.st_mtime_ns])
    except OSError:
      entries.append([photo.id, photo.path])
  made = [dataclasses.astuple(encoder), batch_size, entries]
  # What a version before views has begun goes on.
  text = json.dumps(made + [num_views] * (num_views > 1))
  return hashlib.sha256(text.encode()).hexdigest()
