"""The HTTP API, ``/v1``: requests in, answers out."""

from collections.abc import Coroutine, Sequence
import math
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
import numpy as np
from starlette.responses import Response

from mrnn_jax.runtime.errors import printable
from mrnn_jax.serve import reading, schemas
from mrnn_jax.serve.problems import ProblemError
from mrnn_jax.serve.search import Found
from mrnn_jax.serve.service import Image, Service
from mrnn_jax.serve.writer import NUM_SAMPLES, Job
from mrnn_jax.serve.writer import Caption as Written

_PROBLEM = {'description': 'What is wrong, in a sentence (problem+json).'}
_PROBLEMS: dict[int | str, dict[str, Any]] = dict.fromkeys(
  (404, 413, 415, 422, 503, 504), _PROBLEM
)


def router(service: Service) -> APIRouter:
  """Return the routes of a service."""
  routes = APIRouter(prefix='/v1', responses=_PROBLEMS)

  @routes.post(
    '/captions',
    response_model=schemas.CaptionsOut,
    openapi_extra=reading.described(schemas.CaptionsIn),
  )
  async def captions(request: Request) -> Any:
    """Describe photos, sent as files ("photo"), indexed, or as features."""
    files, asked = await reading.read(
      request, service.settings, schemas.CaptionsIn
    )

    async def work() -> schemas.CaptionsOut:
      images = await service.images(files, asked.photos, asked.features)
      return await _captions(service, images, asked)

    return await reading.while_connected(request, work(), leave_out_none=True)

  @routes.post(
    '/rankings',
    response_model=schemas.RankingsOut,
    openapi_extra=reading.described(schemas.RankingsIn),
  )
  async def rankings(request: Request) -> Any:
    """Rank sentences for photos by P(w|I)/P(w), photos for them by P(w|I)."""
    files, asked = await reading.read(
      request, service.settings, schemas.RankingsIn
    )

    async def work() -> schemas.RankingsOut:
      images = await service.images(files, asked.photos, asked.features)
      return await _rankings(service, images, asked.sentences)

    return await reading.while_connected(request, work())

  @routes.post(
    '/neighbors',
    response_model=schemas.NeighborsOut,
    openapi_extra=reading.described(schemas.NeighborsIn),
  )
  async def neighbors(request: Request) -> Any:
    """Find the indexed photos that look most like one."""
    files, asked = await reading.read(
      request, service.settings, schemas.NeighborsIn
    )

    async def work() -> schemas.NeighborsOut:
      images = await service.images(files, asked.photos, asked.features)
      if len(images) != 1:
        raise ProblemError(422, 'give one photo.')
      found = await service.neighbors(images[0], asked.limit)
      return schemas.NeighborsOut(
        results=[
          schemas.Neighbor(
            photo=x.name,
            distance=distance,
            caption=x.caption,
            width=x.width,
            height=x.height,
          )
          for x, distance in found
        ]
      )

    return await reading.while_connected(request, work())

  @routes.get('/search', response_model=schemas.SearchOut)
  async def search(
    request: Request,
    q: Annotated[
      list[schemas.Sentence],
      Query(
        max_length=schemas.MAX_QUERY, description='A sentence, or several.'
      ),
    ],
    limit: Annotated[int, Query(ge=1, le=schemas.MAX_FOUND)] = 20,
  ) -> Any:
    """Find the indexed photos that sentences are likeliest for."""

    async def work() -> schemas.SearchOut:
      found, seconds = await service.search(q, limit)
      unknown = [w for x in q for w in service.engine.unknown(x)]
      return schemas.SearchOut(
        results=_hits(found) if found else [],
        unknown=list(dict.fromkeys(unknown)),
        searched=int(found.view.alive.sum()) if found else 0,
        seconds=round(seconds, 4),
      )

    return await reading.while_connected(request, work())

  @routes.get('/photos', response_model=schemas.PhotosOut)
  def photos(
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
    limit: Annotated[int, Query(ge=1, le=schemas.MAX_FOUND)] = 60,
  ) -> Any:
    """List the indexed photos."""
    pool = service.indexer.pool
    return schemas.PhotosOut(
      photos=[
        schemas.Listed(
          photo=x.name,
          caption=x.caption,
          log_prob=x.log_prob,
          width=x.width,
          height=x.height,
        )
        for x in pool.listed(offset, limit)
      ],
      total=len(pool),
    )

  @routes.get('/thumbnails', response_class=Response)
  async def thumbnails(request: Request, photo: schemas.Name) -> Response:
    """Give an indexed photo as a small JPEG."""
    sha256 = service.entry(photo).sha256
    return await _picture(request, f'{sha256}-small', service.thumbnail(photo))

  @routes.get('/pictures', response_class=Response)
  async def pictures(request: Request, photo: schemas.Name) -> Response:
    """Give an indexed photo as a JPEG for the screen."""
    sha256 = service.entry(photo).sha256
    return await _picture(request, f'{sha256}-large', service.picture(photo))

  @routes.get('/healthz', response_model=schemas.HealthOut)
  def healthz() -> Any:
    """Tell that the service is there, and how far the index is."""
    state, indexed = service.indexer.state, len(service.indexer.pool)
    # Before the folder was looked at, what is known from before.
    total = max(indexed, state.total - state.num_unreadable)
    return schemas.HealthOut(status='ok', indexed=indexed, total=total)

  @routes.get('/index', response_model=schemas.IndexOut)
  def index() -> Any:
    """Tell how far the index is, what cannot be read, and the limits."""
    return _index(service)

  @routes.post('/index', response_model=schemas.IndexOut, status_code=202)
  def look_again() -> Any:
    """Have the folder looked at now."""
    service.indexer.look_again()
    return _index(service)

  @routes.get('/metrics', response_class=Response)
  def metrics() -> Response:
    """Give figures in Prometheus's text format."""
    return Response(
      service.metrics.text(), media_type='text/plain; version=0.0.4'
    )

  return routes


def _hits(found: Found) -> list[schemas.Hit]:
  chance, hits = found.log_chance, []
  for place, score in zip(
    found.places.tolist(), found.scores.tolist(), strict=True
  ):
    entry = found.view.entries[place]
    hits.append(
      schemas.Hit(
        photo=entry.name,
        score=score,
        gain=None if chance is None else score - chance,
        caption=entry.caption,
        width=entry.width,
        height=entry.height,
      )
    )
  return hits


async def _captions(
  service: Service, images: Sequence[Image], asked: schemas.CaptionsIn
) -> schemas.CaptionsOut:
  prefix = service.engine.prefix(asked.prefix)
  if asked.sample and asked.nbest > NUM_SAMPLES:
    raise ProblemError(
      422, f'nbest is {asked.nbest}: {NUM_SAMPLES} are drawn at most.'
    )
  jobs = [
    Job(
      image.vector,
      prefix,
      asked.nbest,
      asked.sample,
      asked.temperature,
      asked.seed,
      asked.words,
    )
    for image in images
  ]
  written = await service.write(jobs)
  return schemas.CaptionsOut(
    captions=[
      schemas.PhotoCaptions(
        photo=image.name,
        nbest=[_caption(service, x) for x in found],
        feature=image.feature.tolist() if asked.return_features else None,
      )
      for image, found in zip(images, written, strict=True)
    ]
  )


def _caption(service: Service, caption: Written) -> schemas.Caption:
  def text(word: int) -> str:
    return service.engine.text([word]) if word in _words else ''

  _words = range(4, len(service.engine.model.vocabulary))
  words = None
  if caption.told is not None:
    words = [
      schemas.Word(
        word=text(word),
        probability=math.exp(log_prob),
        others=[
          schemas.Other(word=text(other), probability=math.exp(value))
          for other, value in others
        ],
      )
      for word, (log_prob, others) in zip(
        (*caption.words, -1), caption.told, strict=False
      )
    ]
  return schemas.Caption(
    caption=service.engine.text(caption.words),
    log_prob=caption.log_prob,
    perplexity=_perplexity(caption.log_prob, caption.num_targets),
    cut=caption.cut,
    words=words,
  )


async def _rankings(
  service: Service, images: Sequence[Image], sentences: Sequence[str]
) -> schemas.RankingsOut:
  log_probs, chances = await service.rank(sentences, images)
  lengths = np.asarray([len(service.engine.ids(s)) - 1 for s in sentences])
  if chances is None:
    scores = log_probs / lengths[:, None]
  else:
    scores = log_probs - chances[:, None]
  unknown = [service.engine.unknown(s) for s in sentences]
  rankings = [
    schemas.PhotoRanking(
      photo=image.name,
      sentences=[
        schemas.RankedSentence(
          sentence=sentences[s],
          score=float(scores[s, n]),
          log_prob=float(log_probs[s, n]),
          perplexity=_perplexity(float(log_probs[s, n]), int(lengths[s])),
          unknown=unknown[s],
        )
        for s in np.argsort(-scores[:, n], kind='stable')
      ],
    )
    for n, image in enumerate(images)
  ]
  return schemas.RankingsOut(
    rankings=rankings,
    sentences=[
      schemas.SentenceRanking(
        sentence=sentence,
        photos=[
          schemas.RankedPhoto(
            photo=images[n].name, score=float(log_probs[s, n])
          )
          for n in np.argsort(-log_probs[s], kind='stable')
        ],
      )
      for s, sentence in enumerate(sentences)
    ],
  )


def _index(service: Service) -> schemas.IndexOut:
  state, settings = service.indexer.state, service.settings
  return schemas.IndexOut(
    phase=state.phase,
    indexed=len(service.indexer.pool),
    total=state.total,
    todo=state.todo,
    seconds_left=state.seconds_left,
    unreadable=[
      schemas.Unreadable(photo=name, reason=reason)
      for name, reason in state.unreadable
    ],
    num_unreadable=state.num_unreadable,
    error=state.error,
    folder=printable(settings.folder.name),
    max_photos=settings.max_photos,
    max_upload_mb=settings.max_upload_mb,
    max_nbest=service.engine.writer.beam_size,
    samples=NUM_SAMPLES,
  )


def _perplexity(log_prob: float, num_targets: int) -> float:
  """Return 2 ** (-log2 P / L), as a number that JSON has."""
  return math.exp(min(-log_prob / max(num_targets, 1), 700))


async def _picture(
  request: Request, tag: str, data: Coroutine[Any, Any, bytes]
) -> Response:
  headers = {'ETag': f'"{tag}"', 'Cache-Control': 'private, no-cache'}
  if request.headers.get('if-none-match') == headers['ETag']:
    data.close()
    return Response(status_code=304, headers=headers)
  return Response(await data, headers=headers, media_type='image/jpeg')
