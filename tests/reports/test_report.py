"""The results page: what it holds, what it survives, and in a real browser."""

import base64
import html
import io
import json
import re
import shlex
import shutil
import subprocess

import numpy as np
from PIL import Image
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax import tasks
from mrnn_jax.data import datasets
from mrnn_jax.reports import gallery, report
from mrnn_jax.reports import photos as photos_lib
from mrnn_jax.reports.sections import commands
from mrnn_jax.runtime.errors import InputError

HOSTILE = '</script><img src=x onerror="document.title=1">\'&'
NUM_IMAGES = 30
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')


def image_id(i):
  return f'{i:03d}.jpg'


def sentences(i):
  first = HOSTILE if i == 7 else f'a {"dog" if i % 3 == 0 else "cat"} runs'
  return [first, f'picture number {i} , café']


def write_lines(path, lines):
  path.write_text(''.join(json.dumps(x) + '\n' for x in lines))


def make_captions():
  return [
    {
      'image_id': image_id(i),
      'caption': HOSTILE if i == 7 else f'the animal {i}',
      'log_prob': -i - 1.0,
      'perplexity': 2.0 + i,
      'cut': i == 5,
    }
    for i in range(NUM_IMAGES)
  ]


def make_queries():
  lines = []
  for i in range(NUM_IMAGES):
    wrong = (i + 1) % NUM_IMAGES
    top = [
      {'caption': sentences(k)[0], 'image_id': image_id(k), 'score': -1.0 - n}
      for n, k in enumerate((wrong, i))
    ]
    lines.append(
      {'query': 'image', 'image_id': image_id(i), 'rank': i + 1, 'top': top}
    )
  for i in range(NUM_IMAGES):
    for text in sentences(i):
      top = [
        {'image_id': image_id(k), 'score': -2.0} for k in (i, 0 if i else 1)
      ]
      lines.append(
        {
          'query': 'sentence',
          'caption': text,
          'image_id': image_id(i),
          'rank': 1,
          'top': top,
        }
      )
  return lines


def make_evaluation():
  ranks = {'r@1': 12.5, 'r@5': 30.0, 'r@10': 40.0, 'median_rank': 14.0}
  curve = {
    'percent': [0, 1, 10, 100],
    'true_items': [0, 0.5, 1.5, 2.0],
    'share': [0, 0.25, 0.75, 1],
  }
  return {
    'dataset': 'flickr8k',
    'split': 'test',
    'model': 'm-rnn',
    'step': 4200,
    'convention': {'beam_size': 3, 'ties': 'against', 'oddity': HOSTILE},
    'perplexity': {'corpus': 17.91},
    'bleu': {'cumulative': [0.6, 0.4, 0.3, 0.2]},
    'cider_d': 0.514,
    'retrieval': {
      'image_to_text': ranks,
      'text_to_image': ranks,
      'norm_images': {'0': ranks, '300': {**ranks, 'r@1': 23.75}},
      'recall_curve': {'image_to_text': curve, 'text_to_image': curve},
    },
    'chance': {'image_to_text': ranks, 'text_to_image': ranks},
  }


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  """Thirty photos but two; one is broken, one lies on its side."""
  folder = tmp_path_factory.mktemp('pho tos')
  for i in range(NUM_IMAGES - 2):
    image = Image.new('RGB', (60, 30), (8 * i, 100, 200 - 6 * i))
    exif = Image.Exif()
    if i == 2:
      exif[0x0112] = 6  # Turn it by a quarter.
    image.save(folder / image_id(i), exif=exif)
  (folder / image_id(4)).write_bytes(b'\xff\xd8 no photo')
  return folder


@pytest.fixture(scope='module')
def full(tmp_path_factory):
  """A workdir with everything, without a dataset."""
  folder = tmp_path_factory.mktemp('work dir')
  write_lines(folder / 'captions.jsonl', make_captions())
  write_lines(folder / 'retrieval.jsonl', make_queries())
  (folder / 'evaluation.json').write_text(json.dumps(make_evaluation()))
  write_lines(
    folder / 'log.jsonl',
    [
      {'step': n, 'epoch': n / 10, 'train_perplexity': 90 / n, 'cost': 9 / n}
      for n in range(1, 9)
    ]
    + [{'step': 9, 'epoch': 0.9, 'validation_perplexity': 20.0}],
  )
  return folder


def make_config(workdir, **changes):
  options = {'task': 'report', 'workdir': str(workdir), 'data_dir': '/nowhere'}
  return config_lib.Config(**{**options, **changes})


@pytest.fixture(scope='module')
def full_page(full, photos):
  given = {'task': 'report', 'workdir': str(full), 'photos': str(photos)}
  tasks.run(config_lib.Given({**given, 'data_dir': '/nowhere'}))
  return full / 'report.html'


def gallery_data(path):
  text = path.read_text()
  (data,) = re.findall(r'id="gallery-data">(.*?)</script>', text, re.DOTALL)
  return json.loads(data)


def shown(path):
  """Return a page's own text, without style, script and data."""
  text = re.sub(r'(?s)<(style|script)\b.*?</\1>', '', path.read_text())
  return ' '.join(html.unescape(re.sub('<[^>]*>', ' ', text)).split())


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


def test_photos_can_stay_outside(full, photos, tmp_path):
  found = photos_lib.find_photos(
    str(photos), [image_id(0), 'no'], str(tmp_path), size=0
  )
  assert found.thumbnails is None
  assert found.missing == ['no']


def test_an_id_finds_its_photo_with_or_without_ending(tmp_path):
  (tmp_path / 'deep').mkdir()
  for name in ('a.jpg', 'deep/b.png', 'c.v1.jpeg'):
    (tmp_path / name).write_bytes(b'x')
  for name in ('a', 'a.jpg', 'deep/b', 'deep\\b.png', 'c.v1'):
    path = photos_lib.photo_path(tmp_path, name)
    assert path is not None and path.is_relative_to(tmp_path)
  assert photos_lib.photo_path(tmp_path, 'deep') is None


@pytest.mark.parametrize(
  'name', ['../secret', 'deep/../../secret', '..', '', '.']
)
def test_no_id_leaves_the_folder_of_photos(tmp_path, name):
  folder = tmp_path / 'photos'
  (folder / 'deep').mkdir(parents=True)
  (tmp_path / 'secret.jpg').write_bytes(b'x')
  assert photos_lib.photo_path(folder, name) is None
  absolute = str(tmp_path / 'secret.jpg')
  assert photos_lib.photo_path(folder, absolute) is None
  assert photos_lib.photo_path(folder, 'x\0') is None


def test_links_cannot_be_schemes(tmp_path):
  link = photos_lib._link(tmp_path / 'javascript:alert(1).jpg', str(tmp_path))
  assert link == './javascript%3Aalert%281%29.jpg'


@pytest.mark.parametrize('mode', ['CMYK', 'P', 'LA', 'I;16', '1', 'RGBA'])
def test_every_kind_of_photo_gets_small(tmp_path, mode):
  array = np.linspace(0, 65535, 40 * 20).reshape(20, 40)
  if mode == 'I;16':
    image = Image.fromarray(array.astype(np.uint16))
  else:
    image = Image.fromarray((array / 256).astype(np.uint8)).convert(mode)
  path = tmp_path / ('x.tif' if mode in ('CMYK', 'I;16') else 'x.png')
  image.save(path)
  small = Image.open(io.BytesIO(photos_lib.thumbnail(path, 16)))
  assert small.size == (16, 8)
  low, high = small.convert('L').getextrema()
  assert low < 70 and high > 180


def test_a_wrong_folder_of_photos_is_refused(full, tmp_path):
  with pytest.raises(InputError, match='is not a folder'):
    report.write_page(make_config(full, photos=str(tmp_path / 'no')))
  with pytest.raises(InputError, match='holds none of the 30 photos'):
    report.write_page(make_config(full, photos=str(tmp_path)))


def test_what_is_missing_is_said_with_its_command(tmp_path):
  report.write_page(make_config(tmp_path, split='validation'))
  text = shown(tmp_path / 'report_validation.html')
  for task in ('evaluate --data_dir=/nowhere --split=validation', 'train'):
    assert re.search(rf'main --workdir=\S+ --task={task}', text)
  # It is of no use there, and refused.
  assert re.search(r'--task=train --data_dir=/nowhere(?! --split)', text)
  assert 'there is no dataset "flickr8k"' in text
  assert '<script' not in (tmp_path / 'report_validation.html').read_text()


def test_the_dataset_gives_the_references(tmp_path, split, monkeypatch, vocab):
  class Dataset:
    path = 'there'

    def vocabulary(self, min_word_count):
      return vocab

  monkeypatch.setattr(datasets, 'open_dataset', lambda *unused: Dataset())
  monkeypatch.setattr(datasets, 'load_split', lambda *unused: split)
  report.write_page(make_config(tmp_path))
  data = gallery_data(tmp_path / 'report.html')
  assert [x['id'] for x in data['images']] == split.image_ids
  texts = [text for texts in split.captions for text in texts]
  assert [x['text'] for x in data['sentences']] == texts
  text = shown(tmp_path / 'report.html')
  assert '--task=caption' in text and '--task=retrieve' in text
  assert '--photos=DIR' in text
  # Results of other data are not mixed with these.
  write_lines(tmp_path / 'captions.jsonl', make_captions())
  with pytest.raises(
    InputError, match="captions.jsonl has the image '000.jpg'"
  ):
    report.write_page(make_config(tmp_path))


@pytest.mark.parametrize('model', ['rnn-base', 'elman'])
def test_a_model_that_cannot_rank_is_not_told_to(tmp_path, model):
  evaluation = {**make_evaluation(), 'model': model, 'retrieval': None}
  (tmp_path / 'evaluation.json').write_text(json.dumps(evaluation))
  write_lines(tmp_path / 'captions.jsonl', make_captions())
  report.write_page(make_config(tmp_path))
  text = shown(tmp_path / 'report.html')
  assert f'{model} does not see the image' in text
  assert '--task=retrieve' not in text


@pytest.mark.parametrize(
  ('name', 'content', 'message'),
  [
    (
      'captions.jsonl',
      '{"image_id": "a"}\n',
      'captions.jsonl:1 lacks "caption": write',
    ),
    ('captions.jsonl', '\n{"image', 'captions.jsonl:2 is no JSON'),
    ('retrieval.jsonl', '3\n', 'retrieval.jsonl:1 is no JSON object'),
    ('evaluation.json', '{}', 'is not an evaluation, it lacks "dataset"'),
    ('evaluation.json', '{', 'evaluation.json:1 is no JSON .*: make it'),
  ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
  (tmp_path / name).write_text(content)
  with pytest.raises(InputError, match=message):
    report.write_page(make_config(tmp_path))
  assert not (tmp_path / 'report.html').exists()


def test_no_workdir_no_page(tmp_path):
  with pytest.raises(InputError, match='there is no workdir'):
    report.write_page(make_config(tmp_path / 'no'))


def test_sentences_may_hold_every_kind_of_line_end(tmp_path):
  line = {'image_id': 'a', 'caption': 'x\u2028y\x85z'}
  path = tmp_path / 'lines.jsonl'
  path.write_text(json.dumps(line, ensure_ascii=False) + '\n')
  assert gallery.read_lines(path, lambda unused: {'caption': str}) == [line]


def browse(path, address, tmp_path):
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
    # The worst rank comes first; cards are made as they come into view.
    ('', '30 images', '029.jpg', 20),
    ('#q=DOG+run&order=best', '10 of 30 images', '000.jpg', 10),
    ('#q=cafe+12', '1 of 30 images', '012.jpg', 1),
    ('#q=007.jpg', '1 of 30 images', '007.jpg', 1),
    ('#show=rank&sort=perplexity', '20 of 30 images', '029.jpg', 20),
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
