"""The command ``python -m mrnn_jax.serve``: the service on one's own photos."""

from collections.abc import Sequence
import contextlib
import dataclasses
import socket
import sys
import threading
from typing import Any

from absl import flags

from mrnn_jax.runtime import cli, workdir_lock
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.serve import settings as settings_lib
from mrnn_jax.serve.settings import Settings

USAGE = """
python -m mrnn_jax.serve --photos=DIR [--workdir=W | --model_file=F]

Describe and search the photos of a folder in the browser, and answer others
over HTTP (/docs). Photos are indexed at start, and can be searched meanwhile.
SIGTERM or Ctrl-C ends it when what is under way is done.
"""


def serve(settings: Settings) -> None:
  """Serve until a signal comes."""
  try:
    from mrnn_jax.serve import app as app_lib
    from mrnn_jax.serve import server
    from mrnn_jax.serve.service import Service
  except ImportError as error:
    raise InputError(
      f'the service needs {error.name}, which is not installed: pip install -r '
      'requirements-serve.txt.'
    ) from error
  if not settings.folder.is_dir():
    raise InputError(f'--photos={settings.photos} is not a folder.')
  token = settings_lib.secret(settings.token)
  with contextlib.ExitStack() as stack:
    # Before all that takes time: a port in use is told at once.
    listener = _listen(settings)
    stack.callback(listener.close)
    try:
      stack.enter_context(
        workdir_lock.hold(str(settings.index_folder), 'serve')
      )
    except InputError as error:
      text = str(error).replace('--workdir', '--index')
      raise InputError(text) from error
    service = Service(settings, _engine(settings))
    app = app_lib.create_app(service, settings)
    if service.catalog.unsound:
      print(
        f'note: {service.catalog.unsound:,} photos of the index were damaged '
        'and are indexed anew.',
        file=sys.stderr,
      )
    host = f'[{settings.host}]' if ':' in settings.host else settings.host
    url = f'http://{host}:{listener.getsockname()[1]}'
    print(f'photos: {settings.folder}\nindex: {settings.index_folder}')
    if not settings.is_local and not token:
      print(
        'note: whoever reaches this machine can see the photos: --token keeps '
        'others out.',
        file=sys.stderr,
      )
    service.indexer.start()
    threading.Thread(target=_warm_up, args=(service,), daemon=True).start()
    server.run(
      app,
      listener,
      settings.timeout,
      lambda: print(f'open {url}/ (API: {url}/docs)', flush=True),
    )
  print('stopped: what was under way is done.')


def _engine(settings: Settings):
  from mrnn_jax.runtime import jax_setup
  from mrnn_jax.serve.engine import Engine
  from mrnn_jax.trained import TrainedModel

  jax_setup.apply(compilation_cache=True, deterministic=False)
  model = TrainedModel.load(settings.model_path)
  return Engine(model, settings.beam_size, settings.encoder_weights)


def _warm_up(service) -> None:
  """Compile before anybody waits for it; a fault shows with the request."""
  with contextlib.suppress(Exception):
    service.engine.warm_up()


def _listen(settings: Settings) -> socket.socket:
  family = socket.AF_INET6 if ':' in settings.host else socket.AF_INET
  listener = socket.socket(family, socket.SOCK_STREAM)
  listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
  try:
    listener.bind((settings.host, settings.port))
  except OSError as error:
    listener.close()
    raise InputError(
      f'{settings.host}:{settings.port} cannot be listened at '
      f'({error.strerror}): choose another --port or --host.'
    ) from error
  return listener


def define_flags(values: flags.FlagValues) -> dict[str, list[str]]:
  """Define the flags of the service; return heading -> names, for help."""
  default: dict[str, Any] = {
    f.name: f.default for f in dataclasses.fields(Settings)
  }

  def text(name: str, meaning: str):
    flags.DEFINE_string(name, default[name], meaning, flag_values=values)

  def number(name: str, meaning: str):
    flags.DEFINE_integer(name, default[name], meaning, flag_values=values)

  text('photos', 'The folder of photos, with all below it.')
  text('workdir', 'Take the best model of this workdir.')
  text('model_file', 'Take the model of a file that --task=export wrote.')
  text(
    'encoder_weights',
    "The encoder's weights file, where no pip package brings it.",
  )
  number(
    'beam_size',
    'Hypotheses of a search, so many captions at most; 0: as was '
    'chosen with the model.',
  )
  text(
    'index',
    'Folder for features, thumbnails and captions of the photos; by default '
    "one in the user's cache.",
  )
  number(
    'rescan', 'Seconds from one look at the folder to the next; 0: look once.'
  )
  text('host', 'Address to listen at; 0.0.0.0 for all of this machine.')
  number('port', 'Port to listen at; 0 for any that is free.')
  text(
    'token',
    'What others must show: a text, or @FILE. The page asks for it, programs '
    'send "Authorization: Bearer TOKEN".',
  )
  text(
    'cors',
    'Origins whose pages may call the service, with commas between them.',
  )
  number('max_photos', 'Photos of one request, at most.')
  number('max_upload_mb', 'Megabytes of one photo that is sent, at most.')
  number('max_waiting', 'Requests that may wait for each kind of work.')
  number('timeout', 'Seconds that a request may take.')
  return {
    'Photos': ['photos', 'index', 'rescan'],
    'Model': ['workdir', 'model_file', 'encoder_weights', 'beam_size'],
    'Service': ['host', 'port', 'token', 'cors'],
    'Limits': ['max_photos', 'max_upload_mb', 'max_waiting', 'timeout'],
  }


def run(argv: Sequence[str] | None = None) -> None:
  """Parse the flags and serve, or print what the flags are; then exit."""

  def work(**values) -> None:
    try:
      serve(Settings(**values))
    except KeyboardInterrupt:  # Before there was anything to finish.
      print('stopped before it began.')

  cli.run_with_flags(work, define_flags, USAGE, argv)


if __name__ == '__main__':
  run()
