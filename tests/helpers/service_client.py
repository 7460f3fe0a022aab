"""Calls the service's app in this process, and looks at what it refuses."""

import asyncio
import re

import httpx

from mrnn_jax.serve import app as app_lib


class Client:
  """Calls an app in this process; each call has a loop of its own."""

  def __init__(self, service, address='http://127.0.0.1:8000'):
    self.service, self._address = service, address
    self.app = app_lib.create_app(service, service.settings)

  def __call__(self, method, path, **more):
    async def call():
      transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
      async with httpx.AsyncClient(
        transport=transport, base_url=self._address
      ) as client:
        return await client.request(method, path, **more)

    return asyncio.run(call())

  def get(self, path, **more):
    return self('GET', path, **more)

  def post(self, path, **more):
    return self('POST', path, **more)


def problem(response, status, text):
  assert response.status_code == status, response.text
  assert response.headers['content-type'] == 'application/problem+json'
  body = response.json()
  assert body['status'] == status
  assert re.search(text, body['detail']), body['detail']
  assert 'Traceback' not in response.text
  return response


def sent(photos, *names):
  return [('photo', (x, (photos / x).read_bytes())) for x in names]
