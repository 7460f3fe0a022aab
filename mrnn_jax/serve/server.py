"""Uvicorn as the service runs it: a signal ends it when all is done, with 0."""

import asyncio
from collections.abc import Callable, Iterator
import contextlib
import os
import signal
import socket

from starlette.types import ASGIApp
import uvicorn

# Seconds for what is under way, beside what a request may take.
_GRACE = 5
# Beyond these a connection is told to come again.
_CONNECTIONS = 1000


class _Server(uvicorn.Server):
  """Leaves signals to us: it would end by the one that came, not with 0."""

  def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]):
    super().__init__(config)
    self._on_ready = on_ready

  async def startup(self, sockets: list[socket.socket] | None = None) -> None:
    """Begin to answer, and say so."""
    await super().startup(sockets)
    self._on_ready()

  @contextlib.contextmanager
  def capture_signals(self) -> Iterator[None]:
    """Capture none."""
    yield


def run(
  app: ASGIApp,
  listener: socket.socket,
  timeout: float,
  on_ready: Callable[[], None] = lambda: None,
) -> None:
  """Serve an app until SIGTERM or SIGINT, and then finish what is under way.

  Args:
    app: the app.
    listener: bound to where it is to listen.
    timeout: seconds that a request may take.
    on_ready: called once requests are answered.
  """
  config = uvicorn.Config(
    app,
    access_log=False,
    log_level='warning',
    server_header=False,
    timeout_graceful_shutdown=int(timeout) + _GRACE,
    limit_concurrency=_CONNECTIONS,
  )
  asyncio.run(_run(_Server(config, on_ready), listener))


async def _run(server: _Server, listener: socket.socket) -> None:
  asked = 0

  def end() -> None:
    nonlocal asked
    asked += 1
    server.should_exit = True
    if asked > 1:  # Whoever asks twice does not want to wait.
      os._exit(1)

  loop = asyncio.get_running_loop()
  for number in (signal.SIGTERM, signal.SIGINT):
    loop.add_signal_handler(number, end)
  await server.serve([listener])
