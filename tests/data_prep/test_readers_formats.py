"""Which form captions have, by their names and by what is in them."""

import own_captions as own
import pytest

from data_prep.readers import DATASETS, formats, raw_files
from mrnn_jax.runtime import errors


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
  (tmp_path / 'captions.csv').write_text(own.csv_text())
  (tmp_path / 'dataset.json').write_text(own.karpathy_text())
  with pytest.raises(errors.InputError, match='Both .* could be meant'):
    formats.choose('mine', raw_files.RawFiles(str(tmp_path)))


def test_known_datasets_have_their_own_reader_and_may_have_another(tmp_path):
  for name in DATASETS:
    assert formats.choose(name, raw_files.RawFiles(str(tmp_path))) == name
  (tmp_path / 'dataset_flickr8k.json').write_text(own.karpathy_text())
  named = raw_files.RawFiles(captions=str(tmp_path / 'dataset_flickr8k.json'))
  assert formats.choose('flickr8k', named) == 'karpathy'
  (tmp_path / 'x.token').write_text('a.jpg#0\tA dog\n')
  named = raw_files.RawFiles(captions=str(tmp_path / 'x.token'))
  assert formats.choose('flickr8k', named) == 'flickr8k'
