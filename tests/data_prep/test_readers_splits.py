"""Who trains on one's own captions: lists, what files say, chance."""

import own_captions as own
import pytest

from data_prep.readers import raw_files
from mrnn_jax.runtime import errors


def test_restval_is_for_training_or_left_out(tmp_path):
  raw = own.write(tmp_path, {'dataset.json': own.karpathy_text(b='restval')})
  assert own.read(raw).splits == own.SPLITS
  found = own.read(raw_files.RawFiles(str(tmp_path), restval=False))
  assert found.splits == {**own.SPLITS, 'train': ['a.jpg']}
  assert [str(x) for x in found.oddities] == [
    'images of restval (left out): 1 (b.jpg)'
  ]


def test_splits_by_chance_are_told_and_repeat(tmp_path):
  raw = own.write(tmp_path, {'captions.jsonl': own.many()})
  found = own.read(raw)
  sizes = {split: len(names) for split, names in found.splits.items()}
  assert sizes == {'train': 32, 'validation': 4, 'test': 4}
  assert found.note == (
    '! No column and no list tells the splits: 4 validation images and 4 test'
    ' images were drawn from train by seed 0.'
  )
  everything = [i for names in found.splits.values() for i in names]
  assert sorted(everything) == sorted(found.captions)
  assert own.read(raw).splits == found.splits
  other = own.read(raw_files.RawFiles(str(tmp_path), seed=1, test_share=0.5))
  assert len(other.splits['test']) == 20
  assert other.splits['validation'] != found.splits['validation']


@pytest.mark.parametrize('column', ['Set', 'subset', 'fold', 'phase'])
def test_a_split_is_known_by_its_usual_names(tmp_path, column):
  """Else one's own test images would be drawn into training."""
  head, *rows = own.csv_text().splitlines(keepends=True)
  head = head.replace('split', f'{column},by')
  rows = ''.join(row.replace('\n', ',me\n') for row in rows)
  found = own.read(own.write(tmp_path / 'a', {'captions.csv': head + rows}))
  assert (found.splits, found.note) == (own.SPLITS, '')
  assert [str(x) for x in found.oddities] == [
    'columns that are not read: 1 (by)'
  ]
  text = own.jsonl_text().replace('"split"', f'"by": 1, "{column.lower()}"')
  found = own.read(own.write(tmp_path / 'b', {'captions.jsonl': text}))
  assert (found.splits, found.note) == (own.SPLITS, '')
  assert [str(x) for x in found.oddities] == [
    'columns that are not read: 1 (by)'
  ]


def test_lists_go_before_labels(tmp_path):
  raw = own.write(tmp_path, {'captions.csv': own.csv_text(), 'test.txt': 'b'})
  assert own.read(raw).splits == {
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
  raw = own.write(tmp_path, {'captions.jsonl': own.many(), **lists})
  found = own.read(raw)
  assert {k: len(v) for k, v in found.splits.items()} == {
    'train': 5,
    'validation': 1,
    'test': 1,
  }
  assert found.note == ''
  with pytest.raises(errors.InputError, match=r'--test_share=0\.2 is given'):
    own.read(raw_files.RawFiles(str(tmp_path), test_share=0.2))


def test_images_without_a_split_are_reported(tmp_path):
  text = own.csv_text().replace(',train', ',')
  found = own.read(own.write(tmp_path, {'captions.csv': text}))
  assert found.splits == own.SPLITS
  assert [oddity.count for oddity in found.oddities] == [2]


def test_too_few_images(tmp_path):
  raw = own.write(tmp_path, {'captions.jsonl': own.many(2)})
  with pytest.raises(errors.InputError, match='2 images .* are too few for 2'):
    own.read(raw)
