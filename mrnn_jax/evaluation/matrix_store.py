"""Matrices of sentences x images, kept in a folder, whole or under way."""

from collections.abc import Sequence
import hashlib
import sys
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.ranking.embedding_ranker import EmbeddingRanker
from mrnn_jax.ranking.ranker import Ranker
from mrnn_jax.runtime import files, json_files, json_forms, parallel
from mrnn_jax.runtime.progress import Progress

_STATE = {
  'key': str,
  'images': [str],
  'first_image': int,
  'blocks_done': int,
  'complete?': bool,
}


class MatrixStore:
  """Matrices of one model and one pool of sentences.

  A matrix is a memory-mapped ``NAME.npy`` [S, N] beside ``NAME.json``, which
  says what it belongs to and how many blocks of it are done.  Those of a remote
  folder are mapped, and go on, in a local one; what is finished is in both.
  """

  def __init__(
    self,
    folder: epath.Path,
    ranker: Ranker | EmbeddingRanker,
    sentences: Sequence[np.ndarray],
    model_identity: str,
  ):
    """Open a folder.

    Args:
      folder: where; made when needed.
      ranker: computes what is not there.
      sentences: S sentences of word ids.
      model_identity: changes whenever the ranker's scores would.
    """
    self._folder, self._ranker, self._sentences = folder, ranker, sentences
    digest = hashlib.sha256(f'{model_identity} {ranker.tiling}'.encode())
    for sentence in sentences:
      digest.update(sentence.tobytes())
    self._key = digest.hexdigest()

  def matrix(self, name: str, features: np.ndarray) -> np.ndarray | None:
    """Return the ranker's scores [S, N], as far as they are there from disk.

    All processes call this at the same time and share the blocks of images; the
    first one alone reads and writes files.

    Args:
      name: of the file; what it held of another model or other data is
        written over.
      features: [N, D] raw features.  A finished matrix serves also for its
        first images, and as the beginning of a larger one.

    Returns:
      The matrix, memory-mapped; None in other processes than the first.
    """
    held = None
    if parallel.is_first():
      held = _File.open(
        self._folder, name, self._key, len(self._sentences), features
      )
    # Any number of processes goes on: what counts is blocks.
    known, blocks_done = parallel.of_first(
      np.asarray([held.known, held.blocks_done] if held else [0, 0])
    ).tolist()
    if known < len(features):
      with Progress(f'ranking ({name})', self._ranker.unit) as progress:
        for rows, columns, block in self._ranker.blocks(
          self._sentences,
          features[known:],
          progress,
          blocks_done,
          everywhere=True,
        ):
          if held:
            held.put(rows, columns, block)
    return held.finish(len(features)) if held else None


class _File:
  """A matrix on disk: ``NAME.npy``, and its state in ``NAME.json``.

  Attributes:
    known: columns that were finished before; blocks begin behind them.
  """

  def __init__(self, path: epath.Path, kept: epath.Path, state: dict[str, Any]):
    self._path, self._kept, self._state = path, kept, state
    self._complete = bool(state.get('complete'))
    if self._complete:
      self._scores = np.load(path, mmap_mode='r')
      self.known = self._scores.shape[1]
    else:
      self._scores = np.load(path, mmap_mode='r+')
      self.known = state['first_image']

  @classmethod
  def open(
    cls,
    folder: epath.Path,
    name: str,
    key: str,
    num_rows: int,
    features: np.ndarray,
  ) -> '_File':
    """Open the matrix of some images, or begin it."""
    kept = folder / f'{name}.npy'
    path = files.local_folder(folder) / kept.name
    if path != kept:
      _fetch(kept, path, key)
    images = [hashlib.sha256(x.tobytes()).hexdigest()[:16] for x in features]
    state = _read_state(_state_path(path))
    if state.get('key') != key or not path.exists():
      state = {}
    elif not _holds(path, (num_rows, len(state['images']))):
      print(f'note: {kept} is damaged: computed again', file=sys.stderr)
      state = {}
    if state.get('complete') and state['images'][: len(images)] == images:
      print(f'{kept} is there: not computed again')
    elif state.get('complete') or state.get('images') != images:
      state = _begin(path, key, num_rows, images, state)
    return cls(path, kept, state)

  @property
  def blocks_done(self) -> int:
    """How many blocks are there, behind the known columns."""
    return self._state.get('blocks_done', 0)

  def put(self, rows: np.ndarray, columns: slice, block: np.ndarray) -> None:
    """Take in the next block."""
    columns = slice(columns.start + self.known, columns.stop + self.known)
    self._scores[rows, columns] = block
    self._scores.flush()
    self._state['blocks_done'] += 1
    files.write_json(_state_path(self._path), self._state)

  def finish(self, num_images: int) -> np.ndarray:
    """Say that all is there; return the first columns."""
    if not self._complete:
      state_path = _state_path(self._path)
      self._state['complete'] = True
      files.write_json(state_path, self._state)
      # What runs that were killed have left half written.
      for left in state_path.parent.glob(f'.{state_path.name}.*'):
        left.unlink(missing_ok=True)
    if self._kept != self._path:
      _store(self._path, self._kept, self._state)
    return self._scores[:, :num_images]


def _state_path(path: epath.Path) -> epath.Path:
  return path.with_suffix('.json')


def _num_finished(state: dict[str, Any], key: str) -> int:
  """Return how many columns of a matrix are finished, by its state."""
  if state.get('key') != key:
    return 0
  return len(state['images']) if state.get('complete') else state['first_image']


def _fetch(kept: epath.Path, path: epath.Path, key: str) -> None:
  """Copy a finished matrix from where it is kept, if it has more than here."""
  state = _read_state(_state_path(kept))
  here = _read_state(_state_path(path)) if path.exists() else {}
  if state.get('complete') and (
    _num_finished(state, key) > _num_finished(here, key)
  ):
    _state_path(path).unlink(missing_ok=True)
    files.copy(kept, path)
    files.write_json(_state_path(path), state)


def _store(path: epath.Path, kept: epath.Path, state: dict[str, Any]) -> None:
  """Copy a finished matrix to where it is kept, unless it is there."""
  if _read_state(_state_path(kept)) != state:
    _state_path(kept).unlink(missing_ok=True)
    files.copy(path, kept)
    files.write_json(_state_path(kept), state)


def _begin(
  path: epath.Path,
  key: str,
  num_rows: int,
  images: list[str],
  old: dict[str, Any],
) -> dict[str, Any]:
  """Make an empty matrix, with the columns of a finished smaller one."""
  known = old['images'] if old.get('complete') else []
  first = len(known) if images[: len(known)] == known else 0
  state = {
    'key': key,
    'images': images,
    'first_image': first,
    'blocks_done': 0,
  }
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_suffix('.new')
  scores = np.lib.format.open_memmap(
    temporary, 'w+', np.float32, (num_rows, len(images))
  )
  if first:
    scores[:, :first] = np.load(path, mmap_mode='r')
  scores.flush()
  # In this order: a kill in between never leaves a state beside a file that it
  # does not describe.
  path.unlink(missing_ok=True)
  files.write_json(_state_path(path), state)
  temporary.replace(path)
  return state


def _holds(path: epath.Path, shape: tuple[int, int]) -> bool:
  """Whether a file is a matrix of a shape."""
  try:
    scores = np.load(path, mmap_mode='r')
    return scores.shape == shape and scores.dtype == np.float32
  except Exception:  # NumPy's parser of headers raises nearly anything.
    return False


def _read_state(path: epath.Path) -> dict[str, Any]:
  """Return what is said of a matrix, {} where it is not there or damaged."""
  try:
    state = json_files.parse(path.read_text())
  except (OSError, ValueError):
    return {}
  if json_forms.misfit(state, _STATE):
    return {}
  sound = 0 <= state['first_image'] <= len(state['images'])
  return state if sound and state['blocks_done'] >= 0 else {}
