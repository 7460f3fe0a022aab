"""Errors as the API gives them: ``application/problem+json`` (RFC 9457)."""

from collections.abc import Mapping
import http
import json
import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from mrnn_jax.runtime.errors import InputError, printable
from mrnn_jax.serve.batching import ClosedError, FullError

_LOG = logging.getLogger(__name__)


class ProblemError(Exception):
  """What is told to whoever asked, in a sentence."""

  def __init__(
    self, status: int, detail: str, headers: Mapping[str, str] | None = None
  ):
    """Take the HTTP status, the sentence, and further headers."""
    super().__init__(detail)
    self.status, self.detail, self.headers = status, detail, headers


def response(
  status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
  """Return a problem as a response."""
  body = {
    'type': 'about:blank',
    'title': http.HTTPStatus(status).phrase,
    'status': status,
    'detail': printable(detail),
  }
  return Response(
    json.dumps(body, ensure_ascii=False),
    status,
    headers,
    'application/problem+json',
  )


def sentence(error: ValidationError | RequestValidationError) -> str:
  """Say what is wrong with values, and where."""
  told = []
  for wrong in error.errors()[:3]:
    where = '.'.join(str(x) for x in wrong['loc'] if x not in ('body', 'query'))
    told.append(f'{where[:60] or "the request"}: {wrong["msg"][:200]}')
  return '; '.join(told) + '.'


def install(app: FastAPI) -> None:
  """Have an app answer with problems whatever goes wrong."""

  @app.exception_handler(ProblemError)
  async def on_problem(request: Request, error: ProblemError) -> Response:
    return response(error.status, error.detail, error.headers)

  @app.exception_handler(FullError)
  async def on_full(request: Request, error: FullError) -> Response:
    return response(
      503,
      f'too many requests wait: come again in {error.seconds} s.',
      {'Retry-After': str(error.seconds)},
    )

  @app.exception_handler(ClosedError)
  async def on_closed(request: Request, error: ClosedError) -> Response:
    return response(503, 'the service ends.', {'Retry-After': '30'})

  @app.exception_handler(TimeoutError)
  async def on_timeout(request: Request, error: TimeoutError) -> Response:
    return response(504, 'it took too long: send less at a time.')

  @app.exception_handler(InputError)
  async def on_input(request: Request, error: InputError) -> Response:
    return response(422, str(error))

  @app.exception_handler(ValidationError)
  @app.exception_handler(RequestValidationError)
  async def on_invalid(
    request: Request, error: ValidationError | RequestValidationError
  ) -> Response:
    return response(422, sentence(error))

  @app.exception_handler(HTTPException)
  async def on_http(request: Request, error: HTTPException) -> Response:
    detail = error.detail
    if error.status_code == 404:
      detail = f'there is nothing at {request.url.path[:200]}: see /docs.'
    return response(error.status_code, str(detail), error.headers)

  @app.exception_handler(Exception)
  async def on_fault(request: Request, error: Exception) -> Response:
    _LOG.error('a request failed', exc_info=error)
    return response(500, 'a fault of the service itself; its log tells more.')
