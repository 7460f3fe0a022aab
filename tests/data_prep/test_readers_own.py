"""One's own captions in every form, and what goes wrong with them."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
import own_captions as own
import pytest

from data_prep.readers import READERS, formats, gather, raw_files
from mrnn_jax.runtime import bounded_files, errors


@pytest.mark.parametrize('form', own.FORMS)
def test_every_form_gives_the_same(tmp_path, form):
  raw = own.write(tmp_path, own.FORMS[form])
  assert formats.choose('mine', raw) == form
  found = own.read(raw)
  assert found.captions == own.CAPTIONS
  assert found.splits == own.SPLITS
  assert (found.oddities, found.seed, found.note) == ([], None, '')
  # The same when the files are named one by one.
  names = ','.join(str(tmp_path / name) for name in own.FORMS[form])
  named = raw_files.RawFiles(captions=names)
  assert formats.choose('mine', named) == form
  assert own.read(named) == found


@pytest.mark.parametrize('separator', [',', ';', '\t', '|'])
def test_tables_with_other_separators_and_names(tmp_path, separator):
  text = own.csv_text(separator, split=False).replace('image_id', ' "Image"')
  text = '\ufeff' + text.replace('\n', '\r\n').replace('\r\n', '\n\n', 1)
  raw = own.write(tmp_path, {'captions.txt': text})
  found = own.read(raw)
  assert found.captions == own.CAPTIONS
  assert found.seed == 0


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('image_id,text2\na,b\n', r':1 names the columns .* without caption'),
    ('name,caption\na,b\n', r'without image_id: begin the file with'),
    ('', 'without image_id'),
    ('image_id,caption\na,b\nc,d, e\n', r':3 has 3 fields .* names 2'),
    ('image_id,caption\na,b\nc,"d\n\n', r':4 is no line of a table'),
    ('image_id,caption,split\na,b,train\nc,d,trian\n', r":3 .*'trian': write"),
    (
      'image_id,caption,split\na,b,train\na.jpg,"x\ny",test\n',
      r':4 puts a into test, but .*:2 puts it into train',
    ),
    ('image_id,caption\n,b\n', ':2 has .. where the name of an image'),
    ('image_id,caption\n', 'holds no caption'),
    ('image_id,caption\na,' + 'x' * 10001, ':2 has a caption of 10,001 char'),
    ('image_id,caption\na,' + 'x' * 200000, ':2 .*larger than field limit'),
  ],
)
def test_mistakes_in_tables_are_named(tmp_path, text, message):
  path = tmp_path / 'captions.csv'
  path.write_text(text)
  with pytest.raises(errors.InputError, match=message) as caught:
    own.read(raw_files.RawFiles(captions=str(path)))
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{"image_id": "a", "captions": ["x"]}\n{]\n', ':2 is no JSON'),
    ('["a"]\n', ':1 is no JSON object: write'),
    ('{"captions": ["x"]}\n', ':1 has no "image_id"'),
    ('\n{"image_id": "a"}\n', ':2 has no list "captions"'),
    ('{"image_id": true, "caption": "x"}', ':1 has no name of an image'),
    ('{"image_id": "a", "captions": [1]}', ':1 has a caption that is no text'),
    ('{"image_id": "a", "caption": "\\ud800"}', ':1 has half a character'),
    ('{"image_id": "a\\ud800", "caption": "x"}', ':1 has .* the name of'),
    ('{"image_id": "a", "caption": "x", "split": 1}', 'split that is no text'),
    ('{"image_id": ' + '[' * 100_000, ':1 is JSON nested too deeply'),
    ('{"image_id": ' + '9' * 10_000 + '}', ':1 is JSON that cannot be read'),
  ],
)
def test_mistakes_in_json_lines_are_named(tmp_path, text, message):
  path = tmp_path / 'captions.jsonl'
  path.write_text(text)
  with pytest.raises(errors.InputError, match=message) as caught:
    own.read(raw_files.RawFiles(captions=str(path)))
  assert '\n' not in str(caught.value)


def test_numbers_are_names_and_one_caption_will_do(tmp_path):
  lines = [{'image_id': i, 'caption': f'dog {i}'} for i in range(30)]
  lines.append({'image_id': 7, 'captions': ['another', 'more']})
  text = '\n'.join(json.dumps(x) for x in lines)
  found = own.read(own.write(tmp_path, {'captions.jsonl': text}))
  assert found.captions['7'] == ['dog 7', 'another', 'more']


def test_limits_of_lines_and_files(tmp_path, monkeypatch):
  raw = own.write(tmp_path, {'captions.jsonl': own.jsonl_text()})
  monkeypatch.setattr(bounded_files, 'MAX_LINE_BYTES', 50)
  with pytest.raises(errors.InputError, match=r'captions\.jsonl:1 is longer'):
    own.read(raw)
  raw = own.write(tmp_path / 'k', {'dataset.json': own.karpathy_text()})
  monkeypatch.setattr(bounded_files, 'MAX_FILE_BYTES', 50)
  with pytest.raises(errors.InputError, match=r'dataset\.json is larger'):
    own.read(raw)


def test_karpathy_by_tokens(tmp_path):
  text = own.karpathy_text().replace('"raw"', '"written"')
  found = own.read(own.write(tmp_path, {'dataset.json': text}))
  assert found.captions['a.jpg'] == ['a dog .', 'two dogs, one bone .']


@pytest.mark.parametrize(
  ('name', 'text', 'message'),
  [
    ('dataset.json', '{"images": {}}', 'has no list "images"'),
    ('dataset.json', '{"images": [3]}', 'image 0, is no JSON object'),
    ('dataset.json', '{"images": [{"filename": "a"}]}', 'no list "sentences"'),
    (
      'dataset.json',
      '{"images": [{"filename": "a", "sentences": [{}]}]}',
      'neither "raw" nor "tokens"',
    ),
    ('dataset.json', '{"images":\n [}', r'dataset\.json:2 is no JSON'),
    ('dataset.json', '[1, 2]', 'is no JSON object but begins with'),
    ('captions_x.json', '{"images": []}', 'has no list "annotations"'),
    (
      'captions_x.json',
      '{"images": [], "annotations": [{"image_id": 3, "caption": "x"}]}',
      'annotations 0, is about image 3, which is not among',
    ),
    (
      'captions_x.json',
      '{"images": [{"file_name": "a"}], "annotations": []}',
      'images 0, has no "id"',
    ),
  ],
)
def test_mistakes_in_json_are_named(tmp_path, name, text, message):
  with pytest.raises(errors.InputError, match=message):
    own.read(own.write(tmp_path, {name: text}))


def test_coco_images_without_captions_are_reported(tmp_path):
  text = own.coco_text('train').replace('"images": [', '"images": [IMAGE, ')
  text = text.replace('IMAGE', '{"id": 99, "file_name": "z.jpg"}')
  raw = own.write(
    tmp_path,
    {
      'captions_train.json': text,
      'captions_val.json': own.coco_text('validation'),
      'captions_test.json': own.coco_text('test'),
    },
  )
  assert [str(x) for x in own.read(raw).oddities] == [
    'images without captions (left out): 1 (z.jpg)'
  ]


FRAGMENTS = st.sampled_from(
  ['{', '}', '[', ']', '"', ',', ':', '\n', '\\ud800', 'a', '1', 'null']
  + ['image_id', 'caption', 'captions', 'split', 'images', 'annotations']
  + ['"sentences"', '"filename"', 'train', '\0', '\t', '#0', '\ufeff', '\x1c']
)


@settings(deadline=None, max_examples=150)
@given(
  st.sampled_from(sorted(set(READERS) - {'iaprtc12', 'mrnn'})),
  st.one_of(
    st.binary(max_size=100),
    st.lists(FRAGMENTS, max_size=20).map(lambda x: ''.join(x).encode()),
  ),
  st.integers(0, 400),
)
def test_any_bytes_give_captions_or_one_sentence(
  tmp_path_factory, form, noise, start
):
  good = {
    'csv': own.csv_text(),
    'jsonl': own.jsonl_text(),
    'karpathy': own.karpathy_text(),
    'coco': own.coco_text('train'),
  }.get(form, 'a.jpg#0\tA dog\nb.jpg#0\tA cat\nc.jpg#0\tA cow')
  content = bytearray(good.encode())
  content[start : start + len(noise) // 2] = noise
  path = tmp_path_factory.mktemp('any') / 'captions'
  path.write_bytes(content)
  raw = raw_files.RawFiles(captions=str(path))
  try:
    formats.choose('mine', raw)
  except errors.InputError as error:
    assert '\n' not in str(error)
  try:
    found = READERS[form](raw)
  except errors.InputError as error:
    assert '\n' not in str(error)
    return
  for name, captions in found.captions.items():
    name.encode()
    for caption in captions:
      caption.encode()
      assert len(caption) <= gather.MAX_CAPTION
