"""The results page: what it holds, and in a real browser."""

import base64
import io
import json
import re
import shlex
import shutil
import subprocess

from made_results import HOSTILE, NUM_IMAGES, gallery_data, sentences, shown
from PIL import Image
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax.reports.sections import commands

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')


def test_measures_stand_beside_published_ones(full_page):
  text = shown(full_page)
  assert 'm-rnn on flickr8k, test split' in text
  assert 'perplexity (corpus) 17.91 24.39' in text
  assert 'Image to text R@1 R@5 R@10 Med r m-rnn (ours) 12.5 30.0' in text
  assert 'chance 12.5 30.0 40.0 14.0' in text
  assert 'DeepFE (rcnn), quoted by Mao et al. 2014 12.6 32.9 44.0 14.0' in text
  assert 'mtanti/where-image2' in text
  assert 'ties against' in text
  assert full_page.read_text().count('<svg class="chart"') == 4


def test_the_effect_of_training_images_is_told(full_page):
  text = shown(full_page)
  assert 'training images R@1 R@5 R@10 Med r 0 12.5' in text
  assert '300 23.8 30.0 40.0 14' in text


def test_the_page_is_whole_and_alone(full_page):
  text = full_page.read_text()
  assert HOSTILE not in text
  # The hostile sentence ends no script: style, data, program, and no more.
  assert text.count('<script') == text.count('</script>') == 2
  assert '<img' not in text.partition('<script')[0]
  outside = re.sub(r'data:image/jpeg;base64,', '', text)
  assert not re.search(r'(src|href)="(https?:)?//', outside)


def test_the_gallery_knows_all(full_page):
  data = gallery_data(full_page)
  assert len(data['images']) == NUM_IMAGES
  assert len(data['sentences']) == 2 * NUM_IMAGES
  seven = data['images'][7]
  assert seven['captions'][0] == {
    'text': HOSTILE,
    'logProb': -8.0,
    'perplexity': 9.0,
    'cut': False,
  }
  assert seven['rank'] == 8
  found = [data['sentences'][s]['image'] for s, _ in seven['found']]
  assert found == [8, 7]
  assert [s['text'] for s in data['sentences'] if s['image'] == 7] == sentences(
    7
  )
  assert data['sentences'][14]['found'][0] == [7, -2.0]
  # The caption of image 12 says its number, as does a sentence.
  assert data['images'][12]['cider'] > 0
  assert data['images'][12]['rouge'] > 0


def test_photos_are_small_upright_and_linked(full_page, photos):
  data = gallery_data(full_page)

  def open_thumbnail(i):
    return Image.open(io.BytesIO(base64.b64decode(data['thumbnails'][i])))

  assert open_thumbnail(0).size == (60, 30)
  assert open_thumbnail(2).size == (30, 60)
  assert data['thumbnails'][4] == data['thumbnails'][29] == ''
  assert data['links'][0].startswith('./../')
  assert data['links'][0].endswith('pho%20tos0/000.jpg')
  assert data['links'][29] == ''
  text = shown(full_page)
  assert '2 photos are not in the folder of photos, for example 028' in text
  assert '1 photo is broken, for example 004.jpg' in text


def browse(path, address, tmp_path, *options):
  """Load a page in Chromium; return its elements as text, and complaints."""
  result = subprocess.run(
    [
      CHROMIUM,
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--enable-logging=stderr',
      f'--user-data-dir={tmp_path}',
      '--virtual-time-budget=2000',
      '--dump-dom',
      *options,
      path.as_uri() + address,
    ],
    capture_output=True,
    text=True,
    timeout=60,
  )
  complaints = [x for x in result.stderr.splitlines() if 'CONSOLE' in x]
  return result.stdout, complaints


@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
@pytest.mark.parametrize(
  ('address', 'status', 'first', 'number'),
  [
    # The median comes first; cards are made as they come into view.
    pytest.param(
      '#sort=rank', '30 images', '015.jpg', 20, marks=pytest.mark.slow
    ),
    pytest.param(
      '#sort=rank&order=worst',
      '30 images',
      '029.jpg',
      20,
      marks=pytest.mark.slow,
    ),
    ('#q=DOG+run&order=best&sort=rank', '10 of 30 images', '000.jpg', 10),
    pytest.param(
      '#sort=data&order=worst',
      '30 images',
      '000.jpg',
      20,
      marks=pytest.mark.slow,
    ),
    pytest.param(
      '#q=cafe+12', '1 of 30 images', '012.jpg', 1, marks=pytest.mark.slow
    ),
    ('#q=007.jpg', '1 of 30 images', '007.jpg', 1),
    (
      '#show=rank&sort=perplexity&order=worst',
      '20 of 30 images',
      '029.jpg',
      20,
    ),
  ],
)
def test_the_page_in_a_browser(
  full_page, tmp_path, address, status, first, number
):
  dom, complaints = browse(full_page, address, tmp_path)
  assert not complaints
  assert f'aria-live="polite">{status}</output>' in dom
  ids = re.findall(r'<span class="id">([^<]*)</span>', dom)
  assert ids[0] == first
  # Cards come in twenties; more of them where the end is near the window.
  assert len(ids) == number or (len(ids) > number == 20)
  assert '<title>m-rnn on' in dom  # The hostile sentence did not run.
  if first == '007.jpg':
    assert dom.count('&lt;/script&gt;&lt;img src=x') >= 3
    assert '<img src="x"' not in dom


# Does what a reader does, and writes what comes of it into the title.
_READER = """
const found = {};
const button = document.querySelector('.photo button');
found.top = Math.round(
  button.querySelector('img').getBoundingClientRect().top + scrollY);
found.wide = document.documentElement.scrollWidth - innerWidth;
button.focus();
button.click();
const dialog = document.querySelector('dialog');
found.enlarged = dialog.open && dialog.querySelector('img').alt;
dialog.close();
found.back = document.activeElement === button;
const search = document.getElementById('search');
search.focus();
search.value = 'dog';
search.dispatchEvent(
  new KeyboardEvent('keydown', { key: 'Escape', bubbles: true }));
found.cleared = search.value === '';
found.focus = document.activeElement.className;
const image = document.querySelector('.small img');
found.fit = getComputedStyle(image).objectFit;
document.getElementById('end-worst').click();
found.hash = location.hash;
document.title = 'found ' + JSON.stringify(found);
"""


@pytest.mark.skipif(not CHROMIUM, reason='needs Chromium')
@pytest.mark.parametrize('size', ['390,844', '1280,900'])
def test_a_reader_sees_photos_first_and_keeps_the_focus(
  full_page, tmp_path, size
):
  # Without its policy the page lets a script of ours in.
  text = re.sub(r'<meta http-equiv="Content-Sec.*?>', '', full_page.read_text())
  page = full_page.with_name('read.html')
  page.write_text(text.replace('</body>', f'<script>{_READER}</script></body>'))
  dom, complaints = browse(page, '', tmp_path, f'--window-size={size}')
  assert not complaints
  found = json.loads(re.search(r'<title>found (.*?)</title>', dom)[1])
  height = int(size.partition(',')[2])
  assert 0 < found.pop('top') < height - 200
  assert found.pop('wide') <= 0
  assert found.pop('enlarged').startswith('photo 0')
  assert found == {
    'back': True,
    'cleared': True,
    'focus': 'card',
    'fit': 'contain',
    'hash': '#order=worst',
  }


@pytest.mark.parametrize('task', config_lib.TASKS)
def test_commands_of_the_page_are_not_refused(task):
  config = config_lib.Config(
    workdir='a folder', data_dir='data', split='validation'
  )
  words = shlex.split(commands.command(task, config))
  assert words[:4] == ['python', '-m', 'mrnn_jax.main', '--workdir=a folder']
  given = dict(word[2:].split('=') for word in words[3:])
  assert given['task'] == task
  config_lib.Given(given, by_hand=frozenset(given))
