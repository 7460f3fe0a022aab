"""The web app: API, page, and what stands around them."""

import contextlib
import pathlib

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from mrnn_jax.serve import api, metrics, problems, security
from mrnn_jax.serve.service import Service
from mrnn_jax.serve.settings import Settings, secret

PAGE = pathlib.Path(__file__).parent / 'page'
# Of a request, beside its photos.
_OTHER_BYTES = 8 << 20


def create_app(service: Service, settings: Settings) -> FastAPI:
  """Return the app of a service; the service ends with it."""

  @contextlib.asynccontextmanager
  async def lifespan(app: FastAPI):
    yield
    service.close()

  hosts: tuple[str, ...] = ()
  if settings.is_local:
    hosts = ('localhost', '127.0.0.1', '[::1]', settings.host.lower())
  body = settings.max_photos * (settings.max_upload_mb << 20) + _OTHER_BYTES
  middleware = [
    Middleware(metrics.CountRequests, metrics=service.metrics),
    Middleware(
      security.Guard,
      token=secret(settings.token),
      cors=settings.origins,
      hosts=hosts,
      login=str(PAGE / 'login.html'),
    ),
    Middleware(security.LimitBody, form_bytes=body, other_bytes=_OTHER_BYTES),
  ]
  if settings.origins:
    middleware.append(
      Middleware(
        CORSMiddleware,
        allow_origins=list(settings.origins),
        allow_methods=['GET', 'POST'],
        allow_headers=['Authorization', 'Content-Type'],
        expose_headers=['Retry-After'],
      )
    )
  app = FastAPI(
    title='m-RNN',
    description='Describes photos, finds photos for sentences, ranks both.',
    version='1',
    docs_url=None,
    redoc_url=None,
    lifespan=lifespan,
    middleware=middleware,
  )
  problems.install(app)
  app.include_router(api.router(service))

  @app.get('/', include_in_schema=False)
  def page() -> FileResponse:
    return FileResponse(PAGE / 'index.html')

  @app.get('/docs', include_in_schema=False)
  def docs() -> FileResponse:
    return FileResponse(PAGE / 'docs.html')

  app.mount('/page', StaticFiles(directory=PAGE), name='page')
  return app
