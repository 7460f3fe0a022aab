import collections
import functools
import itertools
import types

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from mrnn_jax.data import datasets, image_features
from mrnn_jax.data import input_pipeline as ip
from mrnn_jax.data.vocabulary import END, PAD, START, UNK
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
  statistics = image_features.feature_statistics(read.features, block=4)
  features = cached.features.all()
  np.testing.assert_allclose(statistics['mean'], features.mean(0), atol=1e-5)
  np.testing.assert_allclose(statistics['std'], features.std(0), atol=1e-5)


def test_statistics_of_features_far_from_0(vocab, record_maker):
  """In one pass, where a difference of squares would have no digit left."""
  records = record_maker(9)
  for i, record in enumerate(records):
    record['feature'] = np.asarray([10000 + i, 3.0, -i], np.float32)
  split = datasets.make_split('train', records, vocab)
  for block in (1, 4, 100):
    statistics = image_features.feature_statistics(split.features, block)
    np.testing.assert_array_equal(
      statistics['mean'], np.float32([10004, 3, -4])
    )
    std = np.sqrt(60 / 9)
    np.testing.assert_allclose(statistics['std'], [std, 0, std], rtol=1e-7)


def test_a_batch_has_its_captions_first(vocab, record_maker):
  split = datasets.make_split('train', record_maker(9), vocab)
  a, b = (split.caption_tokens(c) for c in (1, 2))
  T = len(a) + len(b)
  batch = ip.fill_batch(split, T, np.array([[-1, 1, 2], [-1, -1, -1]]), 3)
  row = [*a[:-1], *b[:-1], PAD, PAD]
  assert batch['tokens'].tolist() == [row, [PAD] * T, [PAD] * T]
  assert batch['targets'][0].tolist() == [*a[1:], *b[1:], PAD, PAD]
  assert batch['captions'].tolist() == [[1, 2, -1], [-1] * 3, [-1] * 3]
  owner = split.owner[[1, 2]]
  np.testing.assert_array_equal(batch['features'][0, :2], split.features[owner])
  assert not batch['features'][0, 2].any() and not batch['features'][1:].any()
  # A shard may have no row of a batch.
  empty = ip.fill_batch(split, T, np.zeros((0, 3), int), 2)
  assert empty['tokens'].tolist() == [[PAD] * T] * 2
  assert empty['features'].shape == (2, 3, split.features.size)


# Shortest first: captions 1, 3, 4, 2, 0, and an empty place before them.
LENGTHS = np.asarray([5, 1, 4, 2, 3])
ROWS = [[-1, 0], [1, 2], [3, 4]]


def test_rows_by_hand():
  assert ip.fill_rows(LENGTHS, 2, None).tolist() == ROWS
  # Every other column runs backwards.
  assert ip.fill_rows(LENGTHS, 3, None).tolist() == [[-1, 4, 2], [1, 3, 0]]
  assert ip.fill_rows(LENGTHS[:4], 4, None).tolist() == [[1, 3, 2, 0]]
  # No two are of equal length: there is nothing to shuffle.
  rng = np.random.default_rng(0)
  assert ip.fill_rows(LENGTHS, 2, rng).tolist() == ROWS
  equal = np.full(9, 3)
  assert ip.fill_rows(equal, 1, None).ravel().tolist() == list(range(9))
  shuffled = ip.fill_rows(equal, 1, rng).ravel().tolist()
  assert sorted(shuffled) == list(range(9)) != shuffled


def as_lists(plan):
  return [(length, rows.tolist()) for length, rows in plan]


def test_plan_by_hand():
  # Each of the rows is 5 long.
  plan = functools.partial(ip.plan_batches, LENGTHS)
  assert as_lists(plan([5], 4, 2, None)) == [(5, ROWS[:2]), (5, ROWS[2:])]
  # What fills no batch moves up, and goes before what is there.
  assert as_lists(plan([5, 9], 4, 2, None)) == [(5, ROWS[:2]), (9, ROWS[2:])]
  assert as_lists(plan([4, 5], 4, 2, None)) == [(5, ROWS[:2]), (5, ROWS[2:])]
  assert as_lists(plan([5], 1, 2, None)) == [(5, [row]) for row in ROWS]
  # One a row: 1 and 2 fill a batch of 3, 3 and 4 one of 4.
  assert as_lists(plan([3, 5], 2, 1, None)) == [
    (3, [[1], [3]]),
    (5, [[4], [2]]),
    (5, [[0]]),
  ]


def test_a_plan_is_shuffled_within_buckets_and_as_a_whole():
  orders, pairs = set(), set()
  for seed in range(9):
    plan = ip.plan_batches(LENGTHS, [3, 5], 2, 1, np.random.default_rng(seed))
    orders.add(tuple(length for length, _ in plan))
    pairs.update(tuple(sorted(rows.ravel())) for _, rows in plan)
    numbers = np.concatenate([rows for _, rows in plan]).ravel()
    assert sorted(numbers) == [0, 1, 2, 3, 4]
  assert orders == {(3, 5, 5), (5, 3, 5), (5, 5, 3)}
  # No two of these captions are of equal length, and still any of the three of
  # at most 3 words may be together.
  assert {(1, 3), (1, 4), (3, 4)} < pairs


def test_a_batch_by_hand(vocab):
  records = [
    {'image_id': 'x', 'feature': np.ones(2), 'captions': ['a dog', 'zebra']},
    {'image_id': 'y', 'feature': np.full(2, 7.0), 'captions': ['cat']},
  ]
  split = datasets.make_split('train', records, vocab)
  a, dog, cat = vocab.encode(['a', 'dog', 'cat'])
  rows = np.asarray([[-1, 0], [2, 1]])
  batch = ip.fill_batch(split, 5, rows, 3)
  nothing = [PAD] * 5
  assert batch['tokens'].tolist() == [
    [START, a, dog, PAD, PAD],
    [START, cat, START, UNK, PAD],
    nothing,
  ]
  assert batch['targets'].tolist() == [
    [a, dog, END, PAD, PAD],
    [cat, END, UNK, END, PAD],
    nothing,
  ]
  # The captions that are there come first.
  assert batch['captions'].tolist() == [[0, -1], [2, 1], [-1, -1]]
  assert batch['features'].tolist() == [
    [[1, 1], [0, 0]],
    [[7, 7], [1, 1]],
    [[0, 0], [0, 0]],
  ]
  assert batch['tokens'].dtype == batch['targets'].dtype == np.int32


def split_of(lengths):
  return types.SimpleNamespace(lengths=lengths, owner=np.zeros(len(lengths)))


@pytest.mark.parametrize(
  ('batch_size', 'row_multiple', 'steps', 'num_rows', 'padding'),
  [
    (4, 1, 2, 2, 1 - 15 / 20),  # Two rows, and one.
    (1, 1, 3, 1, 0),
    (6, 4, 1, 4, 0),  # Rows that make up the multiple are not counted.
    (99, 1, 1, 3, 0),  # No more than there are.
  ],
)
def test_what_a_plan_says_of_itself(
  batch_size, row_multiple, steps, num_rows, padding
):
  batches = ip.TrainingBatches(
    split_of(LENGTHS), batch_size, 2, 4, 0, row_multiple
  )
  assert batches.buckets == [5]
  assert batches.steps_per_epoch == steps
  assert batches.words_per_batch == 15 / steps
  assert batches.num_rows == num_rows
  assert batches.padding == pytest.approx(padding)


def test_rows_of_different_lengths_have_their_buckets():
  batches = ip.TrainingBatches(split_of(np.asarray([9, 2, 3])), 1, 1, 2, 0)
  assert batches.buckets == [3, 9]
  # Batches of one row: 3, 3 and 9 positions for 14 words.
  assert batches.padding == pytest.approx(1 - 14 / 15)
  assert batches.words_per_batch == pytest.approx(14 / 3)


@pytest.mark.parametrize(('batch_size', 'row_multiple'), [(7, 1), (7, 4)])
def test_evaluation_reads_every_caption_once(split, batch_size, row_multiple):
  batches = list(ip.evaluation_batches(split, batch_size, row_multiple))
  rows = -(-batch_size // row_multiple) * row_multiple
  seen = []
  for batch in batches:
    assert batch['tokens'].shape[0] == rows
    for caption, ids, feature in read_back(batch):
      seen.append(caption)
      assert ids == split.caption_tokens(caption).tolist()
      np.testing.assert_array_equal(
        feature, split.features[split.owner[caption]]
      )
  assert sorted(seen) == list(range(len(split.owner)))
  # No batch but the last is short, and there are few shapes.
  full = [(batch['captions'] >= 0).sum() == batch_size for batch in batches]
  assert all(full[:-1])
  shapes = {batch['tokens'].shape for batch in batches}
  assert len(shapes) == min(4, len(set(split.lengths)))


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


def viewed_split(vocab, cache_mb=10, views='first'):
  """Ten images of four views, each a vector of image and view numbers."""
  records = [
    {
      'image_id': f'{i}',
      'feature': np.asarray([i, 0], np.float32),
      'views': np.asarray([[i, k] for k in (1, 2, 3)], np.float32),
      'captions': ['a dog on the left', 'a cat', 'the right dog runs', 'a man'],
    }
    for i in range(10)
  ]
  flips = [False, True, False, True]
  return datasets.make_split(
    'train', records, vocab, cache_mb, view_flips=flips, views=views
  )


@pytest.mark.parametrize('cache_mb', [10, 0])
def test_views_are_drawn_by_step_and_row(vocab, cache_mb):
  split = viewed_split(vocab, cache_mb)
  options = {'batch_size': 8, 'captions_per_row': 2, 'num_buckets': 2}
  batches = ip.TrainingBatches(split, **options, seed=1, num_views=4)
  drawn = collections.defaultdict(collections.Counter)
  for step in range(30 * batches.steps_per_epoch):
    batch = batches.batch(step)
    for caption, _, (image, view) in read_back(batch):
      assert image == split.owner[caption]
      drawn[caption % 4][int(view)] += 1
  # 300 draws of each kind: mirrored ones only where no side is told.
  for kind, allowed in ((0, 2), (1, 4), (2, 2), (3, 4)):
    assert sorted(drawn[kind]) == ([0, 1, 2, 3] if allowed == 4 else [0, 2])
    assert min(drawn[kind].values()) > 0.7 * 300 / allowed
  first = ip.TrainingBatches(split, **options, seed=1, num_views=1)
  assert {view for _, _, (_, view) in read_back(first.batch(3))} == {0}
  two = ip.TrainingBatches(split, **options, seed=1, num_views=2)
  seen = {v for i in range(9) for _, _, (_, v) in read_back(two.batch(i))}
  assert seen == {0, 1}


def test_views_do_not_depend_on_shards_or_where_a_run_goes_on(vocab):
  split = viewed_split(vocab)
  options = {'row_multiple': 2, 'seed': 0, 'num_views': 4}
  whole = ip.TrainingBatches(split, 8, 2, 2, **options)
  halves = [
    ip.TrainingBatches(split, 8, 2, 2, **options, shard=(i, 2))
    for i in range(2)
  ]
  features = [whole.batch(step)['features'] for step in range(4)]
  for step in (3, 1):
    parts = [half.batch(step)['features'] for half in halves]
    np.testing.assert_array_equal(features[step], np.concatenate(parts))
  assert any(
    (a[..., 1] != b[..., 1]).any() for a, b in itertools.pairwise(features)
  )


@pytest.mark.parametrize('cache_mb', [10, 0])
def test_the_feature_of_an_image_is_its_first_view_or_their_mean(
  vocab, cache_mb
):
  images = np.asarray([[4, 1], [9, 4]])
  first = viewed_split(vocab, cache_mb).features
  mean = viewed_split(vocab, cache_mb, 'average').features
  np.testing.assert_array_equal(first[images][..., 0], images)
  np.testing.assert_array_equal(first[images][..., 1], 0)
  np.testing.assert_array_equal(mean[images][..., 0], images)
  np.testing.assert_array_equal(mean[images][..., 1], 1.5)
  assert mean.dtype == np.float32
  statistics = image_features.feature_statistics(first, 3, block=4)
  # Of the views 0, 1, 2 of the images 0 to 9.
  np.testing.assert_allclose(statistics['mean'], [4.5, 1])
  np.testing.assert_allclose(statistics['std'], [8.25**0.5, (2 / 3) ** 0.5])


def test_captions_that_tell_sides():
  captions = [['The LEFT-hand man', 'a man'], ['He leftover', 'turns right.']]
  assert ip.tells_sides(captions).tolist() == [True, False, False, True]


def test_features_of_an_array_are_its_rows():
  rows = np.arange(12, dtype=np.float32).reshape(4, 3)
  features = image_features.Features.of_array(rows)
  index = np.array([[2, 0], [3, 3]])
  np.testing.assert_array_equal(features[index], rows[index])
  np.testing.assert_array_equal(features[1:], rows[1:])
  np.testing.assert_array_equal(features.views(index)[..., 0, :], rows[index])
