"""One's own captions in every form, and what goes wrong with them."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from data_prep.readers import DATASETS, READERS, formats, gather, raw_files
from mrnn_jax.runtime import bounded_files, errors

CAPTIONS = {
  'a.jpg': ['A dog .', 'Two dogs, one bone .'],
  'b.jpg': ['A cat'],
  'c.jpg': ['A bird "sings"'],
  'd.jpg': ['Caf\xe9'],
}
SPLITS = {
  'train': ['a.jpg', 'b.jpg'],
  'validation': ['c.jpg'],
  'test': ['d.jpg'],
}
SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}


def csv_text(separator=',', split=True):
  lines = [separator.join(['image_id', 'caption', *['split'] * split])]
  for name, captions in CAPTIONS.items():
    for caption in captions:
      quoted = '"' + caption.replace('"', '""') + '"'
      lines.append(separator.join([name, quoted, *[SPLIT_OF[name]] * split]))
  return '\n'.join(lines) + '\n'


def jsonl_text():
  return ''.join(
    json.dumps({'image_id': name, 'captions': x, 'split': SPLIT_OF[name]})
    + '\n'
    for name, x in CAPTIONS.items()
  )


def karpathy_text(**splits):
  images = [
    {
      'filename': name,
      'imgid': i,
      'split': splits.get(name[0], SPLIT_OF[name].replace('idation', '')),
      'sentences': [{'raw': x, 'tokens': x.lower().split()} for x in captions],
    }
    for i, (name, captions) in enumerate(CAPTIONS.items())
  ]
  return json.dumps({'images': images, 'dataset': 'mine'})


def coco_text(split):
  names = SPLITS[split]
  return json.dumps(
    {
      'info': {},
      'images': [{'id': i, 'file_name': n} for i, n in enumerate(names)],
      'annotations': [
        {'image_id': i, 'id': 7, 'caption': caption}
        for i, n in enumerate(names)
        for caption in CAPTIONS[n]
      ],
    }
  )


FORMS = {
  'csv': {'captions.csv': csv_text()},
  'jsonl': {'captions.jsonl': jsonl_text()},
  'karpathy': {'dataset.json': karpathy_text()},
  'coco': {
    f'annotations/captions_{split}2014.json': coco_text(split)
    for split in SPLITS
  },
}


def write(root, contents):
  for name, text in contents.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
  return raw_files.RawFiles(str(root))


def read(raw, dataset='mine'):
  return READERS[formats.choose(dataset, raw)](raw)


@pytest.mark.parametrize('form', FORMS)
def test_every_form_gives_the_same(tmp_path, form):
  raw = write(tmp_path, FORMS[form])
  assert formats.choose('mine', raw) == form
  found = read(raw)
  assert found.captions == CAPTIONS
  assert found.splits == SPLITS
  assert (found.oddities, found.seed, found.note) == ([], None, '')
  # The same when the files are named one by one.
  names = ','.join(str(tmp_path / name) for name in FORMS[form])
  named = raw_files.RawFiles(captions=names)
  assert formats.choose('mine', named) == form
  assert read(named) == found


@pytest.mark.parametrize('separator', [',', ';', '\t', '|'])
def test_tables_with_other_separators_and_names(tmp_path, separator):
  text = csv_text(separator, split=False).replace('image_id', ' "Image"')
  text = '\ufeff' + text.replace('\n', '\r\n').replace('\r\n', '\n\n', 1)
  raw = write(tmp_path, {'captions.txt': text})
  found = read(raw)
  assert found.captions == CAPTIONS
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
    read(raw_files.RawFiles(captions=str(path)))
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
    read(raw_files.RawFiles(captions=str(path)))
  assert '\n' not in str(caught.value)


def test_numbers_are_names_and_one_caption_will_do(tmp_path):
  lines = [{'image_id': i, 'caption': f'dog {i}'} for i in range(30)]
  lines.append({'image_id': 7, 'captions': ['another', 'more']})
  text = '\n'.join(json.dumps(x) for x in lines)
  found = read(write(tmp_path, {'captions.jsonl': text}))
  assert found.captions['7'] == ['dog 7', 'another', 'more']


def test_limits_of_lines_and_files(tmp_path, monkeypatch):
  raw = write(tmp_path, {'captions.jsonl': jsonl_text()})
  monkeypatch.setattr(bounded_files, 'MAX_LINE_BYTES', 50)
  with pytest.raises(errors.InputError, match=r'captions\.jsonl:1 is longer'):
    read(raw)
  raw = write(tmp_path / 'k', {'dataset.json': karpathy_text()})
  monkeypatch.setattr(bounded_files, 'MAX_FILE_BYTES', 50)
  with pytest.raises(errors.InputError, match=r'dataset\.json is larger'):
    read(raw)


def test_restval_is_for_training_or_left_out(tmp_path):
  raw = write(tmp_path, {'dataset.json': karpathy_text(b='restval')})
  assert read(raw).splits == SPLITS
  found = read(raw_files.RawFiles(str(tmp_path), restval=False))
  assert found.splits == {**SPLITS, 'train': ['a.jpg']}
  assert [str(x) for x in found.oddities] == [
    'images of restval (left out): 1 (b.jpg)'
  ]


def test_karpathy_by_tokens(tmp_path):
  text = karpathy_text().replace('"raw"', '"written"')
  found = read(write(tmp_path, {'dataset.json': text}))
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
    read(write(tmp_path, {name: text}))


def test_coco_images_without_captions_are_reported(tmp_path):
  text = coco_text('train').replace('"images": [', '"images": [IMAGE, ')
  text = text.replace('IMAGE', '{"id": 99, "file_name": "z.jpg"}')
  raw = write(
    tmp_path,
    {
      'captions_train.json': text,
      'captions_val.json': coco_text('validation'),
      'captions_test.json': coco_text('test'),
    },
  )
  assert [str(x) for x in read(raw).oddities] == [
    'images without captions (left out): 1 (z.jpg)'
  ]


def many(num=40):
  return ''.join(
    f'{{"image_id": "{i:02d}.jpg", "caption": "dog {i}"}}\n' for i in range(num)
  )


def test_splits_by_chance_are_told_and_repeat(tmp_path):
  raw = write(tmp_path, {'captions.jsonl': many()})
  found = read(raw)
  sizes = {split: len(names) for split, names in found.splits.items()}
  assert sizes == {'train': 32, 'validation': 4, 'test': 4}
  assert found.note == (
    'No file names them: 4 validation images and 4 test images were cut from'
    ' train by seed 0.'
  )
  everything = [i for names in found.splits.values() for i in names]
  assert sorted(everything) == sorted(found.captions)
  assert read(raw).splits == found.splits
  other = read(raw_files.RawFiles(str(tmp_path), seed=1, test_share=0.5))
  assert len(other.splits['test']) == 20
  assert other.splits['validation'] != found.splits['validation']


def test_lists_go_before_labels(tmp_path):
  raw = write(tmp_path, {'captions.csv': csv_text(), 'test.txt': 'b'})
  assert read(raw).splits == {
    'train': ['a.jpg'],
    'validation': ['c.jpg'],
    'test': ['b.jpg'],  # d.jpg, labelled so, is in no split.
  }


def test_a_list_of_training_images_leaves_others_out(tmp_path):
  names = {
    'train': [f'{i:02d}' for i in range(5)],
    'val': ['30.jpg'],
    'test': ['31'],
  }
  lists = {f'{split}.txt': '\n'.join(x) for split, x in names.items()}
  raw = write(tmp_path, {'captions.jsonl': many(), **lists})
  found = read(raw)
  assert {k: len(v) for k, v in found.splits.items()} == {
    'train': 5,
    'validation': 1,
    'test': 1,
  }
  assert found.note == ''
  with pytest.raises(errors.InputError, match=r'--test_share=0\.2 is given'):
    read(raw_files.RawFiles(str(tmp_path), test_share=0.2))


def test_images_without_a_split_are_reported(tmp_path):
  text = csv_text().replace(',train', ',')
  found = read(write(tmp_path, {'captions.csv': text}))
  assert found.splits == SPLITS
  assert [oddity.count for oddity in found.oddities] == [2]


def test_too_few_images(tmp_path):
  raw = write(tmp_path, {'captions.jsonl': many(2)})
  with pytest.raises(errors.InputError, match='2 images .* are too few for 2'):
    read(raw)


@pytest.mark.parametrize(
  ('name', 'text', 'form'),
  [
    ('x.txt', 'a.jpg#0\tA dog\n', 'token'),
    ('x.txt', 'image,caption\n', 'csv'),
    ('x.json', '{"image_id": 1, "captions": []}\n{', 'jsonl'),
    ('x.json', '{"images": [{"filepath": "", "sentids": [1', 'karpathy'),
    ('x.json', '{"info": {}, "images"', 'coco'),
    ('x.tsv', '', 'csv'),
    ('x.npy', '', 'mrnn'),
  ],
)
def test_forms_are_recognised(tmp_path, name, text, form):
  (tmp_path / name).write_text(text)
  raw = raw_files.RawFiles(captions=str(tmp_path / name))
  assert formats.choose('mine', raw) == form


def test_unknown_and_doubtful_files(tmp_path):
  (tmp_path / 'x.txt').write_text('What is this?')
  raw = raw_files.RawFiles(captions=str(tmp_path / 'x.txt'))
  with pytest.raises(errors.InputError, match='What is this.*--format, one of'):
    formats.choose('mine', raw)
  with pytest.raises(errors.InputError, match=r'None of captions\.csv'):
    formats.choose('mine', raw_files.RawFiles(str(tmp_path)))
  (tmp_path / 'captions.txt').write_text('What is this?')
  with pytest.raises(errors.InputError, match=r'captions\.txt is no captions'):
    formats.choose('mine', raw_files.RawFiles(str(tmp_path)))
  (tmp_path / 'captions.csv').write_text(csv_text())
  (tmp_path / 'dataset.json').write_text(karpathy_text())
  with pytest.raises(errors.InputError, match='Both .* could be meant'):
    formats.choose('mine', raw_files.RawFiles(str(tmp_path)))


def test_known_datasets_have_their_own_reader_and_may_have_another(tmp_path):
  for name in DATASETS:
    assert formats.choose(name, raw_files.RawFiles(str(tmp_path))) == name
  (tmp_path / 'dataset_flickr8k.json').write_text(karpathy_text())
  named = raw_files.RawFiles(captions=str(tmp_path / 'dataset_flickr8k.json'))
  assert formats.choose('flickr8k', named) == 'karpathy'
  (tmp_path / 'x.token').write_text('a.jpg#0\tA dog\n')
  named = raw_files.RawFiles(captions=str(tmp_path / 'x.token'))
  assert formats.choose('flickr8k', named) == 'flickr8k'


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
    'csv': csv_text(),
    'jsonl': jsonl_text(),
    'karpathy': karpathy_text(),
    'coco': coco_text('train'),
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
