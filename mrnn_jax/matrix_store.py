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
        first images.
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
      state = {'key': self._key, 'images': images, 'blocks_done': 0}
      # In this order: a kill in between never leaves a state beside a file
      # that it does not describe.
      self._folder.mkdir(parents=True, exist_ok=True)
      path.unlink(missing_ok=True)
      files.write_json(state_path, state)
      temporary = path.with_suffix('.new')
      shape = (len(self._sentences), len(features))
      np.lib.format.open_memmap(temporary, 'w+', np.float32, shape).flush()
      temporary.replace(path)
    scores = np.lib.format.open_memmap(path, 'r+')
    with Progress(f'ranking ({name})', 'prefix-image pairs') as progress:
      blocks = self._ranker.blocks(
        self._sentences, features, progress, state['blocks_done']
      )
      for rows, columns, block in blocks:
        scores[rows, columns] = block
        scores.flush()
        state['blocks_done'] += 1
        files.write_json(state_path, state)
    files.write_json(state_path, {**state, 'complete': True})
    return scores


def _read_json(path: epath.Path) -> dict[str, Any]:
  try:
    return json.loads(path.read_text())
  except (OSError, ValueError):
    return {}
