"""The page of one's own photos: what it holds, and in a real browser."""

import base64
import io
import json
import re
import shutil
import subprocess

from PIL import Image
import pytest

from mrnn_jax.reports import own_page

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
HOSTILE = '</script><img src=x onerror="document.title=1">'


def caption(text, confidence=None):
  more = {} if confidence is None else {'confidence': confidence}
  values = {'caption': text, 'log_prob': -7.125, 'perplexity': 3.0}
  return {**values, 'score': -7.125, 'cut': False, **more}


CAPTIONS = [
  {
    'image_id': 'b/dog.jpg',
    **caption('a dog runs', 0.72),
    'unfamiliar': False,
    'nbest': [caption('a dog runs', 0.72), caption('a dog', 0.4)],
  },
  {
    'image_id': 'frog.jpg',
    **caption(HOSTILE, 0.125),
    'unfamiliar': True,
    'nbest': [caption(HOSTILE, 0.125)],
  },
]
RANKING = [
  {
    'query': 'image',
    'image_id': 'b/dog.jpg',
    'top': [{'caption': 'A dog.', 'score': 2.251}],
  },
  {
    'query': 'image',
    'image_id': 'frog.jpg',
    'top': [{'caption': 'A frog.', 'score': 1.0}],
  },
  {
    'query': 'sentence',
    'caption': 'A frog.',
    'top': [
      {'image_id': 'frog.jpg', 'score': -3.0},
      {'image_id': 'b/dog.jpg', 'score': -9.0},
    ],
  },
]
IDS = ['b/dog.jpg', 'frog.jpg']


@pytest.fixture
def paths(tmp_path):
  paths = {}
  for name, size in (('dog', (800, 400)), ('frog', (30, 60))):
    path = tmp_path / f'{name}.jpg'
    Image.new('RGB', size, 'green').save(path)
    paths[next(x for x in IDS if name in x)] = str(path)
  return paths


def data_of(path):
  text = path.read_text()
  (data,) = re.findall(r'id="own-data">(.*?)</script>', text, re.DOTALL)
  return json.loads(data)


def test_captions_and_photos_are_in_the_page(paths, tmp_path):
  path = own_page.write(
    str(tmp_path / 'new/page.html'), IDS, CAPTIONS, paths, {'threshold': 0.5}
  )
  data = data_of(path)
  dog, frog = data['images']
  assert [x['text'] for x in dog['captions']] == ['a dog runs', 'a dog']
  assert [x['confidence'] for x in dog['captions']] == [0.72, 0.4]
  assert (dog['unfamiliar'], frog['unfamiliar']) == (False, True)
  sizes = [
    Image.open(io.BytesIO(base64.b64decode(x))).size for x in data['thumbnails']
  ]
  assert sizes == [(400, 200), (30, 60)]
  text = path.read_text()
  assert 'is above 0.5.' in text
  assert HOSTILE not in text
  assert not re.search(r'(src|href)="(https?:)?//', text)


def test_a_model_without_a_calibration_says_nothing_of_it(paths, tmp_path):
  lines = [{'image_id': IDS[0], **caption('a dog')}]
  path = own_page.write(str(tmp_path / 'p.html'), IDS[:1], lines, paths)
  assert 'chance that a caption' not in path.read_text().split('<script')[0]
  assert 'confidence' not in data_of(path)['images'][0]['captions'][0]
  assert '<h1>1 photo, captioned</h1>' in path.read_text()


def test_rankings_name_images_by_their_numbers(tmp_path):
  path = own_page.write(str(tmp_path / 'p.HTML'), IDS, RANKING, {})
  data = data_of(path)
  assert data['images'][1]['found'] == [['A frog.', 1.0]]
  assert data['sentences'] == [
    {'text': 'A frog.', 'found': [[1, -3.0], [0, -9.0]]}
  ]
  assert data['thumbnails'] is None


@pytest.mark.parametrize(
  ('name', 'expected'),
  [('a.html', True), ('a.HTM', True), ('a.jsonl', False), ('html', False)],
)
def test_which_files_are_pages(name, expected):
  assert own_page.is_page(name) == expected


@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
def test_the_page_in_a_browser(paths, tmp_path):
  path = own_page.write(
    str(tmp_path / 'p.html'), IDS, [*CAPTIONS], paths, {'threshold': 0.5}
  )
  result = subprocess.run(
    [
      CHROMIUM,
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--enable-logging=stderr',
      f'--user-data-dir={tmp_path / "user"}',
      '--virtual-time-budget=2000',
      '--dump-dom',
      path.as_uri(),
    ],
    capture_output=True,
    text=True,
    timeout=60,
  )
  assert not [x for x in result.stderr.splitlines() if 'CONSOLE' in x]
  dom = result.stdout
  assert '>2 photos</output>' in dom
  assert dom.count('<article class="card">') == 2
  assert '>72%</span>' in dom
  assert dom.count('class="warning">unfamiliar photo') == 1
  assert '<title>2 photos, captioned</title>' in dom  # The hostile one is text.
