import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from mrnn_jax.data import datasets
from mrnn_jax.data import input_pipeline as ip
from mrnn_jax.data.vocabulary import PAD, START
from mrnn_jax.runtime.errors import InputError


def read_back(batch):
  """Return (caption number, ids, feature) of every caption of a batch."""
  for b, tokens in enumerate(batch['tokens']):
    starts = np.flatnonzero(tokens == START)
    stops = [*starts[1:], len(tokens)][: len(starts)]
    for g, (start, stop) in enumerate(zip(starts, stops, strict=True)):
      targets = batch['targets'][b, start:stop]
      ids = [START, *targets[targets != PAD]]
      # Each input is the target of the step before.
      assert tokens[start : start + len(ids) - 1].tolist() == ids[:-1]
      yield batch['captions'][b, g], ids, batch['features'][b, g]


@pytest.mark.parametrize('captions_per_row', [1, 2, 3])
def test_an_epoch_has_every_caption_once_with_its_feature(
  split, captions_per_row
):
  batches = ip.TrainingBatches(split, 10, captions_per_row, 4, seed=3)
  seen = []
  for step in range(batches.steps_per_epoch):
    for caption, ids, feature in read_back(batches.batch(step)):
      seen.append(caption)
      assert ids == split.caption_tokens(caption).tolist()
      np.testing.assert_array_equal(
        feature, split.features[split.owner[caption]]
      )
  assert sorted(seen) == list(range(len(split.owner)))


def test_epochs_differ_and_seeds_decide(split):
  a, b, c = (ip.TrainingBatches(split, 10, 2, 4, seed) for seed in (0, 0, 1))
  n = a.steps_per_epoch
  order = [
    [x.batch(i)['captions'].tolist() for i in span]
    for x, span in (
      (a, range(n)),
      (b, range(n)),
      (c, range(n)),
      (a, range(n, 2 * n)),
    )
  ]
  assert order[0] == order[1]
  assert order[0] != order[2]
  assert order[0] != order[3]


def test_shards_are_parts_of_the_whole_and_iterate_starts_anywhere(split):
  options = {'row_multiple': 4, 'seed': 0}
  whole = ip.TrainingBatches(split, 10, 2, 4, **options)
  parts = [
    ip.TrainingBatches(split, 10, 2, 4, **options, shard=(i, 2))
    for i in range(2)
  ]
  for step, batch in zip(
    range(3, 6), whole.iterate(3, 6, num_threads=1), strict=True
  ):
    halves = [part.batch(step) for part in parts]
    for name, value in batch.items():
      np.testing.assert_array_equal(
        value, np.concatenate([half[name] for half in halves])
      )


def test_features_are_the_same_uncached(vocab, record_maker):

  records = record_maker(9)
  cached, read = (
    datasets.make_split('train', records, vocab, cache_mb=mb) for mb in (10, 0)
  )
  index = np.asarray([[3, 1], [8, 3]])
  np.testing.assert_array_equal(cached.features[index], read.features[index])
  statistics = datasets.feature_statistics(read.features, block=4)
  features = cached.features.all()
  np.testing.assert_allclose(statistics['mean'], features.mean(0), atol=1e-5)
  np.testing.assert_allclose(statistics['std'], features.std(0), atol=1e-5)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=40), st.integers(1, 4))
@settings(deadline=None, max_examples=50)
def test_buckets_waste_least(lengths, num_buckets):
  lengths = np.asarray(lengths)

  def waste(buckets):
    return sum(min(b for b in buckets if b >= n) - n for n in lengths)

  chosen = ip.choose_buckets(lengths, num_buckets)
  assert len(chosen) <= num_buckets
  values = np.unique(lengths)
  others = itertools.combinations(values, min(num_buckets, len(values)))
  best = min(waste(b) for b in others if b[-1] == values[-1])
  assert waste(chosen) == best


def test_little_is_padding_with_lengths_like_those_of_flickr8k():
  rng = np.random.default_rng(0)
  lengths = np.clip(np.round(rng.gamma(9, 1.32, 30000)), 3, 38).astype(int)
  rows = ip.fill_rows(lengths, 2, None)
  sums = lengths[rows].sum(1)
  buckets = ip.choose_buckets(sums, 4)
  plan = ip.plan_batches(lengths, buckets, 100, 2, rng)
  positions = sum(length * len(rows) for length, rows in plan)
  assert len(buckets) <= 8
  assert 1 - lengths.sum() / positions < 0.05


def test_an_empty_split_is_an_error(vocab):
  with pytest.raises(InputError, match='the train split is empty'):
    datasets.make_split('train', [], vocab)


def test_a_missing_dataset_says_how_to_make_it(tmp_path):
  with pytest.raises(InputError, match='data_prep.build --dataset=flickr8k'):
    datasets.open_dataset('flickr8k', str(tmp_path))
