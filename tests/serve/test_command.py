import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request

import pytest

from mrnn_jax.runtime import cli, workdir_lock
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.serve import __main__ as command
from mrnn_jax.serve.settings import Settings, secret

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
  ('flags', 'text'),
  [
    ([], '--photos=DIR'),
    (['--photos=/nowhere'], 'not a folder'),
    (['--photos=.', '--workdir=a', '--model_file=b'], 'not both'),
    (['--photos=.', '--port=70000'], '65535'),
    (['--photos=.', '--max_photos=0'], 'at least 1'),
    (['--photos=.', '--cors=example.org'], 'https://example.org'),
    (['--photos=.', '--token=short'], '8 or more'),
    (['--photos=.', '--token=@/nowhere'], 'cannot be read'),
    (['--photos=.', '--index=gs://x'], 'this machine'),
    (['--photos=.', '--prot=1'], 'did you mean --port'),
  ],
)
def test_mistakes_are_one_sentence(flags, text, capsys):
  with pytest.raises(SystemExit) as error:
    command.run(['serve', *flags])
  assert error.value.code == 1
  told = capsys.readouterr().err
  assert text in told
  assert told.count('\n') == 1


def test_a_port_in_use_is_told_before_anything_is_loaded(tmp_path, capsys):
  with socket.socket() as other:
    other.bind(('127.0.0.1', 0))
    other.listen()
    port = other.getsockname()[1]
    with pytest.raises(SystemExit):
      command.run(['serve', f'--photos={tmp_path}', f'--port={port}'])
  assert 'choose another --port' in capsys.readouterr().err


def test_one_service_for_an_index(tmp_path, capsys):
  index = tmp_path / 'index'
  flags = [f'--photos={tmp_path}', f'--index={index}', '--port=0']
  with workdir_lock.hold(str(index), 'serve'), pytest.raises(SystemExit):
    command.run(['serve', *flags])
  told = capsys.readouterr().err
  assert 'is in use' in told
  assert '--index' in told
  assert '--workdir' not in told


def test_where_the_index_is(tmp_path, monkeypatch):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  first = Settings(photos=str(tmp_path)).index_folder
  assert first.parent == tmp_path / 'mrnn_jax' / 'photos'
  link = tmp_path / 'link'
  link.symlink_to(tmp_path)
  assert Settings(photos=str(link)).index_folder == first
  assert (
    Settings(photos='.', index='x').index_folder == pathlib.Path.cwd() / 'x'
  )


def test_who_is_this_machine():
  def local(host):
    return Settings(photos='.', host=host).is_local

  assert local('127.0.0.1')
  assert local('::1')
  assert local('localhost')
  assert not local('0.0.0.0')
  assert not local('example.org')


def test_a_token_in_a_file(tmp_path):
  path = tmp_path / 'token'
  path.write_text('a long secret\n')
  assert secret(f'@{path}') == 'a long secret'
  path.write_text('\n')
  with pytest.raises(InputError, match='empty'):
    secret(f'@{path}')


def test_help_names_every_flag(capsys):
  with pytest.raises(SystemExit):
    command.run(['serve', '--help'])
  text = capsys.readouterr().out
  for name in Settings.__dataclass_fields__:
    assert f'--{name}=' in text
  assert cli.STOPPED not in text


_SLOW_APP = """
import asyncio, socket, sys
from mrnn_jax.serve import server

async def app(scope, receive, send):
  if scope['type'] == 'lifespan':
    while True:
      message = await receive()
      await send({'type': message['type'] + '.complete'})
      if message['type'] == 'lifespan.shutdown':
        print('closed', flush=True)
        return
  print('begun', flush=True)
  await asyncio.sleep(1)
  await send({'type': 'http.response.start', 'status': 200, 'headers': []})
  await send({'type': 'http.response.body', 'body': b'whole'})

listener = socket.socket()
listener.bind(('127.0.0.1', 0))
print(listener.getsockname()[1], flush=True)
server.run(app, listener, 20)
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_under_way_finish(number):
  pytest.importorskip('uvicorn')
  child = subprocess.Popen(
    [sys.executable, '-c', textwrap.dedent(_SLOW_APP)],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    text=True,
  )
  port = child.stdout.readline().strip()
  answers = []

  def ask():
    for _ in range(200):
      try:
        with urllib.request.urlopen(
          f'http://127.0.0.1:{port}', timeout=60
        ) as f:
          answers.append(f.read())
        return
      except OSError:  # Not yet there.
        time.sleep(0.1)

  thread = threading.Thread(target=ask)
  thread.start()
  assert child.stdout.readline() == 'begun\n'
  os.kill(child.pid, number)
  assert child.wait(60) == 0
  thread.join()
  assert answers == [b'whole']
  assert 'closed' in child.stdout.read()
  child.stdout.close()
