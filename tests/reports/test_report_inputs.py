"""The results page: photos of every kind, and what is missing or broken."""

import io
import json
import re

from made_results import (
  gallery_data,
  image_id,
  make_captions,
  make_config,
  make_evaluation,
  shown,
  write_lines,
)
import numpy as np
from PIL import Image
import pytest

from mrnn_jax.data import datasets
from mrnn_jax.reports import gallery, report
from mrnn_jax.reports import photos as photos_lib
from mrnn_jax.reports.sections import training
from mrnn_jax.runtime.errors import InputError


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


def test_sentences_of_one_image_may_be_the_same():
  top = [{'image_id': 'a', 'score': -1.234, 'caption': 'A dog.'}]
  query = {'image_id': 'a', 'caption': 'A dog.', 'rank': 3, 'top': top}
  page = gallery.Gallery(
    ['a'],
    [['A dog.', 'A cat.', 'A dog.']],
    {},
    [{'query': 'sentence', **query}, {**query, 'query': 'image'}],
  ).as_json(None)
  one, other, same = page['sentences']
  assert one == same
  assert (one['rank'], one['found']) == (3, [[0, -1.23]])
  assert 'rank' not in other
  assert page['images'][0]['found'] == [[0, -1.23]]


def test_a_fitted_model_has_no_log(tmp_path):
  for model, said in (('ngram', 'is fitted'), ('m-rnn', 'Training writes it')):
    config = make_config(tmp_path).replace(model=model)
    assert said in training.section(config)
