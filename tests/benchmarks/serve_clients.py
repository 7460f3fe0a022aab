"""Clients of the service that cost little beside it: HTTP written by hand.

What a client of comfort costs would be taken from the same cores, and told of
the service. Connections are kept; messages are made once, before the time runs.
"""

import asyncio
from collections.abc import Sequence
import json
import os
import pathlib
import time
from urllib.parse import quote

import numpy as np

# What stands at each place of a sentence.
PARTS = (
  ('a',),
  ('red', 'blue', 'black', 'white', 'green', 'yellow', 'brown', 'orange'),
  ('dog', 'man', 'girl', 'boy', 'woman', 'child', 'player', 'person', 'horse'),
  ('runs', 'sits', 'jumps', 'plays', 'walks', 'stands', 'rides', 'climbs'),
  ('in', 'on', 'near', 'behind', 'beside', 'under', 'over', 'across'),
  ('a', 'the', 'another', 'this'),
  ('red', 'blue', 'black', 'white', 'green', 'yellow', 'brown', 'wooden'),
  ('street', 'beach', 'ball', 'bike', 'car', 'field', 'fence', 'tree', 'rock'),
)


def sentence(number: int) -> str:
  """One of a million sentences, so that hardly any is asked again."""
  rng = np.random.default_rng(number)
  return ' '.join(part[rng.integers(len(part))] for part in PARTS)


def message(
  method: str, path: str, body: bytes = b'', kind: str = 'application/json'
) -> bytes:
  """Return a request, head and body."""
  head = (
    f'{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n'
    f'Content-Length: {len(body)}\r\n\r\n'
  )
  return head.encode() + body


def of_feature(feature: np.ndarray) -> bytes:
  """Return a request for the caption of a feature."""
  body = json.dumps({'features': [feature.tolist()], 'nbest': 1})
  return message('POST', '/v1/captions', body.encode())


def of_photo(data: bytes) -> bytes:
  """Return a request for the caption of a photo, as a browser sends it."""
  mark = b'a-mark-between-parts'
  body = (
    b'--%b\r\nContent-Disposition: form-data; name="photo"; filename="a.jpg"'
    b'\r\nContent-Type: image/jpeg\r\n\r\n%b\r\n--%b--\r\n'
  ) % (mark, data, mark)
  kind = f'multipart/form-data; boundary={mark.decode()}'
  return message('POST', '/v1/captions', body, kind)


def of_sentence(text: str) -> bytes:
  """Return a search."""
  return message('GET', f'/v1/search?limit=20&q={quote(text)}')


class Connection:
  """A connection that is kept, and opened again where it was closed."""

  def __init__(self, port: int):
    self._port = port
    self._streams = None

  async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a request; return status, headers and body of the answer."""
    if self._streams is None:
      self._streams = await asyncio.open_connection(
        '127.0.0.1', self._port, limit=1 << 24
      )
    reader, writer = self._streams
    writer.write(request)
    head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1').split('\r\n')
    lines = (line.partition(': ') for line in head[1:] if line)
    headers = {name.lower(): value for name, _, value in lines}
    body = await reader.readexactly(int(headers['content-length']))
    if headers.get('connection') == 'close':
      self.close()
    return int(head[0].split()[1]), headers, body

  def close(self) -> None:
    if self._streams:
      self._streams[1].close()
    self._streams = None


class Load:
  """Clients that ask again and again, and what they got.

  Attributes:
    seconds: that each answer took.
    busy: answers that said to come again.
    refused: malformed photos that were refused.
    wrong: answers that should not have been.
  """

  def __init__(self, port: int):
    self._port = port
    self.seconds: list[float] = []
    self.wrong: list[str] = []
    self.busy = self.refused = 0
    self._next = 0

  async def _client(self, requests: Sequence[bytes], until: float) -> None:
    connection = Connection(self._port)
    while time.monotonic() < until:
      request = requests[self._next % len(requests)]
      self._next += 1
      begin = time.monotonic()
      status, headers, body = await connection.ask(request)
      if status == 200:
        self.seconds.append(time.monotonic() - begin)
      elif status == 503:
        self.busy += 1
        await asyncio.sleep(float(headers['retry-after']))
      else:
        self.wrong.append(body[:200].decode('utf-8', 'replace'))
    connection.close()

  async def _malformed(self, count: int, until: float) -> None:
    """Send what is no photo, evenly over the time."""
    pause = max(0, until - time.monotonic()) / (count + 1)
    rng = np.random.default_rng(self._next)
    heads = (b'\xff\xd8\xff\xe0', b'\x89PNG\r\n\x1a\n', b'GIF89a', b'')
    connection = Connection(self._port)
    for i in range(count):
      data = heads[i % 4] + rng.bytes(int(rng.integers(0, 20000)))
      status, _, _ = await connection.ask(of_photo(data))
      if status in (413, 415, 422):
        self.refused += 1
      elif status != 503:
        self.wrong.append(f'malformed: {status}')
      await asyncio.sleep(pause)
    connection.close()

  async def run(
    self,
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    malformed: int = 0,
  ) -> tuple[int, float]:
    """Have clients ask for so long; return answers, and seconds in all."""
    before, begin = len(self.seconds), time.monotonic()
    await asyncio.gather(
      self._malformed(malformed, begin + seconds),
      *(self._client(requests, begin + seconds) for _ in range(clients)),
    )
    return len(self.seconds) - before, time.monotonic() - begin


def cpu_seconds(pid: int) -> float:
  """CPU seconds that a process has used, of all its threads."""
  text = pathlib.Path(f'/proc/{pid}/stat').read_text()
  user, system = text.rpartition(')')[2].split()[11:13]
  return (int(user) + int(system)) / os.sysconf('SC_CLK_TCK')


def resident_mb(pid: int) -> float:
  """Memory of a process that is not in files."""
  text = pathlib.Path(f'/proc/{pid}/status').read_text()
  return int(text.partition('RssAnon:')[2].split()[0]) / 1024
