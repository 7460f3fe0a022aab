"""What may be written, and what the report says."""

import re

import numpy as np
import pytest

from data_prep import checks, records
from mrnn_jax.data import feature_files
from mrnn_jax.runtime import errors


def raw_data():
  return records.RawDataset(
    captions={
      'a.jpg': ['A dog .', 'Two dogs run', '...'],
      'b.jpg': ['A cat'],
      'c.jpg': ['A bird'],
      'd.jpg': ['A fish'],
      'e.jpg': ['Not listed'],
      'ghost.jpg': ['Nobody'],
    },
    splits={
      'train': ['b.jpg', 'a.jpg'],
      'validation': ['c.jpg'],
      'test': ['d.jpg'],
    },
  )


def table(**changes):
  rows = {name: np.full(3, i + 1.0) for i, name in enumerate('abcdef')}
  rows.update(changes)
  ids = [name for name, row in rows.items() if row is not None]
  return feature_files.FeatureTable(
    ids, np.array([rows[i] for i in ids], np.float32), 'f.npz'
  )


def check(raw, features_table):
  checked = checks.check_captions('mine', raw)
  return checks.check_features(checked, raw, features_table)


def faults(checked):
  with pytest.raises(errors.InputError) as caught:
    checked.refuse()
  return str(caught.value)


def test_records_keep_the_order_of_the_lists_and_lose_empty_captions():
  checked = check(raw_data(), table())
  assert checked.splits['train'] == [
    records.Record('b.jpg', ('A cat',)),
    records.Record('a.jpg', ('A dog .', 'Two dogs run')),
  ]
  assert checked.words == {'train': 7, 'validation': 2, 'test': 2}
  assert checked.num_captions == {'train': 3, 'validation': 1, 'test': 1}


def test_report_counts_and_names():
  features_table = table(a=np.ones(3), b=np.ones(3), d=np.zeros(3))
  checked = check(raw_data(), features_table)
  checked.refuse()
  report = checked.report
  for line in (
    'empty captions (left out): 1 (a.jpg)',
    'images in no split (left out): 1 (e.jpg)',
    'captions of images without a feature (left out): 1 (ghost.jpg)',
    'features without captions (left out): 1 (f)',
    'features that are zero throughout: 1 (d.jpg)',
    'training images with the feature of another: 1 (b.jpg = a.jpg)',
    'Features: 6 images, 3 numbers each, float32, encoder unknown.',
  ):
    assert line in report
  assert report.splitlines()[1].split() == ['train', '2', '3', '7', '2.3']


@pytest.mark.parametrize(
  ('spoil', 'message'),
  [
    (lambda raw: raw.splits.pop('test'), 'test split is empty'),
    (
      lambda raw: raw.splits['test'].append('a'),
      r'1 images stand in the lists of train and test \(a\): take each out',
    ),
    (lambda raw: raw.splits['test'].append('x.jpg'), r'no caption .* \(x.jpg'),
    (lambda raw: raw.captions.update({'d.jpg': ['!', '']}), 'no caption'),
  ],
)
def test_unusable_captions(spoil, message):
  raw = raw_data()
  spoil(raw)
  assert re.search(message, faults(checks.check_captions('mine', raw)))


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'d': None}, r'1 images of the test split have no feature \(d.jpg\)'),
    ({'c': np.array([1, np.nan, 0])}, r'not finite \(c.jpg\)'),
    ({'a': np.array([1, np.inf, 0])}, r'not finite \(a.jpg\)'),
  ],
)
def test_unusable_features(change, message):
  assert re.search(message, faults(check(raw_data(), table(**change))))


def test_a_bad_feature_that_no_split_names_is_no_error():
  check(raw_data(), table(e=np.array([np.nan, 0, 0]))).refuse()


def test_all_faults_of_all_splits_are_told_at_once():
  raw = raw_data()
  raw.splits['train'].append('f.jpg')
  raw.splits['test'] += ['w.jpg', 'x.jpg', 'y.jpg', 'z.jpg']
  inf = np.array([1, np.inf, 0])
  checked = check(raw, table(a=None, b=inf, c=inf, d=None))
  assert faults(checked) == (
    '1 images of the train split have no caption with a word in it (f.jpg);'
    ' 4 images of the test split have no caption with a word in it'
    ' (w.jpg, x.jpg, y.jpg, ...): complete the captions or take the images out'
    ' of the list.'
    ' 1 images of the train split have no feature (a.jpg);'
    ' 5 images of the test split have no feature (d.jpg, w.jpg, x.jpg, ...);'
    ' 1 images of the train split have a feature that is not finite (b.jpg);'
    ' 1 images of the validation split have a feature that is not finite'
    ' (c.jpg): complete the features or take the images out of the list.'
  )


def test_the_report_is_whole_where_data_have_faults():
  raw = raw_data()
  raw.splits['train'].append('f.jpg')
  del raw.splits['test']
  report = check(raw, table(a=None)).report
  rows = [line.split() for line in report.splitlines()]
  assert rows[1] == ['train', '3', '3', '7', '2.3']
  assert rows[3] == ['test', '0', '0', '0', '0.0']
  assert 'empty captions (left out): 1 (a.jpg)' in report
  assert 'images in no split (left out): 2 (d.jpg, e.jpg)' in report
  # What a split needs is not left out.
  assert 'without a feature (left out): 1 (ghost.jpg)' in report
