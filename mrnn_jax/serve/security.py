"""Who may ask what: plain ASGI around the app, before anything is read."""

from collections.abc import Sequence
import hmac
import http.cookies
import urllib.parse

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mrnn_jax.serve import problems

COOKIE = 'mrnn_token'
_HEADERS = {
  'Content-Security-Policy': (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'"
  ),
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
}
# What may be seen without a token: that the service is there, and how the page
# that asks for the token looks.
_OPEN = ('/v1/healthz', '/page/app.css', '/page/icon.svg')


class Guard:
  """Refuses hosts, origins and callers that are none of ours."""

  def __init__(
    self,
    app: ASGIApp,
    token: str,
    cors: Sequence[str],
    hosts: Sequence[str],
    login: str,
  ):
    """Guard an app.

    Args:
      app: the app.
      token: what callers must show; '' for nothing.
      cors: origins whose pages may call.
      hosts: names under which the service may be called, so that no page of
        elsewhere reaches it by a name of its own; none for any.
      login: the file of the page that asks for the token.
    """
    self._app, self._token, self._cors = app, token, frozenset(cors)
    self._hosts, self._login = frozenset(hosts), login

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or hand it on."""
    if scope['type'] != 'http':
      await self._app(scope, receive, send)
      return

    async def with_headers(message: Message) -> None:
      if message['type'] == 'http.response.start':
        headers = MutableHeaders(scope=message)
        for name, value in _HEADERS.items():
          headers.setdefault(name, value)
        headers.setdefault('Cache-Control', 'no-store')
      await send(message)

    answer = self._refuse(scope) or self._app
    await answer(scope, receive, with_headers)

  def _refuse(self, scope: Scope) -> ASGIApp | None:
    headers, path = Headers(scope=scope), scope['path']
    host = headers.get('host', '')
    if self._hosts and _name(host) not in self._hosts:
      return problems.response(
        421, f'this service is not {host[:100]!r}: call it by its own name.'
      )
    origin = headers.get('origin')
    foreign = origin and urllib.parse.urlsplit(origin).netloc != host
    if origin and foreign and origin not in self._cors:
      return problems.response(
        403, f'pages of {origin[:100]!r} may not call this service.'
      )
    # What a browser asks before a call of another origin brings no token.
    if not self._token or path in _OPEN or scope['method'] == 'OPTIONS':
      return None
    query = urllib.parse.parse_qs(scope['query_string'].decode('latin-1'))
    if path == '/' and self._is_right(query.get('token', [''])[0]):
      answer = RedirectResponse('/', 303)
      answer.set_cookie(
        COOKIE, self._token, httponly=True, samesite='strict', path='/'
      )
      return answer
    if self._is_right(_shown(headers)):
      return None
    if path == '/':
      return FileResponse(self._login, 401)
    return problems.response(
      401,
      'this service wants a token: send "Authorization: Bearer TOKEN".',
      {'WWW-Authenticate': 'Bearer'},
    )

  def _is_right(self, shown: str) -> bool:
    return hmac.compare_digest(shown.encode(), self._token.encode())


class LimitBody:
  """Ends requests whose body is larger than it may be, as soon as it shows."""

  def __init__(self, app: ASGIApp, form_bytes: int, other_bytes: int):
    """Limit the bodies of requests to an app: forms, and all else."""
    self._app = app
    self._form_bytes, self._other_bytes = form_bytes, other_bytes

  async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
    """Hand a request on, counting what comes."""
    if scope['type'] != 'http':
      await self._app(scope, receive, send)
      return
    # Files of forms wait on disk, all else in memory.
    kind = Headers(scope=scope).get('content-type', '')
    is_form = kind.startswith('multipart/form-data')
    max_bytes = self._form_bytes if is_form else self._other_bytes
    too_large = problems.ProblemError(
      413, f'more than {max_bytes >> 20} MB were sent: send less at a time.'
    )
    length = Headers(scope=scope).get('content-length', '0')
    if length.isdecimal() and int(length) > max_bytes:
      answer = problems.response(413, too_large.detail, {'Connection': 'close'})
      await answer(scope, receive, send)
      return
    count = 0

    async def counted() -> Message:
      nonlocal count
      message = await receive()
      count += len(message.get('body', b''))
      if count > max_bytes:
        raise too_large
      return message

    await self._app(scope, counted, send)


def _name(host: str) -> str:
  """Return a host without its port, lower case."""
  if host.startswith('['):
    return host.partition(']')[0].lower() + ']'
  return host.partition(':')[0].lower()


def _shown(headers: Headers) -> str:
  """Return the token that a request shows, '' for none."""
  kind, _, token = headers.get('authorization', '').partition(' ')
  if kind.lower() == 'bearer':
    return token.strip()
  try:
    cookies = http.cookies.SimpleCookie(headers.get('cookie', ''))
  except http.cookies.CookieError:
    return ''
  return cookies[COOKIE].value if COOKIE in cookies else ''
