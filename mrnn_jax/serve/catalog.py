"""What the index folder holds: a catalogue, features, thumbnails.

  catalog.sqlite   a row for each photo: file, hash, row of its feature, caption
  features.npy     [rows, D] float32, mapped
  thumbnails/      by the hash of the photo, so that no name becomes a path

A photo is in the catalogue only when all else of it is on disk: whatever ends
the program, a photo is in the index whole or not at all.
"""

from collections.abc import Iterable, Mapping, Sequence
import contextlib
import dataclasses
import json
import os
import pathlib
import sqlite3
import sys
import threading
import zlib

import numpy as np

from mrnn_jax.runtime import files
from mrnn_jax.runtime.errors import InputError

_APPLICATION, _VERSION = 0x6D524E4E, 1  # 'mRNN'
_SCHEMA = """
CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE photos (
  name TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  sha256 TEXT NOT NULL, reason TEXT NOT NULL,
  row INTEGER, checksum INTEGER, width INTEGER, height INTEGER,
  caption TEXT, log_prob REAL
) WITHOUT ROWID;
CREATE INDEX photos_by_hash ON photos (sha256);
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
  """What the catalogue says of a file.

  Attributes:
    name: path below the folder, with slashes.
    size: bytes.
    mtime_ns: time of its last change.
    sha256: of its bytes.
    reason: why it cannot be read; '' for a photo.
    row: of its feature; None of what cannot be read, as all below.
    checksum: CRC-32 of the feature.
    width: pixels, upright.
    height: likewise.
    caption: its caption; None where the model has not written one yet.
    log_prob: of the caption.
  """

  name: str
  size: int
  mtime_ns: int
  sha256: str
  reason: str = ''
  row: int | None = None
  checksum: int | None = None
  width: int | None = None
  height: int | None = None
  caption: str | None = None
  log_prob: float | None = None


_COLUMNS = tuple(field.name for field in dataclasses.fields(Known))


class Catalog:
  """An index folder, opened by one process; any thread may call it.

  Attributes:
    folder: where it is.
    unsound: photos whose features were damaged and are made anew.
  """

  def __init__(
    self, folder: pathlib.Path, encoder: Mapping[str, str], D: int, model: str
  ):
    """Open an index, or begin one.

    What was made by another encoder is dropped, captions of another model too.

    Args:
      folder: where it is, or shall be.
      encoder: what makes the features: 'name' and 'weights'.
      D: numbers of a feature.
      model: the identity of the model that writes the captions.

    Raises:
      InputError: the folder holds a database that is not ours.
    """
    self.folder = folder
    (folder / 'thumbnails').mkdir(parents=True, exist_ok=True)
    self._lock = threading.RLock()
    self._database = _open(folder / 'catalog.sqlite')
    made_by = json.dumps([dict(encoder), D], sort_keys=True)
    if self._about('features') != made_by:
      self._drop_features()
      self._set_about('features', made_by)
    if self._about('captions') != model:
      self._write('UPDATE photos SET caption = NULL, log_prob = NULL')
      self._set_about('captions', model)
    self._features = _Features(folder / 'features.npy', D)
    self._used: set[int] = set()
    self.unsound = self._drop_unsound()
    self._next_row = 0

  def close(self) -> None:
    """Close the files."""
    with self._lock:
      self._database.close()

  def photos(self) -> list[Known]:
    """Return all that is known, in the order of the names."""
    query = f'SELECT {", ".join(_COLUMNS)} FROM photos ORDER BY name'
    with self._lock:
      return [Known(*row) for row in self._database.execute(query)]

  def features(self) -> np.ndarray:
    """Return the features of all rows [rows, D], mapped."""
    return self._features.rows

  def add(
    self,
    photos: Sequence[Known],
    features: np.ndarray,
    thumbnails: Mapping[str, bytes],
  ) -> list[Known]:
    """Add photos, or put them in the place of those of their names.

    Args:
      photos: n, whose ``row`` and ``checksum`` are filled in here where there
        is a feature; those with a ``row`` keep it.
      features: [n, D]; of what has a row or cannot be read they mean nothing.
      thumbnails: hash of a photo -> its small picture as JPEG.

    Returns:
      The photos, with their rows.
    """
    with self._lock:
      for sha256, data in thumbnails.items():
        files.write_bytes(self.thumbnail_path(sha256), data)
      placed = []
      for photo, feature in zip(photos, features, strict=True):
        if not photo.reason and photo.row is None:
          row = self._free_row()
          feature = np.ascontiguousarray(feature, np.float32)
          self._features.put(row, feature)
          photo = dataclasses.replace(
            photo, row=row, checksum=zlib.crc32(feature.data)
          )
        placed.append(photo)
      self._features.flush()
      old = self._hashes([x.name for x in placed])
      marks = ', '.join('?' * len(_COLUMNS))
      with self._database:
        self._database.executemany(
          f'INSERT OR REPLACE INTO photos ({", ".join(_COLUMNS)}) '
          f'VALUES ({marks})',
          [dataclasses.astuple(x) for x in placed],
        )
      self._forget(old)
      return placed

  def remove(self, names: Sequence[str]) -> None:
    """Take photos out."""
    with self._lock:
      old = self._hashes(names)
      with self._database:
        self._database.executemany(
          'DELETE FROM photos WHERE name = ?', [(name,) for name in names]
        )
      self._forget(old)

  def thumbnail_path(self, sha256: str) -> pathlib.Path:
    """Return the file of a photo's thumbnail, called by the photo's hash."""
    return self.folder / 'thumbnails' / sha256[:2] / f'{sha256}.jpg'

  def find_hash(self, sha256: str) -> Known | None:
    """Return a photo of the same bytes, if there is one."""
    query = (
      f'SELECT {", ".join(_COLUMNS)} FROM photos '
      "WHERE sha256 = ? AND reason = '' LIMIT 1"
    )
    with self._lock:
      row = self._database.execute(query, (sha256,)).fetchone()
      return Known(*row) if row else None

  def _hashes(self, names: Iterable[str]) -> dict[str, int | None]:
    """Return hash -> row of what is there of some names."""
    found = {}
    for name in names:
      row = self._database.execute(
        'SELECT sha256, row FROM photos WHERE name = ?', (name,)
      ).fetchone()
      if row:
        found[row[0]] = row[1]
    return found

  def _forget(self, old: Mapping[str, int | None]) -> None:
    """Free rows and thumbnails of photos that nobody has any more."""
    for sha256, row in old.items():
      if not self.find_hash(sha256):
        self.thumbnail_path(sha256).unlink(missing_ok=True)
        self._used.discard(row)

  def _free_row(self) -> int:
    while self._next_row in self._used:
      self._next_row += 1
    self._used.add(self._next_row)
    return self._next_row

  def _drop_features(self) -> None:
    self._write('DELETE FROM photos')
    (self.folder / 'features.npy').unlink(missing_ok=True)

  def _drop_unsound(self) -> int:
    """Take out photos whose feature or thumbnail is not what was written."""
    rows = self._features.rows
    unsound = []
    for photo in self.photos():
      if photo.row is None:
        continue
      sound = photo.row < len(rows) and (
        zlib.crc32(np.ascontiguousarray(rows[photo.row]).data) == photo.checksum
      )
      if sound and self.thumbnail_path(photo.sha256).is_file():
        self._used.add(photo.row)
      else:
        unsound.append(photo.name)
    with self._database:
      self._database.executemany(
        'DELETE FROM photos WHERE name = ?', [(name,) for name in unsound]
      )
    return len(unsound)

  def _about(self, key: str) -> str | None:
    row = self._database.execute(
      'SELECT value FROM about WHERE key = ?', (key,)
    ).fetchone()
    return row and row[0]

  def _set_about(self, key: str, value: str) -> None:
    self._write('INSERT OR REPLACE INTO about VALUES (?, ?)', key, value)

  def _write(self, statement: str, *values: str) -> None:
    with self._lock, self._database:
      self._database.execute(statement, values)


def _open(path: pathlib.Path) -> sqlite3.Connection:
  """Open a catalogue; one that is damaged begins anew, with a note."""
  for attempt in range(2):
    database = sqlite3.connect(path, check_same_thread=False)
    try:
      # Written through at the end of each transaction, as few as they are.
      database.execute('PRAGMA journal_mode = WAL')
      database.execute('PRAGMA synchronous = FULL')
      application = database.execute('PRAGMA application_id').fetchone()[0]
      version = database.execute('PRAGMA user_version').fetchone()[0]
      empty = not database.execute('SELECT 1 FROM sqlite_master').fetchone()
      if empty:
        database.executescript(
          f'BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION};'
          f' PRAGMA user_version = {_VERSION}; COMMIT;'
        )
        return database
      if application != _APPLICATION:
        raise InputError(
          f'{path} is a database of another program: name another folder by '
          '--index.'
        )
      sound = database.execute('PRAGMA quick_check').fetchone()[0] == 'ok'
      if sound and version == _VERSION:
        return database
    except sqlite3.DatabaseError as error:
      if attempt:
        raise InputError(
          f'{path} cannot be written ({error}): name another folder by --index.'
        ) from error
    database.close()
    print(
      f'note: {path} is damaged or of another version: the photos are indexed '
      'anew.',
      file=sys.stderr,
    )
    for suffix in ('', '-wal', '-shm'):
      with contextlib.suppress(FileNotFoundError):
        os.unlink(f'{path}{suffix}')
  raise InputError(f'{path} cannot be made: name another folder by --index.')


class _Features:
  """A mapped ``.npy`` of rows that grows.

  Attributes:
    rows: [capacity, D] float32, mapped.
  """

  def __init__(self, path: pathlib.Path, D: int):
    self._path, self._D = path, D
    try:
      self.rows = np.lib.format.open_memmap(path, 'r+')
      sound = self.rows.dtype == np.float32 and self.rows.shape[1:] == (D,)
    except (OSError, ValueError):
      sound = False
    if not sound:
      path.unlink(missing_ok=True)
      self.rows = np.lib.format.open_memmap(path, 'w+', np.float32, (64, D))

  def put(self, row: int, feature: np.ndarray) -> None:
    if row >= len(self.rows):
      self._grow(2 * len(self.rows))
    self.rows[row] = feature

  def flush(self) -> None:
    self.rows.flush()

  def _grow(self, capacity: int) -> None:
    """Let the file have more rows; NumPy leaves room in headers for that."""
    self.rows.flush()
    with self._path.open('r+b') as file:
      header = np.lib.format.header_data_from_array_1_0(self.rows)
      start = self.rows.offset
      np.lib.format.write_array_header_1_0(
        file, {**header, 'shape': (capacity, self._D)}
      )
      if file.tell() != start:
        raise RuntimeError('the header of features.npy does not fit')
      file.truncate(start + 4 * capacity * self._D)
    self.rows = np.lib.format.open_memmap(self._path, 'r+')
