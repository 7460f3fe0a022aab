"""What may be written, and what the report says."""

import numpy as np
import pytest

from data_prep import checks, features, records
from mrnn_jax import errors


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
  return features.FeatureTable(
    ids, np.array([rows[i] for i in ids], np.float32), 'f.npz'
  )


def check(raw, features_table):
  checked = checks.check_captions('mine', raw)
  return checks.check_features(checked, raw, features_table)


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
  report = check(raw_data(), features_table).report
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
    (lambda raw: raw.splits['test'].append('a'), 'a stands in the lists of tr'),
    (lambda raw: raw.splits['test'].append('x.jpg'), r'no caption .* \(x.jpg'),
    (lambda raw: raw.captions.update({'d.jpg': ['!', '']}), 'no caption'),
  ],
)
def test_unusable_captions(spoil, message):
  raw = raw_data()
  spoil(raw)
  with pytest.raises(errors.InputError, match=message):
    checks.check_captions('mine', raw)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'d': None}, r'1 images of the test split have no feature \(d.jpg\)'),
    ({'c': np.array([1, np.nan, 0])}, r'not finite \(c.jpg\)'),
    ({'a': np.array([1, np.inf, 0])}, r'not finite \(a.jpg\)'),
  ],
)
def test_unusable_features(change, message):
  with pytest.raises(errors.InputError, match=message):
    check(raw_data(), table(**change))


def test_a_bad_feature_that_no_split_names_is_no_error():
  check(raw_data(), table(e=np.array([np.nan, 0, 0])))
