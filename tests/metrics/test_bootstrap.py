"""Paired bootstrap: beside resamples that are written out and measured anew."""

import numpy as np
import pytest

from mrnn_jax import metrics
from mrnn_jax.metrics import bootstrap
from mrnn_jax.runtime.errors import InputError

WORDS = ('a', 'dog', 'runs', 'on', 'the', 'green', 'grass', 'red', 'ball')


def corpus(seed, images=12):
  rng = np.random.default_rng(seed)

  def sentence():
    return ' '.join(rng.choice(WORDS, rng.integers(3, 9)))

  return [
    [sentence() for _ in range(rng.integers(1, 4))] for _ in range(images)
  ], [sentence() for _ in range(images)]


def repeated(counts, items):
  """A resample written out: each item as often as it was drawn."""
  return [x for x, n in zip(items, counts, strict=True) for _ in range(int(n))]


def test_a_resample_draws_as_many_images_with_replacement():
  counts = bootstrap.resample(40, 300, seed=3)
  assert counts.shape == (300, 40)
  assert (counts.sum(1) == 40).all()
  # An image is missing with probability (1 - 1/40)^40 = .363.
  assert (counts == 0).mean() == pytest.approx(0.363, abs=0.01)
  assert (counts.max(1) > 1).all()
  np.testing.assert_array_equal(counts, bootstrap.resample(40, 300, seed=3))
  assert (counts != bootstrap.resample(40, 300, seed=4)).any()


def test_a_thousand_resamples_by_seed_0_unless_it_is_said():
  drawn = np.random.default_rng(0).integers(0, 7, (1000, 7))
  np.testing.assert_array_equal(
    bootstrap.resample(7), [np.bincount(row, minlength=7) for row in drawn]
  )


def test_bleu_of_sums_is_sacrebleus_of_the_resample():
  references, hypotheses = corpus(0)
  # Long matches, so that no precision is 0.
  hypotheses[:6] = [texts[0] for texts in references[:6]]
  sums = bootstrap.bleu_statistics(hypotheses, references)
  counts = bootstrap.resample(len(hypotheses), 20)
  expected = [
    metrics.bleu(repeated(row, hypotheses), repeated(row, references))[
      'cumulative'
    ][3]
    for row in counts
  ]
  assert min(expected) > 0
  np.testing.assert_allclose(bootstrap.bleu_of(counts @ sums), expected)


def test_bleu_statistics_of_one_caption_by_hand():
  (row,) = bootstrap.bleu_statistics(
    ['the the dog runs'], [['the dog runs fast now', 'a dog', 'x the dog']]
  )
  # Of 4 words 5 and 3 are equally near: the shorter.  "the" counts once.
  assert row.tolist() == [4, 3, 3, 4, 2, 3, 1, 2, 0, 1]


def test_bleu_without_a_match_is_0():
  sums = bootstrap.bleu_statistics(['a b'], [['c d']]).sum(0)
  assert bootstrap.bleu_of(sums) == 0
  # Right as far as it goes, and no four words.
  sums = bootstrap.bleu_statistics(['a b c'], [['a b c']]).sum(0)
  assert bootstrap.bleu_of(sums) == 0


def test_a_difference_is_that_of_the_means_and_its_interval_of_resamples():
  rng = np.random.default_rng(1)
  ours = np.stack([rng.normal(1, 1, 50), np.ones(50)], axis=1)
  others = np.stack([rng.normal(0, 1, 50), np.ones(50)], axis=1)
  counts = bootstrap.resample(50)
  found = bootstrap.difference(ours, others, bootstrap.ratio, counts)
  assert found['difference'] == pytest.approx(
    ours[:, 0].mean() - others[:, 0].mean()
  )
  resampled = sorted(
    np.mean(repeated(row, ours[:, 0])) - np.mean(repeated(row, others[:, 0]))
    for row in counts
  )
  # 1,000 sorted: 2.5 % lie below the interval, 2.5 % above.
  assert resampled[23] < found['low'] < resampled[26]
  assert resampled[973] < found['high'] < resampled[976]
  assert found['significant'] is True
  back = bootstrap.difference(others, ours, bootstrap.ratio, counts)
  assert back['significant'] is True
  assert back['high'] < 0


def test_equal_systems_are_not_told_apart():
  same = np.stack([np.arange(9.0), np.ones(9)], axis=1)
  found = bootstrap.difference(
    same, same, bootstrap.percentage, bootstrap.resample(9)
  )
  assert found == {
    'difference': 0, 'low': 0, 'high': 0, 'significant': False,
  }  # fmt: skip


def test_a_share_is_in_percent_and_of_all_queries():
  # Two images, 1 of 5 and 2 of 3 sentences: 3 of 8.
  assert bootstrap.percentage(np.array([3.0, 8.0])) == 37.5


def test_other_images_cannot_be_paired():
  one = np.ones((5, 2))
  with pytest.raises(InputError, match='cannot be paired over 5 images'):
    bootstrap.difference(
      one, np.ones((4, 2)), bootstrap.ratio, bootstrap.resample(5)
    )
  with pytest.raises(InputError, match='cannot be paired over 4 images'):
    bootstrap.difference(one, one, bootstrap.ratio, bootstrap.resample(4))
