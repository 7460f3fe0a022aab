import os

import numpy as np
import pytest

from mrnn_jax.data import datasets, feature_spool, image_features
from mrnn_jax.data.feature_spool import FeatureSpool


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
  return tmp_path / 'cache' / 'mrnn_jax'


@pytest.mark.parametrize('cached_share', [0, 0.5])
def test_rows_are_those_that_were_written(monkeypatch, cached_share, cache):
  monkeypatch.setattr(feature_spool, '_CACHED_SHARE', cached_share)
  features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float16)
  spool = FeatureSpool(50, 3, np.float16)
  for i in np.random.default_rng(1).permutation(50):
    spool[int(i)] = features[i]
  for indices in (
    np.array([4, 3, 3, 49, 0, 1, 2]),
    np.array([[7, 8], [9, 5]]),
    np.arange(50),
    np.zeros(0, int),
    slice(10, 20),
    slice(45, 90),
  ):
    found = spool[indices]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, features[indices])
  # It has no name: nothing is left of it, however the process ends.
  assert list(cache.iterdir()) == []


def test_it_is_closed_with_its_user(cache):
  before = len(os.listdir('/proc/self/fd'))
  spool = FeatureSpool(5, 3, np.float32)
  assert len(os.listdir('/proc/self/fd')) > before
  del spool
  assert len(os.listdir('/proc/self/fd')) == before


def test_without_a_place_the_records_are_read(
  monkeypatch, vocab, record_maker, capsys
):
  def full(*unused):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(image_features, 'FeatureSpool', full)
  records = record_maker(9)
  split = datasets.make_split('train', records, vocab, cache_mb=0)
  assert 'note: no place for' in capsys.readouterr().err
  expected = np.stack([r['feature'] for r in records])
  np.testing.assert_array_equal(
    split.features[np.array([3, 0])], expected[[3, 0]]
  )
  np.testing.assert_array_equal(split.features[4:], expected[4:])
  assert split.features.cached_mb == 0


def test_memory_that_features_take_is_told(vocab, record_maker):
  records = record_maker(9)
  split = datasets.make_split('train', records, vocab, cache_mb=10)
  each = records[0]['feature'].nbytes
  assert split.features.cached_mb == 9 * each / 2**20
