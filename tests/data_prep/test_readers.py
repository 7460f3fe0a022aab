"""Readers on good input, and on input that nobody should have."""

import pathlib
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from data_prep.readers import READERS, flickr, iaprtc12, raw_files
from mrnn_jax.runtime import errors

ENG = """<DOC>
<DOCNO>annotations/{id}.eng</DOCNO>
<TITLE>Caf\xe9 & more</TITLE>
<DESCRIPTION>{text}</DESCRIPTION>
<NOTES></NOTES>
</DOC>
"""


def write(path, text, encoding='utf-8'):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_bytes(text.encode(encoding))
  return path


def flickr_dir(root, token=None):
  lines = [f'{i}.jpg#{k}\tA dog number {i} .' for i in range(6) for k in (0, 1)]
  write(root / 'Flickr8k.token.txt', token or '\n'.join(lines))
  write(root / 'Flickr_8k.trainImages.txt', '0.jpg\n1.jpg\n\n2.jpg\n')
  write(root / 'Flickr_8k.devImages.txt', '3\n')
  write(root / 'Flickr_8k.testImages.txt', 'Flicker8k_Dataset/4.jpg\r\n')
  return root


def iapr_dir(root, num_train=20):
  names = [f'{i % 3:02d}/{i}' for i in range(num_train + 2)]
  for name in names:
    text = f'a house {name};  two\ntrees &amp; a man; ;'
    path = root / 'annotations_complete_eng' / f'{name}.eng'
    write(path, ENG.format(id=name, text=text), 'latin-1')
  train = [f'images/{name}.jpg' for name in names[:num_train]]
  test = [f'annotations/{name}.eng' for name in names[num_train:]]
  write(root / 'lists' / 'iaprtc12_train_list.txt', '\n'.join(train))
  write(root / 'lists' / 'iaprtc12_test_list.txt', '\n'.join(test))
  return root


def test_flickr_files_are_found_and_ids_match_without_extension(tmp_path):
  raw = READERS['flickr8k'](raw_files.RawFiles(str(flickr_dir(tmp_path))))
  assert raw.splits == {
    'train': ['0.jpg', '1.jpg', '2.jpg'],
    'validation': ['3.jpg'],
    'test': ['4.jpg'],
  }
  assert raw.captions['5.jpg'] == ['A dog number 5 .'] * 2
  assert raw.oddities == []


def test_flickr_files_are_found_one_folder_down(tmp_path):
  flickr_dir(tmp_path / 'Flickr8k_text')
  raw = READERS['flickr8k'](raw_files.RawFiles(str(tmp_path)))
  assert len(raw.captions) == 6


def test_flickr30k_usual_names(tmp_path):
  write(tmp_path / 'results_20130124.token', 'a.jpg#0\tx\nb.jpg#0\ty\n')
  write(tmp_path / 'splits' / 'train.txt', 'a')
  write(tmp_path / 'splits' / 'val.txt', 'b')
  write(tmp_path / 'splits' / 'test.txt', 'c')
  raw = READERS['flickr30k'](raw_files.RawFiles(str(tmp_path)))
  assert raw.splits == {
    'train': ['a.jpg'],
    'validation': ['b.jpg'],
    'test': ['c'],
  }


def test_flags_override_usual_names(tmp_path):
  root = flickr_dir(tmp_path)
  other = write(tmp_path / 'mine.txt', '5.jpg')
  raw = READERS['flickr8k'](raw_files.RawFiles(str(root), test_list=str(other)))
  assert raw.splits['test'] == ['5.jpg']


def test_flickr_oddities_are_reported(tmp_path):
  token = 'a.jpg#0\tx\na.jpg#0\ty\na#1\tz\na.jpg.1#0\tghost\n'
  root = flickr_dir(tmp_path, token)
  write(root / 'Flickr_8k.trainImages.txt', 'a.jpg\na\n')
  raw = READERS['flickr8k'](raw_files.RawFiles(str(root)))
  assert raw.captions == {'a.jpg': ['x', 'y', 'z'], 'a.jpg.1': ['ghost']}
  assert raw.splits['train'] == ['a.jpg']
  assert [oddity.count for oddity in raw.oddities] == [1, 1, 1]


@pytest.mark.parametrize(
  ('token', 'message'),
  [
    ('a.jpg#0\tx\nb.jpg 0 x\n', r'token\.txt:2 is not "name\.jpg#0<TAB>'),
    ('a.jpg#zero\tx\n', r'token\.txt:1 is not'),
    ('#0\tx\n', r'token\.txt:1 is not'),
    ('\n\n', 'holds no caption'),
  ],
)
def test_flickr_malformed_line_is_named(tmp_path, token, message):
  root = flickr_dir(tmp_path, token)
  with pytest.raises(errors.InputError, match=message):
    READERS['flickr8k'](raw_files.RawFiles(str(root)))


def test_bad_encoding_is_named(tmp_path):
  root = flickr_dir(tmp_path)
  (root / 'Flickr8k.token.txt').write_bytes(b'a.jpg#0\tok\nb.jpg#0\tcaf\xe9\n')
  with pytest.raises(errors.InputError, match=r'token\.txt:2 is not UTF-8'):
    READERS['flickr8k'](raw_files.RawFiles(str(root)))


@pytest.mark.parametrize(
  ('raw', 'message'),
  [
    ({}, '--raw_dir'),
    ({'raw_dir': 'nowhere'}, 'no directory nowhere'),
    ({'raw_dir': '.', 'captions': 'no.txt'}, 'There is no no.txt'),
    ({'raw_dir': '.'}, 'give the file with --captions'),
  ],
)
def test_missing_files_are_named(tmp_path, monkeypatch, raw, message):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(errors.InputError, match=message):
    READERS['flickr8k'](raw_files.RawFiles(**raw))


def test_two_candidates_are_refused(tmp_path):
  flickr_dir(tmp_path / 'a')
  flickr_dir(tmp_path / 'b')
  with pytest.raises(errors.InputError, match='could be meant'):
    READERS['flickr8k'](raw_files.RawFiles(str(tmp_path)))


def test_iapr(tmp_path):
  root = iapr_dir(tmp_path)
  raw = READERS['iaprtc12'](raw_files.RawFiles(str(root), seed=3))
  assert raw.captions['01/1'] == ['a house 01/1', 'two trees & a man']
  assert len(raw.splits['train']) == 18
  assert len(raw.splits['validation']) == 2
  assert raw.splits['test'] == ['02/20', '00/21']
  assert raw.seed == 3
  again = READERS['iaprtc12'](raw_files.RawFiles(str(root), seed=3))
  assert again.splits == raw.splits


def test_iapr_validation_list_is_used(tmp_path):
  root = iapr_dir(tmp_path)
  path = write(tmp_path / 'v.txt', '00/0')
  raw = READERS['iaprtc12'](
    raw_files.RawFiles(str(root), validation_list=str(path))
  )
  assert raw.splits['validation'] == ['00/0']
  assert raw.seed is None


def test_iapr_cut_is_a_partition_and_does_not_depend_on_order():
  names = [f'{i:05d}' for i in range(17665)]
  train, validation = iaprtc12.cut_validation(names, seed=1)
  assert len(validation) == 1000
  assert sorted(train + validation) == names
  _, mirrored = iaprtc12.cut_validation(names[::-1], seed=1)
  assert sorted(mirrored) == validation
  assert iaprtc12.cut_validation(names, seed=2)[1] != validation


def test_iapr_file_without_description_is_named(tmp_path):
  root = iapr_dir(tmp_path)
  write(root / 'annotations_complete_eng' / '00' / '0.eng', '<DOC>\n</DOC>')
  with pytest.raises(errors.InputError, match=r'00/0\.eng:2 ends without'):
    READERS['iaprtc12'](raw_files.RawFiles(str(root)))


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200))
def test_any_bytes_give_captions_or_one_sentence(data):
  with tempfile.TemporaryDirectory() as folder:
    root = flickr_dir(pathlib.Path(folder))
    (root / 'Flickr8k.token.txt').write_bytes(data)
    (root / 'Flickr_8k.devImages.txt').write_bytes(data)
    try:
      raw = READERS['flickr8k'](raw_files.RawFiles(str(root)))
    except errors.InputError as error:
      assert '\n' not in str(error)
    else:
      assert raw.captions


@settings(deadline=None, max_examples=150)
@given(
  st.lists(
    st.sampled_from(
      ['<DESCRIPTION>', '</DESCRIPTION>', ';', '&amp;', '&', '<', 'a', ' \n']
    ),
    max_size=12,
  ).map(''.join)
)
def test_any_markup_gives_sentences_or_one_sentence(text):
  try:
    sentences = iaprtc12.parse_description(text, 'x.eng')
  except errors.InputError as error:
    assert 'x.eng:' in str(error)
  else:
    assert all(s == s.strip() and s for s in sentences)


@settings(deadline=None, max_examples=100)
@given(
  st.dictionaries(
    st.text(st.characters(categories=['L', 'N']), min_size=1, max_size=8),
    st.lists(
      st.text(st.characters(categories=['L', 'N', 'P', 'Zs'])), min_size=1
    ),
    min_size=1,
  )
)
def test_parse_returns_what_was_written(captions):
  lines = [
    f'{name}.jpg#{i}\t{text}'
    for name, texts in captions.items()
    for i, text in enumerate(texts)
  ]
  found, oddities = flickr.parse_captions('\n'.join(lines), 'x')
  assert oddities == []
  assert found == {
    f'{name}.jpg': [text.strip() for text in texts]
    for name, texts in captions.items()
  }
