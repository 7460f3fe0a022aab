"""Retrieval whose matrix is not kept: counts in a file, whole or under way."""

from collections.abc import Mapping
import hashlib
import json
import time
import zipfile

from etils import epath
import numpy as np

from mrnn_jax.evaluation.matrix_store import check_tiling
from mrnn_jax.evaluation.scores import Scores
from mrnn_jax.evaluation.tally import Tally
from mrnn_jax.ranking.best_items import Block
from mrnn_jax.runtime import files, npz, stopping

# Seconds of work that a kill may cost, at first, and as a share of all.
_SECONDS, _SHARE = 10.0, 0.01
# Of the counts: what they are of, and how many blocks are in them.
_STATE = ('key', 'tiling', 'blocks_done', 'num_blocks')


class TallyStore:
  """The counts of one pool and one way to rank it, in ``NAME.npz``.

  Those of a remote folder are kept in a local one until they are whole.
  """

  def __init__(
    self, folder: epath.Path, name: str, key: str, tiling: str, num_blocks: int
  ):
    """Look at what there is.

    Args:
      folder: where; made when needed.
      name: of the file; what it held of another key is written over.
      key: of all that the counts depend on but for rounding.
      tiling: how the work is cut.
      num_blocks: of the whole.

    Raises:
      InputError: it is under way in other tiles.
    """
    self._kept = folder / f'{name}.npz'
    self._path = files.local_folder(folder) / self._kept.name
    self._key, self._tiling, self._num_blocks = key, tiling, num_blocks
    self._arrays = self._read(self._path)
    if self._path != self._kept and not self.is_complete:
      kept = self._read(self._kept)
      if kept.get('blocks_done', 0) > self.blocks_done:
        self._arrays = kept
    if not self.is_complete and self._arrays:
      check_tiling(self._kept, self._arrays['tiling'].item(), tiling)
      if self._arrays['num_blocks'] != num_blocks:
        self._arrays = {}
    self._begin = self._saved = time.monotonic()

  @property
  def path(self) -> epath.Path:
    """Where the counts are kept."""
    return self._kept

  @property
  def true(self) -> np.ndarray | None:
    """[S] the scores of sentences for their own images, where known."""
    return self._arrays.get('true')

  @property
  def blocks_done(self) -> int:
    """How many blocks are counted."""
    return int(self._arrays.get('blocks_done', 0))

  @property
  def is_complete(self) -> bool:
    """Whether all of them are."""
    return bool(self._arrays) and bool(
      self._arrays['blocks_done'] == self._arrays['num_blocks']
    )

  def tally(
    self, scores: Scores, shortlist: np.ndarray | None
  ) -> 'StoredTally':
    """Return the counts so far, to go on with; ``scores`` as for ``Tally``."""
    return StoredTally(self, scores, shortlist)

  def restore(self, tally: Tally) -> None:
    """Put what is kept into a new tally."""
    if self.blocks_done:
      for name, values in tally.arrays().items():
        values[...] = self._arrays[name]

  def save(self, tally: Tally, true: np.ndarray, blocks_done: int) -> None:
    """Write the counts, so that they are there whole or not at all."""
    self._arrays = {
      'key': np.asarray(self._key),
      'tiling': np.asarray(self._tiling),
      'blocks_done': np.asarray(blocks_done),
      'num_blocks': np.asarray(self._num_blocks),
      'true': true,
      **tally.arrays(),
    }
    self._path.parent.mkdir(parents=True, exist_ok=True)
    npz.write(self._path, **self._arrays)
    if self.is_complete:
      for left in self._path.parent.glob(f'.{self._path.name}.*'):
        left.unlink(missing_ok=True)
      if self._path != self._kept:
        files.copy(self._path, self._kept)
    self._saved = time.monotonic()

  def is_due(self) -> bool:
    """Say whether so much has been counted that it should be saved."""
    now = time.monotonic()
    due = max(_SECONDS, _SHARE * (now - self._begin))
    return now - self._saved >= due

  def _read(self, path: epath.Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file, {} where it is of another key or damaged."""
    try:
      with path.open('rb') as file:
        archive = npz.Reader(file)
        found = {name: archive.read(name) for name in archive.names}
        mine = found['key'].item() == self._key
        return found if mine and set(found) >= set(_STATE) else {}
    except (
      OSError,
      KeyError,
      ValueError,
      TypeError,
      EOFError,
      zipfile.BadZipFile,
    ):
      return {}


class StoredTally(Tally):
  """A tally that saves itself now and then."""

  def __init__(
    self, store: TallyStore, scores: Scores, shortlist: np.ndarray | None
  ):
    """Go on with what a store has; see ``Tally``."""
    super().__init__(scores, shortlist)
    self._store, self._true = store, scores.true
    store.restore(self)
    self._blocks_done = store.blocks_done
    if not self._blocks_done:
      self._save()  # The true scores, which took their time.

  def add(self, block: Block) -> None:
    """Take in the next block."""
    # A signal must not leave it half counted.
    with stopping.deferred():
      super().add(block)
      self._blocks_done += 1
      if self._store.is_due() or stopping.requested():
        self._save()

  def close(self) -> None:
    """Save what is not yet."""
    if self._store.blocks_done != self._blocks_done:
      self._save()

  def _save(self) -> None:
    self._store.save(self, self._true, self._blocks_done)


def key_of(**parts: str | Mapping | list[str] | np.ndarray) -> str:
  """Return a hash of values by name."""
  digest = hashlib.sha256()
  for name, value in parts.items():
    digest.update(f'{name} '.encode())
    if isinstance(value, np.ndarray):
      digest.update(f'{value.dtype} {value.shape}'.encode() + value.tobytes())
    else:
      digest.update(json.dumps(value, sort_keys=True).encode())
  return digest.hexdigest()
