import asyncio
import io
import json
import pathlib
import re

import httpx
import numpy as np
from PIL import Image
import pytest

from mrnn_jax.serve import app as app_lib
from mrnn_jax.serve import batching, schemas

pytestmark = pytest.mark.usefixtures('quick_compiler')


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


@pytest.fixture
def client(make_service):
  service = make_service()
  service.indexer._look()
  return Client(service)


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


def test_captions_of_photos_that_are_sent(client, photos, engine):
  files = sent(photos, '0.png', 'sub/1.png', '2.png')
  answer = client.post(
    '/v1/captions', files=files, data={'nbest': '2', 'words': 'true'}
  )
  assert answer.status_code == 200
  captions = answer.json()['captions']
  assert [x['photo'] for x in captions] == ['0.png', 'sub/1.png', '2.png']
  ids, features = engine.model.encode_photos(str(photos))
  best = dict(zip(ids, engine.model.caption(features), strict=True))
  for x in captions:
    assert len(x['nbest']) == 2
    first = x['nbest'][0]
    assert first['caption'] == best[x['photo']]
    words = first['words']
    assert [w['word'] for w in words if w['word']] == first['caption'].split()
    total = np.log([w['probability'] for w in words]).sum()
    assert first['log_prob'] == pytest.approx(total, abs=1e-3)
    want = np.exp(-first['log_prob'] / len(words))
    assert first['perplexity'] == pytest.approx(want, rel=1e-3)


def test_a_feature_stands_for_its_photo(client, photos):
  asked = {'nbest': 3, 'prefix': 'A dog', 'return_features': True}
  form = {**asked, 'return_features': 'true'}
  one = client.post(
    '/v1/captions', files=sent(photos, '0.png'), data=form
  ).json()['captions'][0]
  two = client.post('/v1/captions', json={**asked, 'photos': ['0.png']}).json()[
    'captions'
  ][0]
  three = client.post(
    '/v1/captions', json={**asked, 'features': [one['feature']]}
  ).json()['captions'][0]
  texts = [x['caption'] for x in one['nbest']]
  assert all(x.startswith('a dog') for x in texts)
  for other in (two, three):
    assert [x['caption'] for x in other['nbest']] == texts
  assert three['photo'] == 'features 1'


def test_samples_hang_on_their_seed(client):
  def drawn(**more):
    body = {'photos': ['0.png'], 'sample': True, 'nbest': 5, **more}
    answer = client.post('/v1/captions', json=body).json()
    return [x['caption'] for x in answer['captions'][0]['nbest']]

  assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)


def test_search_and_rankings_are_those_of_the_model(client, engine, photos):
  ids, features = engine.model.encode_photos(str(photos))
  sentences = ['A dog runs.', 'two red ball on grass']
  table = engine.model.log_prob(features, sentences)
  norm = engine.model.log_prob(engine.model.norm_features, sentences)
  chances = np.log(np.exp(norm.astype(np.float64)).mean(0))
  answer = client.get(
    '/v1/search', params={'q': ['A dog runs.', 'zebra'], 'limit': 3}
  ).json()
  assert answer['unknown'] == ['zebra']
  answer = client.get('/v1/search', params={'q': 'a+dog runs', 'limit': 4})
  answer = client.get('/v1/search?q=a+dog+runs&limit=4').json()
  order = np.argsort(-table[:, 0])[:4]
  assert [x['photo'] for x in answer['results']] == [ids[i] for i in order]
  for x, i in zip(answer['results'], order, strict=True):
    assert x['score'] == pytest.approx(table[i, 0], abs=1e-3)
    assert x['gain'] == pytest.approx(table[i, 0] - chances[0], abs=1e-3)
  assert answer['searched'] == 6

  answer = client.post(
    '/v1/rankings', json={'photos': ids, 'sentences': sentences}
  ).json()
  for n, ranking in enumerate(answer['rankings']):
    assert ranking['photo'] == ids[n]
    order = np.argsort(-(table[n] - chances))
    got = [x['sentence'] for x in ranking['sentences']]
    assert got == [sentences[s] for s in order]
    for x, s in zip(ranking['sentences'], order, strict=True):
      assert x['score'] == pytest.approx(table[n, s] - chances[s], abs=1e-3)
  for s, ranking in enumerate(answer['sentences']):
    order = np.argsort(-table[:, s])
    assert [x['photo'] for x in ranking['photos']] == [ids[n] for n in order]


def test_the_nearest_are_those_of_plain_distances(client, engine, photos):
  ids, features = engine.model.encode_photos(str(photos))
  distances = np.linalg.norm(features - features[2], axis=1)
  order = [i for i in np.argsort(distances) if i != 2][:3]
  answer = client.post(
    '/v1/neighbors', json={'photos': [ids[2]], 'limit': 3}
  ).json()
  assert [x['photo'] for x in answer['results']] == [ids[i] for i in order]
  got = [x['distance'] for x in answer['results']]
  np.testing.assert_allclose(got, distances[order], rtol=1e-4)
  # One that is sent is no indexed one: its own copy is the nearest.
  answer = client.post(
    '/v1/neighbors',
    files=[('photo', ('mine', (photos / ids[2]).read_bytes()))],
  ).json()
  assert answer['results'][0]['photo'] == ids[2]
  assert answer['results'][0]['distance'] == pytest.approx(0, abs=1e-2)


def test_the_index_tells_of_itself(client):
  health = client.get('/v1/healthz').json()
  assert health == {'status': 'ok', 'indexed': 6, 'total': 6}
  index = client.get('/v1/index').json()
  assert index['phase'] == 'ready'
  assert [x['photo'] for x in index['unreadable']] == ['broken.jpg']
  listed = client.get('/v1/photos?offset=1&limit=2').json()
  assert [x['photo'] for x in listed['photos']] == ['2.png', '4.png']
  assert listed['total'] == 6
  assert client.post('/v1/index').status_code == 202
  text = client.get('/v1/metrics').text
  assert 'mrnn_indexed_photos 6.0' in text
  assert 'path="/v1/photos",status="200"} 1.0' in text


def test_pictures_of_indexed_photos_alone(client, photos):
  small = client.get('/v1/thumbnails', params={'photo': 'sub/1.png'})
  assert Image.open(io.BytesIO(small.content)).size == (40, 30)
  large = client.get('/v1/pictures', params={'photo': 'sub/1.png'})
  assert large.headers['content-type'] == 'image/jpeg'
  tag = {'If-None-Match': large.headers['etag']}
  again = client.get('/v1/pictures', params={'photo': 'sub/1.png'}, headers=tag)
  assert again.status_code == 304
  (photos.parent / 'secret.png').write_bytes((photos / '0.png').read_bytes())
  for name in (
    '../secret.png',
    '/etc/passwd',
    'sub/../0.png',
    './0.png',
    'broken.jpg',
    str(photos / '0.png'),
    '..%2fsecret.png',
    '0.png\0',
  ):
    for path in ('/v1/thumbnails', '/v1/pictures'):
      answer = client.get(path, params={'photo': name})
      problem(answer, 404, 'no indexed photo')
  # A photo that became a link to elsewhere, since it was looked at.
  (photos / '0.png').unlink()
  (photos / '0.png').symlink_to(photos.parent / 'secret.png')
  answer = client.get('/v1/pictures', params={'photo': '0.png'})
  problem(answer, 404, 'out of the folder')


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


def test_the_page_needs_nothing_from_elsewhere(client):
  answer = client.get('/')
  assert answer.status_code == 200
  assert "default-src 'none'" in answer.headers['content-security-policy']
  for path in app_lib.PAGE.iterdir():
    text = path.read_text().replace('http://www.w3.org/2000/svg', '')
    assert not re.search(r'https?://|//[a-z]+\.', text.replace('// ', '')), path
    assert client.get(f'/page/{path.name}').status_code == 200
    for name in re.findall(r'(?:src|href)="(/page/[^"]+)"', text):
      assert client.get(name).status_code == 200
  assert client.get('/page/../app.py').status_code == 404
  assert client.get('/page/%2e%2e/app.py').status_code == 404


def test_the_description_is_whole(client):
  assert client.get('/docs').status_code == 200
  told = json.loads(client.get('/openapi.json').text)
  script = (app_lib.PAGE / 'docs.js').read_text()
  for path, methods in told['paths'].items():
    for method, route in methods.items():
      assert route['description']
      assert f"'{method} {path}'" in script
  references = re.findall(r'#/components/schemas/(\w+)', json.dumps(told))
  assert set(references) <= set(told['components']['schemas'])
  body = told['paths']['/v1/captions']['post']['requestBody']['content']
  fields = set(schemas.CaptionsIn.model_fields)
  assert fields <= set(body['application/json']['schema']['properties'])
  assert 'photo' in body['multipart/form-data']['schema']['properties']


def test_page_files_belong_to_the_package():
  import tomllib

  root = pathlib.Path(__file__).parents[2]
  project = tomllib.loads((root / 'pyproject.toml').read_text())
  patterns = project['tool']['setuptools']['package-data']['mrnn_jax']
  assert 'serve/page/*' in patterns
  extra = project['project']['optional-dependencies']['serve']
  listed = (root / 'requirements-serve.txt').read_text().splitlines()
  assert [x for x in listed if not x.startswith('-r')] == extra
