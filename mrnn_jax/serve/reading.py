"""Requests as they come: forms or JSON, from callers that may hang up."""

import asyncio
from collections.abc import Awaitable
import json
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel
import pydantic_core
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.responses import JSONResponse, Response

from mrnn_jax.runtime.errors import printable
from mrnn_jax.serve import schemas
from mrnn_jax.serve.problems import ProblemError
from mrnn_jax.serve.settings import Settings

In = TypeVar('In', bound=BaseModel)

_FIELD_BYTES = 1 << 20


async def read(
  request: Request, settings: Settings, kind: type[In]
) -> tuple[list[tuple[str, UploadFile]], In]:
  """Return the files of a request, and what else it says.

  Raises:
    ProblemError: it is neither a form nor JSON, or not as it should be.
    ValidationError: its values cannot be.
  """
  content = request.headers.get('content-type', '').partition(';')[0].strip()
  if content == 'application/json':
    try:
      body = await request.body()
      return [], kind.model_validate(_json(body))
    except (ValueError, RecursionError) as error:
      if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        raise ProblemError(422, 'the body is no JSON.') from error
      if isinstance(error, RecursionError):
        raise ProblemError(422, 'the JSON is nested too deeply.') from error
      raise
  if content != 'multipart/form-data':
    raise ProblemError(
      415, 'send a form (multipart/form-data) with "photo", or JSON.'
    )
  try:
    form = await request.form(
      max_files=settings.max_photos,
      max_fields=schemas.MAX_SENTENCES + 20,
      max_part_size=_FIELD_BYTES,
    )
  except (MultiPartException, HTTPException) as error:
    detail = error.detail if isinstance(error, HTTPException) else error.message
    status = 413 if 'Too many' in detail or 'exceeded' in detail else 422
    raise ProblemError(
      status, f'the form cannot be read: {detail.rstrip(".")}.'
    ) from error
  try:
    return _of_form(form, kind)
  except Exception:
    await request.close()  # The files of the form.
    raise


async def while_connected(
  request: Request, work: Awaitable[BaseModel], leave_out_none: bool = False
) -> Response:
  """Do work as long as somebody waits for it, and answer with what it gives."""

  async def left() -> None:
    while (await request.receive())['type'] != 'http.disconnect':
      pass

  task, watch = asyncio.ensure_future(work), asyncio.ensure_future(left())
  try:
    await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
      return Response(status_code=499)  # Nobody reads it.
    # Here: the framework would look through all of it once more.
    return JSONResponse(task.result().model_dump(exclude_none=leave_out_none))
  finally:
    for x in (task, watch):
      x.cancel()
    await request.close()  # The files of its form.


def described(kind: type[BaseModel]) -> dict[str, Any]:
  """Describe a body that is a form or JSON."""
  schema = kind.model_json_schema(ref_template='#/components/schemas/{model}')
  schema.pop('$defs', None)
  fields = {k: v for k, v in schema['properties'].items() if k != 'features'}
  photo = {
    'type': 'array',
    'items': {'type': 'string', 'format': 'binary'},
    'description': 'Photos as files.',
  }
  form = {**schema, 'properties': {'photo': photo, **fields}}
  return {
    'requestBody': {
      'required': True,
      'content': {
        'multipart/form-data': {'schema': form},
        'application/json': {'schema': schema},
      },
    }
  }


def _of_form(
  form: FormData, kind: type[In]
) -> tuple[list[tuple[str, UploadFile]], In]:
  files: list[tuple[str, UploadFile]] = []
  values: dict[str, Any] = {}
  for key, value in form.multi_items():
    if isinstance(value, UploadFile):
      if key != 'photo':
        raise ProblemError(422, f'a file is called {key[:60]!r}, not "photo".')
      # For answers alone: a name never becomes a path.
      name = (
        printable((value.filename or '')[-200:]) or f'photo {len(files) + 1}'
      )
      files.append((name, value))
    elif key in ('sentences', 'photos'):
      values.setdefault(key, []).append(value)
    elif key == 'features':
      raise ProblemError(422, 'features are sent as JSON, not in a form.')
    elif key in values:
      raise ProblemError(422, f'{key[:60]!r} is given twice.')
    else:
      values[key] = value
  return files, kind.model_validate(values)


def _json(body: bytes) -> Any:
  try:
    # A feature is a thousand numbers, and many come: the standard library takes
    # most of the time that such a request does apart from the model.
    return pydantic_core.from_json(body, allow_inf_nan=False)
  except ValueError:
    return json.loads(body, parse_constant=_none)  # It says what is wrong.


def _none(name: str) -> None:
  raise ProblemError(422, f'{name} is no number of JSON.')
