"""Keeps the index like the folder: in a thread, a few photos at a time."""

from collections.abc import Sequence
import concurrent.futures
import dataclasses
import os
import sys
import threading
import time

import numpy as np

from mrnn_jax.runtime import picture_files
from mrnn_jax.runtime.errors import printable
from mrnn_jax.runtime.progress import Progress
from mrnn_jax.serve.batching import Busy
from mrnn_jax.serve.catalog import Catalog, Known
from mrnn_jax.serve.engine import Engine, Pixels
from mrnn_jax.serve.folder import File, PhotoFolder
from mrnn_jax.serve.pool import Entry, Pool
from mrnn_jax.serve.writer import Job

# Photos that are taken into the index together.
_TOGETHER = 32
# Requests go first, but not for ever.
_GIVES_WAY = 2.0
_NAMED = 20


@dataclasses.dataclass(frozen=True)
class State:
  """How far the index is.

  Attributes:
    phase: 'starting', 'looking', 'indexing', 'ready', or 'failed'.
    total: files that may be photos.
    todo: files that are still to be looked at.
    unreadable: (name, reason) of the first that are none.
    num_unreadable: how many these are.
    seconds_left: an estimate while indexing; None if nobody knows.
    error: why it failed, a sentence.
  """

  phase: str = 'starting'
  total: int = 0
  todo: int = 0
  unreadable: tuple[tuple[str, str], ...] = ()
  num_unreadable: int = 0
  seconds_left: float | None = None
  error: str = ''


@dataclasses.dataclass
class _Read:
  """A file that was read: pixels, or why there are none, or who is alike."""

  file: File
  sha256: str = ''
  pixels: Pixels | None = None
  same: Known | None = None
  reason: str = ''


class Indexer(threading.Thread):
  """The thread; ``pool`` and ``state`` are for others to read.

  Attributes:
    pool: the photos that can be searched.
    state: how far it is.
  """

  def __init__(
    self,
    engine: Engine,
    catalog: Catalog,
    folder: PhotoFolder,
    busy: Busy,
    rescan: float,
  ):
    """Take in what the catalogue has; ``start`` begins to look at the folder.

    Args:
      engine: what encodes and writes.
      catalog: the index folder.
      folder: the photos.
      busy: what to give way to.
      rescan: seconds from one look at the folder to the next; 0: one look.
    """
    super().__init__(name='indexer', daemon=True)
    self._engine, self._catalog, self._folder = engine, catalog, folder
    self._busy, self._rescan = busy, rescan
    self._wake, self._ends = threading.Event(), threading.Event()
    self.pool = Pool(engine.vector_size)
    self.state = State()
    # What is known and has its caption; others are looked at anew.
    self._known = {x.name: x for x in catalog.photos()}
    self._publish(list(self._known.values()))

  def look_again(self) -> None:
    """Look at the folder now."""
    self._wake.set()

  def close(self) -> None:
    """End at the next few photos, which are kept."""
    self._ends.set()
    self._wake.set()
    if self.is_alive():
      self.join()

  def run(self) -> None:
    """Look at the folder again and again."""
    while not self._ends.is_set():
      try:
        self._look()
      except Exception as error:  # A full disk, or a folder that is gone.
        reason = getattr(error, 'strerror', None) or str(error)
        self._tell(phase='failed', error=f'the index stands still: {reason}.')
        print(f'error: {self.state.error}', file=sys.stderr, flush=True)
      self._wake.wait(self._rescan or None)
      self._wake.clear()

  def _look(self) -> None:
    if not self._folder.path.is_dir():
      raise FileNotFoundError(f'{self._folder.path} is not there')
    if self.state.phase != 'ready':
      self._tell(phase='looking')
    changes = self._folder.changes(self._known.values())
    gone = frozenset(changes.gone)
    self.pool.remove(changes.gone)
    new = {file.name: file for file in changes.new}
    for x in self._known.values():  # Whose captions another model wrote.
      same = x.name not in new and x.name not in gone
      if same and not x.reason and x.caption is None:
        new[x.name] = File(x.name, x.size, x.mtime_ns)
    self._tell(total=changes.total, todo=len(new))
    if new:
      self._index(sorted(new.values(), key=lambda file: file.name))
    if changes.gone:  # After those that only have another name by now.
      self._catalog.remove(changes.gone)
      for name in changes.gone:
        del self._known[name]
    self._tell_unreadable()
    self.pool = self.pool.renewed()
    if not self._ends.is_set():
      self._tell(phase='ready', todo=0, seconds_left=None, error='')

  def _index(self, todo: Sequence[File]) -> None:
    begin, total = time.monotonic(), self.state.total
    self._tell(phase='indexing')
    before = total - len(todo)
    threads = os.cpu_count() or 1
    with (
      Progress('index', 'photos', before) as progress,
      concurrent.futures.ThreadPoolExecutor(threads) as readers,
    ):
      parts = [todo[i : i + _TOGETHER] for i in range(0, len(todo), _TOGETHER)]
      # While some are computed, the next ones are read.
      ahead = [readers.submit(self._read, file) for file in parts[0]]
      for number in range(1, len(parts) + 1):
        if self._ends.is_set():
          for waiting in ahead:
            waiting.cancel()
          return
        read = [future.result() for future in ahead]
        ahead = [
          readers.submit(self._read, file)
          for file in (parts[number] if number < len(parts) else ())
        ]
        self._take_in(read)
        done = min(number * _TOGETHER, len(todo))
        seconds = time.monotonic() - begin
        self._tell(
          todo=len(todo) - done,
          seconds_left=seconds / done * (len(todo) - done),
        )
        progress(before + done, total)

  def _read(self, file: File) -> _Read:
    """Read a file: what it is, if it is not as one that is known."""
    path = self._folder.path_of(file.name)
    try:
      if path is None:
        raise picture_files.PictureError('it leads out of the folder')
      data = picture_files.read_bytes(path)
      pixels = self._engine.decode(data)
    except picture_files.PictureError as error:
      return _Read(file, reason=str(error))
    same = self._catalog.find_hash(pixels.sha256)
    return _Read(file, pixels.sha256, pixels, same)

  def _take_in(self, read: Sequence[_Read]) -> None:
    """Compute what photos need, and put them into the index, whole."""
    self._busy.wait_until_quiet(_GIVES_WAY)
    fresh = [(x, x.pixels) for x in read if x.pixels and not x.same]
    features = np.zeros((len(read), self._engine.model.dataset['feature_size']))
    features = features.astype(np.float32)
    places = {id(x): i for i, x in enumerate(read)}
    for first in range(0, len(fresh), 8):  # Short turns beside requests.
      part = fresh[first : first + 8]
      encoded = self._engine.encode([pixels.square for _, pixels in part])
      for (x, _), feature in zip(part, encoded, strict=True):
        features[places[id(x)]] = feature
      self._busy.wait_until_quiet(_GIVES_WAY)
    for x in read:
      if x.same:
        features[places[id(x)]] = self._catalog.features()[x.same.row]
      if not np.isfinite(features[places[id(x)]]).all():
        x.reason, x.pixels, x.same = 'its feature is not finite', None, None
        features[places[id(x)]] = 0
    vectors = self._engine.readouts.image_vectors(features)
    captions = self._captions(read, vectors)
    known = [_known(x, captions.get(id(x), ('', 0.0))) for x in read]
    thumbnails = {x.sha256: x.pixels.thumbnail for x in read if x.pixels}
    placed = self._catalog.add(known, features, thumbnails)
    self._known.update({x.name: x for x in placed})
    gone = [x.name for x in placed if x.reason]
    self.pool.remove(gone)
    self._publish(placed)

  def _captions(
    self, read: Sequence[_Read], vectors: np.ndarray
  ) -> dict[int, tuple[str, float]]:
    found: dict[int, tuple[str, float]] = {}
    jobs: dict[int, Job] = {}
    for x, vector in zip(read, vectors, strict=True):
      if x.same and x.same.caption is not None:
        found[id(x)] = x.same.caption, x.same.log_prob or 0.0
      elif x.pixels:
        jobs[id(x)] = Job(vector)
    written = self._engine.write(list(jobs.values()))
    for key, captions in zip(jobs, written, strict=True):
      text = self._engine.text(captions[0].words) if captions else ''
      found[key] = text, captions[0].log_prob if captions else 0.0
    return found

  def _publish(self, photos: Sequence[Known]) -> None:
    """Let photos of the catalogue be found."""
    entries = [entry for x in photos if (entry := _entry(x))]
    features = self._catalog.features()
    for first in range(0, len(entries), 1024):
      part = entries[first : first + 1024]
      vectors = self._engine.readouts.image_vectors(
        features[[x.row for x in part]]
      )
      self.pool.add(part, vectors)

  def _tell_unreadable(self) -> None:
    bad = sorted((x.name, x.reason) for x in self._known.values() if x.reason)
    self._tell(unreadable=tuple(bad[:_NAMED]), num_unreadable=len(bad))

  def _tell(self, **changes) -> None:
    self.state = dataclasses.replace(self.state, **changes)


def _entry(x: Known) -> Entry | None:
  """Return a photo as it is found; None where it is none, or not whole yet."""
  if (
    x.row is None
    or x.caption is None
    or x.log_prob is None
    or x.width is None
    or x.height is None
  ):
    return None
  return Entry(
    x.name, x.sha256, x.row, x.caption, x.log_prob, x.width, x.height
  )


def _known(x: _Read, caption: tuple[str, float]) -> Known:
  file = x.file
  if not x.pixels:
    return Known(
      file.name, file.size, file.mtime_ns, x.sha256, printable(x.reason)
    )
  return Known(
    file.name,
    file.size,
    file.mtime_ns,
    x.sha256,
    row=x.same.row if x.same else None,
    checksum=x.same.checksum if x.same else None,
    width=x.pixels.width,
    height=x.pixels.height,
    caption=caption[0],
    log_prob=caption[1],
  )
