"""What the service tells of itself, for Prometheus."""

from collections.abc import Callable
import time

from prometheus_client import (
  CollectorRegistry,
  Counter,
  Gauge,
  Histogram,
  generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Metrics:
  """The figures of one service."""

  def __init__(self):
    """Begin at 0."""
    self._registry = CollectorRegistry()
    self._requests = Counter(
      'mrnn_requests',
      'Requests answered.',
      ('method', 'path', 'status'),
      registry=self._registry,
    )
    self._seconds = Histogram(
      'mrnn_request_seconds',
      'Seconds to the end of an answer.',
      ('path',),
      registry=self._registry,
    )
    self._batch = Histogram(
      'mrnn_batch_jobs',
      'Jobs that shared a step.',
      ('work',),
      buckets=(1, 2, 4, 8, 16, 32, 64),
      registry=self._registry,
    )
    self._step = Histogram(
      'mrnn_batch_seconds',
      'Seconds of a step.',
      ('work',),
      registry=self._registry,
    )

  def watch(self, name: str, text: str, read: Callable[[], float], **labels):
    """Have a gauge read when it is asked for."""
    gauge = Gauge(name, text, tuple(labels), registry=self._registry)
    (gauge.labels(**labels) if labels else gauge).set_function(read)

  def on_batch(self, work: str, jobs: int, seconds: float) -> None:
    """Count a step."""
    self._batch.labels(work).observe(jobs)
    self._step.labels(work).observe(seconds)

  def on_request(
    self, method: str, path: str, status: int, seconds: float
  ) -> None:
    """Count a request."""
    self._requests.labels(method, path, status).inc()
    self._seconds.labels(path).observe(seconds)

  def text(self) -> bytes:
    """Return all in Prometheus's text format."""
    return generate_latest(self._registry)


_METHODS = frozenset(('GET', 'HEAD', 'POST', 'OPTIONS'))


class CountRequests:
  """Counts what an app answers, by the paths of its routes."""

  def __init__(self, app: ASGIApp, metrics: Metrics):
    """Count the requests of an app."""
    self._app, self._metrics = app, metrics

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Hand a request on."""
    if scope['type'] != 'http':
      await self._app(scope, receive, send)
      return
    begin, status = time.monotonic(), 500

    async def noted(message: Message) -> None:
      nonlocal status
      if message['type'] == 'http.response.start':
        status = message['status']
      await send(message)

    try:
      await self._app(scope, receive, noted)
    finally:
      # Whatever else people ask for must not become a figure of its own.
      path = getattr(scope.get('route'), 'path', None) or 'other'
      method = scope['method'] if scope['method'] in _METHODS else 'other'
      self._metrics.on_request(method, path, status, time.monotonic() - begin)
