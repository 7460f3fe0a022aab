"""The photos that are indexed, as arrays in memory; they only ever grow.

A changed photo gets a new place and its old one is dead, so that what was
computed for a place holds for ever.  The indexer's thread adds; any thread
reads what ``view`` gave it.
"""

import collections
from collections.abc import Sequence
import dataclasses
import threading
from typing import Any

import numpy as np

_CACHE_BYTES = 1 << 28


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
  """What is known of an indexed photo beside its vector.

  Attributes:
    name: its path below the folder, with slashes.
    sha256: of its file, which its thumbnail is called by.
    row: of the feature file.
    caption: its caption.
    log_prob: of the caption.
    width: of the photo as it is seen, in pixels.
    height: likewise.
  """

  name: str
  sha256: str
  row: int
  caption: str
  log_prob: float
  width: int
  height: int


@dataclasses.dataclass(frozen=True)
class View:
  """The photos at one moment, n of them, dead ones among them.

  Attributes:
    vectors: [n, J] what the model's image part gives.
    alive: [n] bool.
    entries: what is known of each; at least n.
  """

  vectors: np.ndarray
  alive: np.ndarray
  entries: Sequence[Entry]

  def __len__(self) -> int:
    return len(self.alive)


class Pool:
  """Indexed photos.

  Attributes:
    bounds: see ``BoundCache``.
  """

  def __init__(self, vector_size: int):
    """Begin without photos, of J = ``vector_size``."""
    self._lock = threading.Lock()
    self._vectors = np.empty((64, vector_size), np.float32)
    self._alive = np.zeros(64, bool)
    self._entries: list[Entry] = []
    self._places: dict[str, int] = {}
    # The names in their order, for as long as they stay the same.
    self._sorted: list[str] | None = None
    self.bounds = BoundCache()

  def __len__(self) -> int:
    """How many photos there are."""
    return len(self._places)

  def add(self, entries: Sequence[Entry], vectors: np.ndarray) -> None:
    """Add photos, or put them in the place of others of their names."""
    with self._lock:
      first, count = len(self._entries), len(entries)
      while first + count > len(self._alive):
        # Anew, not in place: a view may have the old ones.
        self._vectors = np.concatenate([self._vectors, self._vectors])
        self._alive = np.concatenate([self._alive, self._alive])
      self._vectors[first : first + count] = vectors
      self._alive[first : first + count] = True
      self._entries += entries
      self._sorted = None
      for place, entry in enumerate(entries, first):
        self._kill(entry.name)
        self._places[entry.name] = place

  def remove(self, names: Sequence[str]) -> None:
    """Take photos out; names that are not there are passed over."""
    with self._lock:
      for name in names:
        self._kill(name)

  def _kill(self, name: str) -> None:
    place = self._places.pop(name, None)
    if place is not None:
      self._sorted = None
      self._alive[place] = False

  def view(self) -> View:
    """Return the photos as they are now."""
    with self._lock:
      n = len(self._entries)
      return View(self._vectors[:n], self._alive[:n].copy(), self._entries)

  def get(self, name: str) -> Entry | None:
    """Return a photo by its name."""
    with self._lock:
      place = self._places.get(name)
      return None if place is None else self._entries[place]

  def vector(self, name: str) -> np.ndarray | None:
    """Return what the image part gives for a photo, [J]."""
    with self._lock:
      place = self._places.get(name)
      return None if place is None else self._vectors[place]

  def listed(self, first: int, count: int) -> list[Entry]:
    """Return some of the photos in the order of their names."""
    with self._lock:
      if self._sorted is None:
        self._sorted = sorted(self._places)
      names = self._sorted[first : first + count]
      return [self._entries[self._places[name]] for name in names]

  def renewed(self) -> 'Pool':
    """Return the photos without their dead places, if these are most of all."""
    with self._lock:
      dead = len(self._entries) - len(self._places)
      if dead < 1000 or dead < len(self._places):
        return self
      places = sorted(self._places.values())
      pool = Pool(self._vectors.shape[1])
      pool.add([self._entries[i] for i in places], self._vectors[places])
      return pool


class BoundCache:
  """Bounds of edges for the first places of a pool, the latest used kept.

  What was typed before is not computed again, and for photos that came
  meanwhile only theirs is.
  """

  def __init__(self, max_bytes: int = _CACHE_BYTES):
    """Keep so many bytes at most."""
    self._max_bytes, self._bytes = max_bytes, 0
    self._kept: collections.OrderedDict[Any, np.ndarray] = (
      collections.OrderedDict()
    )
    self._lock = threading.Lock()

  def get(self, edge: Any) -> np.ndarray:
    """Return what is kept of an edge, [places], maybe none."""
    with self._lock:
      if edge not in self._kept:
        return np.zeros(0, np.float32)
      self._kept.move_to_end(edge)
      return self._kept[edge]

  def put(self, edge: Any, values: np.ndarray) -> None:
    """Keep the bounds of an edge, [places]."""
    with self._lock:
      old = self._kept.pop(edge, None)
      self._bytes += values.nbytes - (0 if old is None else old.nbytes)
      self._kept[edge] = values
      while self._bytes > self._max_bytes and len(self._kept) > 1:
        _, values = self._kept.popitem(last=False)
        self._bytes -= values.nbytes
