"""What the service answers, compared with what the model itself gives."""

import io
import json
import pathlib
import re

import numpy as np
from PIL import Image
import pytest
from service_client import problem, sent

from mrnn_jax.serve import app as app_lib
from mrnn_jax.serve import schemas


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
