"""Features on their way to a file: saved in parts, so that a run may stop."""

from collections.abc import Iterable, Sequence
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.data.feature_files import Encoder, numpy_files
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
    part_size: photos of a part.
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
    self.part_size = -(-_PART_SIZE // batch_size) * batch_size
    self._features: list[np.ndarray] = []
    self._reasons: list[str] = []
    plan = _plan(found, encoder, batch_size, len(self._flips))
    self._take_up(plan)
    self.done = 0
    while self._path(self.done).exists():
      self.done += self.part_size
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

  @property
  def missing(self) -> list[int]:
    """The first photos of the parts that are not there."""
    firsts = range(0, len(self._found), self.part_size)
    return [first for first in firsts if not self._path(first).exists()]

  @property
  def folder(self) -> pathlib.Path:
    """Where the parts lie."""
    return self._folder

  def add(self, features: np.ndarray, reasons: Sequence[str]):
    """Take a batch; save the part when it is full or the last."""
    self._features.append(features)
    self._reasons += reasons
    filled = len(self._reasons)
    if filled == self.part_size or self.done + filled == len(self._found):
      write_part(
        self._path(self.done), np.concatenate(self._features), self._reasons
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
    firsts = range(0, len(self._found), self.part_size)
    reasons = [x for first in firsts for x in _reasons(self._path(first))]
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
    ids = [x.id for x in self._found if x.id not in failed]
    report = report_path(self._output)
    if unreadable:
      lines = [f'{name}\t{reason}\n' for name, reason in unreadable]
      # In the folder first, where a killed run leaves nothing for long.
      self._put(report, ''.join(lines))
    else:
      report.unlink(missing_ok=True)
    dim = _part(self._path(0))['features'].shape[-1]
    views: dict[str, Any] = {}
    K = len(self._flips)
    if K > 1:
      views = {
        'views': self._pieces(firsts, (len(ids), K - 1, dim), slice(1, None)),
        'view_flips': np.array(self._flips),
      }
    features = self._pieces(firsts, (len(ids), dim), 0 if K > 1 else ...)
    made = self._folder / f'output{self._output.suffix}'
    if made.suffix == '.npy':
      self._write_npy(made, ids, features)
    else:
      npz.write(
        made,
        ids=np.array(ids, np.str_),
        features=features,
        encoder=np.array(self._encoder.name),
        weights=np.array(self._encoder.weights),
        **views,
      )
    made.replace(self._output)
    discard(self._output)
    return unreadable

  def _pieces(
    self, firsts: Iterable[int], shape: tuple[int, ...], which: Any
  ) -> npz.Pieces:
    """Return an array [N, ...] of the photos that could be read, in pieces.

    Args:
      firsts: the first photos of the parts.
      shape: of all.
      which: of the second axis of a part's features is taken.
    """
    parts = (_readable(self._path(first), self._dtype) for first in firsts)
    dtype = np.dtype(self._dtype)
    return npz.Pieces(shape, dtype, (part[:, which] for part in parts))

  def _write_npy(
    self, made: pathlib.Path, ids: Sequence[str], features: npz.Pieces
  ) -> None:
    """Write features alone, and what belongs beside them."""
    with made.open('wb') as file:
      features.write(file)
    # Never new names beside old features.
    self._output.unlink(missing_ok=True)
    told = {'encoder': self._encoder.name, 'weights': self._encoder.weights}
    path = numpy_files.encoder_path(epath.Path(self._output))
    self._put(pathlib.Path(path), json.dumps(told) + '\n')
    names = ''.join(f'{name}\n' for name in ids)
    self._put(self._output.with_suffix('.txt'), names)

  def _put(self, path: pathlib.Path, text: str) -> None:
    """Write a text so that it is there whole or not at all."""
    made = self._folder / path.name
    made.write_text(text, encoding='utf-8')
    made.replace(path)


def write_part(
  path: pathlib.Path, features: np.ndarray, reasons: Sequence[str]
) -> None:
  """Write the file of a part.

  Args:
    path: the file.
    features: [n, D] float32.
    reasons: why photos could not be read; '' of those that could.
  """
  npz.write(path, features=features, reasons=np.array(reasons, np.str_))


def _part(path: pathlib.Path) -> dict[str, np.ndarray]:
  with np.load(path, allow_pickle=False) as part:
    return {name: part[name] for name in ('features', 'reasons')}


def _reasons(path: pathlib.Path) -> list[str]:
  with np.load(path, allow_pickle=False) as part:
    return part['reasons'].tolist()


def _readable(path: pathlib.Path, dtype: str) -> np.ndarray:
  """Return the features of the photos of a part that could be read."""
  part = _part(path)
  return part['features'][part['reasons'] == ''].astype(dtype)


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
