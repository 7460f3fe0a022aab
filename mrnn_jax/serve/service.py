"""The service apart from HTTP: engine, index, and a queue for each work."""

import asyncio
from collections.abc import Sequence
import concurrent.futures
import dataclasses
import os
import time
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile

from mrnn_jax.runtime import picture_files
from mrnn_jax.runtime.errors import InputError, printable
from mrnn_jax.serve import engine as engine_lib
from mrnn_jax.serve.batching import Batcher, Busy
from mrnn_jax.serve.catalog import Catalog
from mrnn_jax.serve.engine import Engine
from mrnn_jax.serve.folder import PhotoFolder
from mrnn_jax.serve.indexer import Indexer
from mrnn_jax.serve.metrics import Metrics
from mrnn_jax.serve.pool import Entry, View
from mrnn_jax.serve.problems import ProblemError
from mrnn_jax.serve.search import Found
from mrnn_jax.serve.settings import Settings
from mrnn_jax.serve.writer import ROWS, Caption, Job

# Photos of a step of the encoder, of the model's image part, and searches.
_ENCODED, _PLACED, _SEARCHED = 16, 32, 8
# Photos whose decoding may take memory at a time.
_DECODING = 4


@dataclasses.dataclass(frozen=True)
class Image:
  """A photo of a request.

  Attributes:
    name: as it is called in answers.
    feature: [D].
    vector: [J] what the model's image part gives.
  """

  name: str
  feature: np.ndarray
  vector: np.ndarray


class Service:
  """What the API answers from.

  Attributes:
    settings: what the command line said.
    engine: what computes.
    indexer: the photos, and how far their index is.
    metrics: what is counted.
  """

  def __init__(self, settings: Settings, engine: Engine):
    """Open the index and start the threads; ``start_index`` begins to index."""
    self.settings, self.engine, self.metrics = settings, engine, Metrics()
    folder = PhotoFolder(settings.folder, settings.index_folder)
    self._folder = folder
    self.catalog = Catalog(
      settings.index_folder,
      engine.encoder,
      engine.model.dataset['feature_size'],
      f'{engine.model.identity()} beam {engine.writer.beam_size}',
    )
    busy = Busy()
    self.indexer = Indexer(engine, self.catalog, folder, busy, settings.rescan)
    waiting, count = settings.max_waiting, self.metrics.on_batch
    self._encoding = Batcher(
      'encode',
      lambda jobs: engine.encode(jobs),
      _ENCODED,
      # All photos of one request must find room.
      max(waiting, settings.max_photos),
      busy,
      count,
    )
    self._placing = Batcher(
      'place',
      lambda jobs: engine.vectors(jobs),
      _PLACED,
      max(waiting, settings.max_photos),
      busy,
      count,
    )
    self._writing = Batcher(
      'write',
      lambda jobs: engine.write(jobs),
      ROWS[-1],
      max(waiting, settings.max_photos),
      busy,
      count,
    )
    self._searching = Batcher(
      'search',
      lambda jobs: engine.search_or_rank(jobs),
      _SEARCHED,
      waiting,
      busy,
      count,
    )
    self._batchers = (
      self._encoding,
      self._placing,
      self._writing,
      self._searching,
    )
    self._decoders = concurrent.futures.ThreadPoolExecutor(
      min(_DECODING, os.cpu_count() or 1), 'decode'
    )
    self._decoding = 0
    for batcher in self._batchers:
      self.metrics.watch(
        f'mrnn_waiting_{batcher.name}',
        f'Jobs that wait to {batcher.name}.',
        batcher.__len__,
      )
    self.metrics.watch(
      'mrnn_indexed_photos',
      'Photos that can be searched.',
      lambda: len(self.indexer.pool),
    )

  def close(self) -> None:
    """Finish what is under way and end the threads."""
    self.indexer.close()
    for batcher in self._batchers:
      batcher.close()
    self._decoders.shutdown()
    self.catalog.close()

  async def images(
    self,
    files: Sequence[tuple[str, UploadFile]],
    names: Sequence[str],
    features: Sequence[Sequence[float]],
  ) -> list[Image]:
    """Return the photos of a request: sent, indexed, or as features.

    Raises:
      ProblemError: there is none, too many, one cannot be read, or is unknown.
    """
    count = len(files) + len(names) + len(features)
    most = self.settings.max_photos
    if not count:
      raise ProblemError(
        422, 'no photo was given: send it as "photo", or name indexed ones.'
      )
    if count > most:
      raise ProblemError(413, f'{count} photos are more than {most} at a time.')
    entries = [self.entry(name) for name in names]
    found = []
    for name, entry in zip(names, entries, strict=True):
      feature = np.array(self.catalog.features()[entry.row])
      found.append((name, feature))
    with np.errstate(over='ignore'):  # Infinity is refused below.
      given = [
        (f'features {i}', np.asarray(x, np.float32))
        for i, x in enumerate(features, 1)
      ]
    for name, feature in given:
      try:
        self.engine.model.check_features(feature[None])
      except InputError as error:
        raise ProblemError(422, f'{name}: {error}') from error
    squares = await asyncio.gather(
      *(self._decode(name, file) for name, file in files)
    )
    encoded = await self._do(self._encoding, squares)
    sent = [(name, x) for (name, _), x in zip(files, encoded, strict=True)]
    everything = [*sent, *found, *given]
    vectors = await self._do(
      self._placing, [feature for _, feature in everything]
    )
    return [
      Image(name, feature, vector)
      for (name, feature), vector in zip(everything, vectors, strict=True)
    ]

  async def write(self, jobs: Sequence[Job]) -> list[list[Caption]]:
    """Write captions."""
    if not jobs[0].sample and jobs[0].nbest > self.engine.writer.beam_size:
      raise ProblemError(
        422,
        f'nbest is {jobs[0].nbest}, but a search has '
        f'{self.engine.writer.beam_size} captions at most.',
      )
    return await self._do(self._writing, jobs)

  async def search(
    self, sentences: Sequence[str], limit: int
  ) -> tuple[Found | None, float]:
    """Search the indexed photos; return what was found, and in what time."""
    begin = time.monotonic()
    ids = [self.engine.ids(sentence) for sentence in sentences]
    pool = self.indexer.pool
    if not len(pool):
      return None, 0.0
    (found,) = await self._do(self._searching, [(pool, ids, limit)])
    return found, time.monotonic() - begin

  async def rank(
    self, sentences: Sequence[str], images: Sequence[Image]
  ) -> tuple[np.ndarray, np.ndarray | None]:
    """Return log P(w|I) [S, n] and log P(w) [S]."""
    ids = [self.engine.ids(sentence) for sentence in sentences]
    vectors = np.stack([image.vector for image in images])
    (ranked,) = await self._do(self._searching, [(ids, vectors)])
    return ranked

  async def neighbors(
    self, image: Image, limit: int
  ) -> list[tuple[Entry, float]]:
    """Return the indexed photos nearest to one, and their distances."""
    view = self.indexer.pool.view()
    # One that is indexed finds itself.
    found = await self._in_thread(
      lambda: self.nearest(view, image.feature, limit + 1)
    )
    return [x for x in found if x[0].name != image.name][:limit]

  def nearest(
    self, view: View, feature: np.ndarray, limit: int
  ) -> list[tuple[Entry, float]]:
    """Return the photos of a view nearest to a feature [D], and how far."""
    places = np.flatnonzero(view.alive).tolist()
    entries = [view.entries[i] for i in places]
    rows = np.asarray([x.row for x in entries], np.int64)
    best, distances = self.engine.nearest(
      self.catalog.features(), rows, feature, limit
    )
    return [
      (entries[i], float(x)) for i, x in zip(best, distances, strict=True)
    ]

  def entry(self, name: str) -> Entry:
    """Return an indexed photo.

    Raises:
      ProblemError: there is none of that name.
    """
    entry = self.indexer.pool.get(name)
    if entry is None:
      raise ProblemError(
        404, f'no indexed photo is called {printable(name[:200])!r}.'
      )
    return entry

  async def thumbnail(self, name: str) -> bytes:
    """Return the small picture of an indexed photo."""
    path = self.catalog.thumbnail_path(self.entry(name).sha256)
    try:
      return await asyncio.to_thread(path.read_bytes)
    except FileNotFoundError as error:
      raise ProblemError(404, 'its small picture is gone.') from error

  async def picture(self, name: str) -> bytes:
    """Return an indexed photo as a JPEG for the screen."""
    # The name is one that a scan gave; nothing else becomes a path.
    path = self._folder.path_of(self.entry(name).name)

    def read() -> bytes:
      if path is None:
        raise picture_files.PictureError('it leads out of the folder')
      return engine_lib.picture(picture_files.read_bytes(path))

    try:
      return await self._in_thread(read)
    except picture_files.PictureError as error:
      raise ProblemError(
        404, f'{name} cannot be read any more: {error}.'
      ) from error

  async def _decode(self, name: str, file: UploadFile) -> np.ndarray:
    most = self.settings.max_upload_mb
    if (file.size or 0) > most << 20:
      raise ProblemError(413, f'{name} has more than {most} MB.')
    try:
      # Read where few are read at a time.
      return await self._in_thread(lambda: self.engine.square(file.file.read()))
    except picture_files.PictureError as error:
      raise ProblemError(415, f'{name} cannot be read: {error}.') from error

  async def _in_thread(self, work: Any) -> Any:
    """Do work that reads much, a few at a time."""
    most = self.settings.max_waiting + self.settings.max_photos
    if self._decoding >= most:
      raise ProblemError(503, 'too many requests wait.', {'Retry-After': '2'})
    self._decoding += 1
    try:
      async with asyncio.timeout(self.settings.timeout):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoders, work)
    finally:
      self._decoding -= 1

  async def _do(self, batcher: Batcher, jobs: Sequence[Any]) -> list[Any]:
    if not jobs:
      return []
    return await batcher.submit(jobs, self.settings.timeout)
