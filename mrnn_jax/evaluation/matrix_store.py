"""Matrices of sentences x images, kept in a folder, whole or under way."""

from collections.abc import Sequence
import dataclasses
import hashlib
import json
import sys
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.ranking.best_items import Vectors
from mrnn_jax.ranking.embedding_ranker import EmbeddingRanker
from mrnn_jax.ranking.ranker import Ranker
from mrnn_jax.runtime import files, json_files, json_forms, parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.progress import Progress

# What a matrix is of; ``tiling`` is lacking in those of earlier programs, whose
# keys told it.
_STATE = {
  'key': str,
  'tiling?': str,
  'images': [str],
  'first_image': int,
  'complete?': bool,
}
# How far it is, in a small file of its own: written after each block.
_PROGRESS = {'of': str, 'blocks_done': int}
# Images whose features are read at a time to be known by.
_HASHED = 1024


class MatrixStore:
  """Matrices of one model and one pool of sentences.

  A matrix is a memory-mapped ``NAME.npy`` [S, N] beside ``NAME.json``, which
  says what it belongs to; until it is whole, ``NAME.progress.json`` says how
  many blocks of it are done.  Those of a remote folder are mapped, and go on,
  in a local one; what is finished is in both.
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
    self._keys = _Keys.of(ranker, sentences, model_identity)

  @property
  def num_sentences(self) -> int:
    """S."""
    return len(self._sentences)

  @property
  def key(self) -> str:
    """A hash of what makes a sentence's scores for an image what they are."""
    return self._keys.mine

  def has(self, name: str, features: Vectors) -> bool:
    """Say whether a matrix of some images [N, D] is there and finished."""
    path = files.local_folder(self._folder) / f'{name}.npy'
    for there in (path, self._folder / path.name):
      state = self._keys.renewed(_read_state(_state_path(there)))
      if state.get('key') == self.key and state.get('complete'):
        images = image_hashes(features)
        return state['images'][: len(images)] == images
    return False

  def matrix(self, name: str, features: Vectors) -> np.ndarray | None:
    """Return the ranker's scores [S, N], as far as they are there from disk.

    All processes call this at the same time and share the blocks of images; the
    first one alone reads and writes files.

    Args:
      name: of the file; what it held of another model or other data is
        written over, with a note.
      features: [N, D] raw features.  A finished matrix serves also for its
        first images, and as the beginning of a larger one.

    Returns:
      The matrix, memory-mapped; None in other processes than the first.

    Raises:
      InputError: it is under way in other tiles.
    """
    held = None
    if parallel.is_first():
      held = _File.open(
        self._folder,
        name,
        self._keys,
        self._ranker.tiling,
        len(self._sentences),
        features,
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


def image_hashes(features: Vectors) -> list[str]:
  """Return a hash of each image by its feature, [N] of features [N, D]."""
  return [
    hashlib.sha256(x.tobytes()).hexdigest()[:16]
    for start in range(0, len(features), _HASHED)
    for x in features[start : start + _HASHED]
  ]


def check_tiling(path: epath.Path, tiling: str | None, wanted: str) -> None:
  """Raise InputError where scores under way are cut otherwise than is wanted.

  Args:
    path: of the scores.
    tiling: theirs, 'IMAGES x ROWS'; None if that is not known.
    wanted: the ranker's.
  """
  if tiling in (None, wanted):
    return
  flags = dict(
    # An embedding has no tiles.
    zip(
      ('--rank_image_block', '--rank_tile_rows'),
      tiling.split(' x '),
      strict=False,
    )
  )
  told = ' '.join(f'{name}={value}' for name, value in flags.items())
  raise InputError(
    f'{path} is under way with {told}, and goes on only so: give these flags, '
    'or delete it to begin anew.'
  )


@dataclasses.dataclass(frozen=True)
class _Keys:
  """By which a matrix is known.

  Attributes:
    mine: of what makes a score what it is.
    earlier: as earlier programs had it, which told the tiles too.
  """

  mine: str
  earlier: str

  @classmethod
  def of(
    cls,
    ranker: Ranker | EmbeddingRanker,
    sentences: Sequence[np.ndarray],
    model_identity: str,
  ) -> '_Keys':
    """Return those of a model and a pool of sentences."""
    cut = f'{ranker.tiling} {ranker.arithmetic}'
    digests = [
      hashlib.sha256(f'{model_identity} {how}'.encode())
      for how in (ranker.arithmetic, cut)
    ]
    for sentence in sentences:
      for digest in digests:
        digest.update(sentence.tobytes())
    return cls(*(digest.hexdigest() for digest in digests))

  def renewed(self, state: dict[str, Any]) -> dict[str, Any]:
    """Return the state of a finished matrix as this program writes it."""
    if state.get('key') == self.earlier and state.get('complete'):
      state = {name: state[name] for name in state if name in _WRITTEN}
      return state | {'key': self.mine}
    return state


_WRITTEN = {name.removesuffix('?') for name in _STATE}


class _File:
  """A matrix on disk: ``NAME.npy``, and its state in ``NAME.json``.

  Attributes:
    known: columns that were finished before; blocks begin behind them.
    blocks_done: how many blocks are there, behind the known columns.
  """

  def __init__(self, path: epath.Path, kept: epath.Path, state: dict[str, Any]):
    self._path, self._kept, self._state = path, kept, state
    self._complete = bool(state.get('complete'))
    self._identity = _identity(state)
    self.blocks_done = _blocks_done(path, self._identity)
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
    keys: _Keys,
    tiling: str,
    num_rows: int,
    features: Vectors,
  ) -> '_File':
    """Open the matrix of some images, or begin it."""
    kept = folder / f'{name}.npy'
    path = files.local_folder(folder) / kept.name
    if path != kept:
      _fetch(kept, path, keys)
    images = image_hashes(features)
    state = keys.renewed(_read_state(_state_path(path)))
    if state.get('key') != keys.mine or not path.exists():
      if state.get('complete') and path.exists():
        print(
          f'note: {kept} is of another model, other sentences or other '
          'arithmetic: computed anew',
          file=sys.stderr,
        )
      state = {}
    elif not _holds(path, (num_rows, len(state['images']))):
      print(f'note: {kept} is damaged: computed again', file=sys.stderr)
      state = {}
    if state.get('complete') and state['images'][: len(images)] == images:
      print(f'{kept} is there: not computed again')
    elif state.get('complete') or state.get('images') != images:
      if state.get('complete') and not _begins(images, state['images']):
        print(
          f'note: {kept} is of other images: computed anew', file=sys.stderr
        )
      state = _begin(path, keys.mine, tiling, num_rows, images, state)
    elif _blocks_done(path, _identity(state)):
      check_tiling(kept, state.get('tiling'), tiling)
    else:
      state = _begin(path, keys.mine, tiling, num_rows, images, state)
    return cls(path, kept, state)

  def put(self, rows: np.ndarray, columns: slice, block: np.ndarray) -> None:
    """Take in the next block."""
    columns = slice(columns.start + self.known, columns.stop + self.known)
    self._scores[rows, columns] = block
    self._scores.flush()
    self.blocks_done += 1
    files.write_json(
      _progress_path(self._path),
      {'of': self._identity, 'blocks_done': self.blocks_done},
    )

  def finish(self, num_images: int) -> np.ndarray:
    """Say that all is there; return the first columns."""
    if not self._complete:
      self._state['complete'] = True
      files.write_json(_state_path(self._path), self._state)
    # And what runs that were killed have left half written.
    _progress_path(self._path).unlink(missing_ok=True)
    for left in self._path.parent.glob(f'.{self._path.stem}.*json.*'):
      left.unlink(missing_ok=True)
    if self._kept != self._path:
      _store(self._path, self._kept, self._state)
    return self._scores[:, :num_images]


def _state_path(path: epath.Path) -> epath.Path:
  return path.with_suffix('.json')


def _progress_path(path: epath.Path) -> epath.Path:
  return path.with_suffix('.progress.json')


def _identity(state: dict[str, Any]) -> str:
  """Return a hash of what a matrix under way is to become."""
  told = [state.get(x) for x in ('key', 'tiling', 'images', 'first_image')]
  return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _blocks_done(path: epath.Path, identity: str) -> int:
  """Return how many blocks are done of the matrix of that identity."""
  done = read_state(_progress_path(path), _PROGRESS)
  return max(0, done['blocks_done']) if done.get('of') == identity else 0


def _num_finished(state: dict[str, Any], keys: _Keys) -> int:
  """Return how many columns of a matrix are finished, by its state."""
  if state.get('key') != keys.mine:
    return 0
  return len(state['images']) if state.get('complete') else state['first_image']


def _fetch(kept: epath.Path, path: epath.Path, keys: _Keys) -> None:
  """Copy a finished matrix from where it is kept, if it has more than here."""
  state = keys.renewed(_read_state(_state_path(kept)))
  here = _read_state(_state_path(path)) if path.exists() else {}
  if state.get('complete') and (
    _num_finished(state, keys) > _num_finished(keys.renewed(here), keys)
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
  tiling: str,
  num_rows: int,
  images: list[str],
  old: dict[str, Any],
) -> dict[str, Any]:
  """Make an empty matrix, with the columns of a finished smaller one."""
  known = old['images'] if old.get('complete') else []
  first = len(known) if _begins(images, known) else 0
  state = {
    'key': key,
    'tiling': tiling,
    'images': images,
    'first_image': first,
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
  _progress_path(path).unlink(missing_ok=True)
  path.unlink(missing_ok=True)
  files.write_json(_state_path(path), state)
  temporary.replace(path)
  return state


def _begins(images: list[str], known: list[str]) -> bool:
  """Whether some known images are the first ones."""
  return images[: len(known)] == known


def _holds(path: epath.Path, shape: tuple[int, int]) -> bool:
  """Whether a file is a matrix of a shape."""
  try:
    scores = np.load(path, mmap_mode='r')
    return scores.shape == shape and scores.dtype == np.float32
  except Exception:  # NumPy's parser of headers raises nearly anything.
    return False


def _read_state(path: epath.Path) -> dict[str, Any]:
  """Return what is said of a matrix, {} where it is not there or damaged."""
  state = read_state(path, _STATE)
  if state and not 0 <= state['first_image'] <= len(state['images']):
    return {}
  return state


def read_state(path: epath.Path, form: json_forms.Form) -> dict[str, Any]:
  """Return the JSON of a form, {} where it is not there or damaged."""
  try:
    state = json_files.parse(path.read_text())
  except (OSError, ValueError):
    return {}
  return {} if json_forms.misfit(state, form) else state
