"""What the service does not do, and how it says so."""

import asyncio
import io

from PIL import Image
import pytest
from service_client import Client, problem, sent

from mrnn_jax.serve import batching


@pytest.mark.parametrize(
  ('data', 'status', 'text'),
  [
    (b'', 415, 'empty'),
    (b'GIF89a nonsense', 415, 'known format|broken'),
    (b'%!PS-Adobe-3.0 EPSF-3.0\n', 415, 'known format'),
    (b'\xff\xd8\xff\xe0 cut', 415, 'format|broken'),
    (b'\x89PNG\r\n\x1a\n' + bytes(60), 415, 'format|broken'),
    (b'x' * (1 << 20) + b'y', 413, 'more than 1 MB'),
  ],
)
def test_what_is_no_photo_is_told(make_service, data, status, text):
  client = Client(make_service(max_upload_mb=1))
  files = [('photo', ('../../x.jpg', data))]
  problem(client.post('/v1/captions', files=files), status, text)


def test_a_small_file_of_many_pixels_is_refused(client):
  buffer = io.BytesIO()
  Image.new('1', (20000, 10000)).save(buffer, 'PNG')
  files = [('photo', ('a', buffer.getvalue()))]
  answer = client.post('/v1/captions', files=files)
  problem(answer, 415, '90,000,000 pixels')


def test_too_much_is_refused(make_service, photos):
  client = Client(make_service(max_photos=2, max_upload_mb=1))
  files = sent(photos, '0.png', '2.png', '4.png')
  problem(client.post('/v1/captions', files=files), 413, 'Too many files')
  body = {'photos': ['0.png'] * 3}
  problem(client.post('/v1/captions', json=body), 413, '3 photos.*2')
  large = b'x' * (11 << 20)
  answer = client.post('/v1/captions', content=large)
  problem(answer, 413, 'more than 8 MB')
  files = [('photo', ('a', large))]
  problem(client.post('/v1/captions', files=files), 413, 'more than 10 MB')

  async def pieces():
    for _ in range(12):
      yield b'x' * (1 << 20)

  answer = client.post(
    '/v1/captions',
    content=pieces(),
    headers={'content-type': 'application/json'},
  )
  problem(answer, 413, 'more than 8 MB')


_CAPTIONS, _JSON = '/v1/captions', {'content-type': 'application/json'}


@pytest.mark.parametrize(
  ('path', 'more', 'status', 'text'),
  [
    (_CAPTIONS, {}, 415, 'form'),
    (_CAPTIONS, {'content': b'{', 'headers': _JSON}, 422, 'no JSON'),
    (_CAPTIONS, {'content': b'\xff', 'headers': _JSON}, 422, 'no JSON'),
    (_CAPTIONS, {'content': b'[' * 99999, 'headers': _JSON}, 422, 'JSON'),
    (_CAPTIONS, {'content': b'[]', 'headers': _JSON}, 422, 'request'),
    (_CAPTIONS, {'json': {}}, 422, 'no photo was given'),
    (_CAPTIONS, {'json': {'foto': 1}}, 422, 'foto'),
    (_CAPTIONS, {'json': {'photos': ['none']}}, 404, "'none'"),
    (_CAPTIONS, {'json': {'photos': ['0.png'], 'nbest': 9}}, 422, 'at most'),
    (_CAPTIONS, {'json': {'photos': ['0.png'], 'nbest': 0}}, 422, 'nbest'),
    (_CAPTIONS, {'json': {'features': [[1.0] * 6]}}, 422, r'wants \[N, 7\]'),
    (
      _CAPTIONS,
      {'content': b'{"features": [[NaN]]}', 'headers': _JSON},
      422,
      'NaN',
    ),
    (
      _CAPTIONS,
      {'content': b'{"features": [[1e99,1,1,1,1,1,1]]}', 'headers': _JSON},
      422,
      'not finite',
    ),
    (
      _CAPTIONS,
      {'json': {'photos': ['0.png'], 'prefix': 'a zebra'}},
      422,
      'zebra',
    ),
    (
      _CAPTIONS,
      {'json': {'photos': ['0.png'], 'prefix': 'a ' * 6}},
      422,
      'at most 6 words',
    ),
    (
      _CAPTIONS,
      {'json': {'photos': ['0.png'], 'sample': True, 'temperature': 0}},
      422,
      'temperature',
    ),
    (_CAPTIONS, {'files': {'image': b'x'}}, 422, '"photo"'),
    (
      _CAPTIONS,
      {'content': b'x', 'headers': {'content-type': 'multipart/form-data'}},
      422,
      'boundary',
    ),
    ('/v1/rankings', {'json': {'photos': ['0.png']}}, 422, 'sentences'),
    (
      '/v1/rankings',
      {'json': {'photos': ['0.png'], 'sentences': ['?!']}},
      422,
      'no word',
    ),
    ('/v1/neighbors', {'json': {'photos': ['0.png', '2.png']}}, 422, 'one'),
    ('/v1/nothing', {}, 404, '/docs'),
  ],
)
def test_mistakes_are_told_in_a_sentence(client, path, more, status, text):
  problem(client.post(path, **more), status, text)


@pytest.mark.parametrize(
  ('query', 'text'),
  [
    ('', 'q'),
    ('q=', 'q'),
    ('q=a&limit=0', 'limit'),
    ('q=a&limit=501', 'limit'),
    ('q=%3F', 'no word'),
    ('&'.join(['q=a'] * 9), 'q'),
    ('q=' + 'a' * 501, 'q'),
  ],
)
def test_searches_that_cannot_be(client, query, text):
  problem(client.get(f'/v1/search?{query}'), 422, text)


def test_a_queue_that_is_full_and_work_that_takes_too_long(client, monkeypatch):
  async def full(*unused):
    raise batching.FullError(3)

  monkeypatch.setattr(batching.Batcher, 'submit', full)
  answer = problem(client.get('/v1/search?q=a'), 503, 'come again in 3 s')
  assert answer.headers['retry-after'] == '3'

  async def late(*unused):
    raise TimeoutError

  monkeypatch.setattr(batching.Batcher, 'submit', late)
  problem(client.get('/v1/search?q=a'), 504, 'too long')

  async def broken(*unused):
    raise RuntimeError('secret')

  monkeypatch.setattr(batching.Batcher, 'submit', broken)
  answer = problem(client.get('/v1/search?q=a'), 500, 'fault')
  assert 'secret' not in answer.text


def test_nobody_waits_nothing_goes_on(client, monkeypatch):
  """A caller that hangs up ends what was begun for it."""
  ended = []

  async def for_ever(*unused):
    try:
      await asyncio.sleep(60)
    finally:
      ended.append(True)

  monkeypatch.setattr(batching.Batcher, 'submit', for_ever)
  scope = {
    'type': 'http',
    'method': 'GET',
    'path': '/v1/search',
    'http_version': '1.1',
    'query_string': b'q=a',
    'headers': [(b'host', b'localhost')],
    'scheme': 'http',
    'server': ('localhost', 80),
    'client': None,
    'root_path': '',
    'raw_path': b'/v1/search',
  }
  messages = [
    {'type': 'http.request', 'body': b'', 'more_body': False},
    {'type': 'http.disconnect'},
  ]

  async def receive():
    await asyncio.sleep(0.01)
    return messages.pop(0) if messages else {'type': 'http.disconnect'}

  async def send(message):
    pass

  asyncio.run(asyncio.wait_for(client.app(scope, receive, send), 20))
  assert ended


def test_a_token_keeps_others_out(make_service):
  client = Client(make_service(token='a-long-secret'))
  problem(client.get('/v1/photos'), 401, 'Bearer')
  wrong = {'Authorization': 'Bearer another'}
  problem(client.get('/v1/photos', headers=wrong), 401, 'token')
  right = {'Authorization': 'Bearer a-long-secret'}
  assert client.get('/v1/photos', headers=right).status_code == 200
  assert client.get('/v1/healthz').status_code == 200
  page = client.get('/')
  assert page.status_code == 401
  assert 'name="token"' in page.text
  answer = client.get('/?token=a-long-secret')
  assert (answer.status_code, answer.headers['location']) == (303, '/')
  cookie = answer.headers['set-cookie']
  assert 'HttpOnly' in cookie
  assert 'samesite=strict' in cookie.lower()
  shown = {'Cookie': cookie.partition(';')[0]}
  assert client.get('/', headers=shown).status_code == 200
  assert client.get('/v1/photos', headers=shown).status_code == 200


def test_pages_of_elsewhere_may_not_call(make_service):
  client = Client(make_service(cors='https://example.org'))
  problem(
    client.get('/v1/photos', headers={'Host': 'evil.example'}), 421, 'evil'
  )
  answer = client.get('/v1/photos', headers={'Origin': 'https://evil.example'})
  problem(answer, 403, 'evil')
  assert 'access-control-allow-origin' not in answer.headers
  own = {'Origin': 'http://127.0.0.1:8000'}
  assert client.get('/v1/photos', headers=own).status_code == 200
  asked = {'Origin': 'https://example.org'}
  answer = client.get('/v1/photos', headers=asked)
  assert answer.headers['access-control-allow-origin'] == 'https://example.org'
