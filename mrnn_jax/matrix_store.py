"""Matrices of log P(sentence | image), kept in a folder, whole or under way."""

from collections.abc import Sequence
import hashlib
import json
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax import files
from mrnn_jax.logs import Progress
from mrnn_jax.rank import Ranker


class MatrixStore:
  """Matrices of one model and one pool of sentences.

  A matrix is a memory-mapped ``NAME.npy`` [S, N] beside ``NAME.json``, which
  says what it belongs to and how many blocks of it are done.
  """

  def __init__(
    self,
    folder: epath.Path,
    ranker: Ranker,
    sentences: Sequence[np.ndarray],
    model_identity: str,
  ):
    """Open a folder.

    Args:
      folder: where; made when needed.
      ranker: computes what is not there.
      sentences: S sentences of word ids.
      model_identity: changes whenever the ranker's probabilities would.
    """
    self._folder, self._ranker, self._sentences = folder, ranker, sentences
    digest = hashlib.sha256(f'{model_identity} {ranker.tiling}'.encode())
    for sentence in sentences:
      digest.update(sentence.tobytes())
    self._key = digest.hexdigest()

  def matrix(self, name: str, features: np.ndarray) -> np.ndarray:
    """Return log P(sentence | image) [S, N], as far as it is there from disk.

    Args:
      name: of the file; what it held of another model or other data is
        written over.
      features: [N, D] raw features.  A finished matrix serves also for its
        first images, and as the beginning of a larger one.
    """
    path = self._folder / f'{name}.npy'
    state_path = self._folder / f'{name}.json'
    images = [hashlib.sha256(x.tobytes()).hexdigest()[:16] for x in features]
    state = _read_json(state_path)
    if state.get('key') != self._key or not path.exists():
      state = {}
    if state.get('complete') and state['images'][: len(images)] == images:
      print(f'{path} is there: not computed again')
      return np.load(path, mmap_mode='r')[:, : len(images)]
    if state.get('complete') or state.get('images') != images:
      state = self._begin(path, state_path, images, state)
    scores = np.lib.format.open_memmap(path, 'r+')
    first = state['first_image']
    with Progress(f'ranking ({name})', 'prefix-image pairs') as progress:
      blocks = self._ranker.blocks(
        self._sentences, features[first:], progress, state['blocks_done']
      )
      for rows, columns, block in blocks:
        scores[rows, columns.start + first : columns.stop + first] = block
        scores.flush()
        state['blocks_done'] += 1
        files.write_json(state_path, state)
    files.write_json(state_path, {**state, 'complete': True})
    return scores

  def _begin(
    self,
    path: epath.Path,
    state_path: epath.Path,
    images: list[str],
    old: dict[str, Any],
  ) -> dict[str, Any]:
    """Make an empty matrix, with the columns of a finished smaller one."""
    known = old['images'] if old.get('complete') else []
    first = len(known) if images[: len(known)] == known else 0
    state = {
      'key': self._key,
      'images': images,
      'first_image': first,
      'blocks_done': 0,
    }
    self._folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix('.new')
    shape = (len(self._sentences), len(images))
    scores = np.lib.format.open_memmap(temporary, 'w+', np.float32, shape)
    if first:
      scores[:, :first] = np.load(path, mmap_mode='r')
    scores.flush()
    # In this order: a kill in between never leaves a state beside a file that
    # it does not describe.
    path.unlink(missing_ok=True)
    files.write_json(state_path, state)
    temporary.replace(path)
    return state


def _read_json(path: epath.Path) -> dict[str, Any]:
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
