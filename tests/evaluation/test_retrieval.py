"""The retrieval protocols, by numbers made by hand and by plain NumPy."""

import json
import math
import statistics

import numpy as np
import pytest
from ranked_lists import image_lists, sentence_lists
from small_pools import (
  DRAWN,
  OWNER,
  PROBS,
  WORDS,
  draw,
  logs,
  make_split,
  scores_of,
  tally_of,
)

from mrnn_jax.evaluation import scores as scores_lib
from mrnn_jax.metrics import score_matrix


def by_way(scores, k, probs=PROBS):
  """What sentences are ranked by, as numbers."""
  return np.exp(scores.ways[k](np.arange(len(probs)), logs(probs)))


def test_normalized_is_the_probability_over_its_mean(monkeypatch):
  scores = scores_of()
  assert scores.num_norm_images == 3 and list(scores.ways) == [0, 3]
  # The means are .4, .1, .6 and .002.
  np.testing.assert_allclose(
    by_way(scores, 3),
    [[1.25, 0.625], [1, 2], [2 / 3, 2 / 3], [5, 10]],
    rtol=1e-5,
  )
  # Those of the first image alone, and of the first two.
  monkeypatch.setattr(scores_lib, 'NORM_STEPS', (0, 1, 2, 7))
  monkeypatch.setattr(score_matrix, '_BLOCK', 4)
  scores = scores_of()
  assert list(scores.ways) == [0, 1, 2, 3]
  np.testing.assert_allclose(
    by_way(scores, 1),
    [[1, 0.5], [2, 4], [0.5, 0.5], [10, 20]],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    by_way(scores, 2)[:, 0], [1, 4 / 3, 0.5, 20 / 3], rtol=1e-5
  )


def test_without_training_images_sentences_go_by_perplexity():
  # PPL = P^(-1/L): 2 and 4; 10^.5 and 5^.5; ...
  inverse = [
    [1 / 2, 1 / 4],
    [0.1**0.5, 0.2**0.5],
    [0.4**0.25, 0.4**0.25],
    [0.01**0.04, 0.02**0.04],
  ]
  without = scores_of(drawn=np.empty((4, 0)))
  assert without.num_norm_images == 0 and list(without.ways) == [0]
  for scores in (scores_of(), without):
    np.testing.assert_allclose(by_way(scores, 0), inverse, rtol=1e-5)


def test_measures_by_hand():
  # By P(w|I) / P(w), image 0: 5, 1.25*, 1*, .67; image 1: 10*, 2, .67*, .63.
  # By 1 / PPL, image 0: .83, .80, .5*, .32*; image 1: .86*, .80*, .45, .25.
  # Images by P(w|I): .5 > .25; .1 < .2; .4 = .4; .02 > .01.
  found = tally_of().measures()
  assert found['image_to_text']['mean_rank'] == (2 + 1) / 2
  assert found['image_to_text_perplexity']['mean_rank'] == (3 + 1) / 2
  assert found['text_to_image']['mean_rank'] == (1 + 2 + 2 + 1) / 4
  assert found['text_to_image']['r@1'] == 50
  assert list(found['norm_images']) == ['0']
  assert found['norm_images']['0'] == found['image_to_text_perplexity']
  curve = found['recall_curve']['image_to_text']
  at = dict(zip(curve['percent'], curve['true_items'], strict=True))
  assert [at[x] for x in (24, 25, 50, 75, 100)] == [0, 0.5, 1, 2, 2]
  curve = found['recall_curve']['text_to_image']
  at = dict(zip(curve['percent'], curve['share'], strict=True))
  assert [at[x] for x in (49, 50, 100)] == [0, 0.5, 1]


def summary(lists):
  """What is to be said of ranks, from lists of true and false items."""
  ranks = [1 + found.index(True) for found in lists]
  return {
    'r@1': 100 * sum(r <= 1 for r in ranks) / len(ranks),
    'r@5': 100 * sum(r <= 5 for r in ranks) / len(ranks),
    'r@10': 100 * sum(r <= 10 for r in ranks) / len(ranks),
    'median_rank': statistics.median(ranks),
    'mean_rank': statistics.fmean(ranks),
  }


@pytest.mark.parametrize(
  'shortlist', [None, [[0, 1], [3, 1], [2, 0], [3, 2]]], ids=['all', 'short']
)
def test_measures_are_those_of_the_protocol(shortlist):
  """P(w|I) / P(w) and 1 / PPL as plain numbers, ranked by sorting."""
  probs, drawn, lengths, owner = draw()
  if shortlist is not None:
    shortlist = np.asarray(shortlist)
  found = tally_of(probs, drawn, lengths, owner, shortlist).measures()

  def by_mean_of(k):
    ratios = probs / drawn[:, :k].mean(1, keepdims=True)
    return summary(sentence_lists(ratios, owner, shortlist))

  inverse_perplexity = probs ** (1 / lengths[:, None])
  by_perplexity = summary(sentence_lists(inverse_perplexity, owner, shortlist))
  expected = {
    'image_to_text': by_mean_of(31),
    'image_to_text_perplexity': by_perplexity,
    'text_to_image': summary(image_lists(probs, owner)),
    'norm_images': {
      '0': by_perplexity,
      '10': by_mean_of(10),
      '30': by_mean_of(30),
    },
  }
  curves = found.pop('recall_curve')
  assert found == expected
  different = [json.dumps(x) for x in expected['norm_images'].values()]
  assert len(set(different)) > 1
  assert scores_lib.NORM_STEPS == (0, 10, 30, 100, 300, 1000)

  lists = list(sentence_lists(probs / drawn.mean(1)[:, None], owner, shortlist))
  for name, items in (
    ('image_to_text', lists),
    ('text_to_image', list(image_lists(probs, owner))),
  ):
    for percent in (30, 50, 77, 100):
      at = curves[name]['percent'].index(percent)
      expected = [sum(x[: percent * len(x) // 100]) for x in items]
      assert curves[name]['true_items'][at] == pytest.approx(np.mean(expected))


def test_lines_are_the_rankings(vocab):
  probs, drawn, lengths, owner = draw()
  probs[3] = probs[5]  # Two that tie for every image.
  drawn[3] = drawn[5]
  split = make_split(vocab, owner)
  lines = list(tally_of(probs, drawn, lengths, owner).lines(split))
  assert [x['query'] for x in lines] == ['image'] * 4 + ['sentence'] * 13
  ratios = probs / drawn.mean(1, keepdims=True)
  for image, line in enumerate(lines[:4]):
    best = sorted(range(13), key=lambda s: (-ratios[s, image], s))[:10]
    assert line['image_id'] == f'{image}.jpg'
    assert [x['caption'] for x in line['top']] == [WORDS[s] for s in best]
    for s, item in zip(best, line['top'], strict=True):
      assert item['image_id'] == f'{owner[s]}.jpg'
      assert item['score'] == pytest.approx(
        math.log(ratios[s, image]), abs=1e-5
      )
      assert item['correct'] == (owner[s] == image)
  lists = list(sentence_lists(ratios, owner))
  assert [x['rank'] for x in lines[:4]] == [1 + x.index(True) for x in lists]
  for s, line in enumerate(lines[4:]):
    best = sorted(range(4), key=lambda i: (-probs[s, i], i))
    assert (line['caption'], line['image_id']) == (WORDS[s], f'{owner[s]}.jpg')
    assert [x['image_id'] for x in line['top']] == [f'{i}.jpg' for i in best]
    for image, item in zip(best, line['top'], strict=True):
      assert item['score'] == pytest.approx(math.log(probs[s, image]), abs=1e-5)
      assert item['correct'] == (owner[s] == image)
    assert line['rank'] == 1 + best.index(owner[s])
  json.dumps(lines)


def test_lines_of_a_shortlist_hold_its_sentences_alone(vocab):
  split = make_split(vocab, OWNER)
  lines = list(tally_of(shortlist=np.array([[0], [1]])).lines(split))
  # Of its own sentences alone: the best is first, whatever others score.
  assert [[x['caption'] for x in line['top']] for line in lines[:2]] == [
    ['w0', 'w1'],
    ['w3', 'w2'],
  ]
  assert [line['rank'] for line in lines] == [1, 1, 1, 2, 2, 1]
  both = np.array([[0, 1], [1, 0]])
  lines = list(tally_of(shortlist=both).lines(split))
  assert [x['caption'] for x in lines[0]['top']] == ['w3', 'w0', 'w1', 'w2']
  assert [line['rank'] for line in lines[:2]] == [2, 1]


def test_what_is_not_listed_takes_no_place_among_the_best(vocab):
  probs, drawn, lengths, owner = draw()
  shortlist = np.arange(4)[:, None]
  tally = tally_of(probs, drawn, lengths, owner, shortlist)
  lines = tally.lines(make_split(vocab, owner))
  ratios = probs / drawn.mean(1, keepdims=True)
  for image, line in zip(range(4), lines, strict=False):
    best = np.flatnonzero(owner == image)
    best = best[np.argsort(-ratios[best, image])]
    assert [x['caption'] for x in line['top']] == [WORDS[s] for s in best]


def test_first_captions_alone_are_a_pool_of_one_each(vocab):
  split = make_split(vocab, OWNER, first_caption_only=True)
  assert split.captions == [['w0'], ['w2']]
  # By P(w|I) / P(w): 1.25* > .67 and .67* > .63; by P(w|I): .5* > .25, and .4
  # ties with .4.
  tally = tally_of(PROBS[[0, 2]], DRAWN[[0, 2]], split.lengths, split.owner)
  found = tally.measures()
  assert found['image_to_text']['mean_rank'] == 1
  assert found['text_to_image']['mean_rank'] == 1.5
  lines = list(tally.lines(split))
  assert [x['caption'] for x in lines[0]['top']] == ['w0', 'w2']
  assert [line['rank'] for line in lines] == [1, 1, 1, 2]
