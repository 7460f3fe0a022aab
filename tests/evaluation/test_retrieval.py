"""The retrieval protocols, by numbers made by hand and by plain NumPy."""

import json
import math
import statistics

import numpy as np
import pytest
from ranked_lists import image_lists, sentence_lists

from mrnn_jax import config as config_lib
from mrnn_jax.data import datasets
from mrnn_jax.evaluation import retrieval

# P(sentence | image) of two images with two sentences each, and of three
# training images.
PROBS = np.array([[0.5, 0.25], [0.1, 0.2], [0.4, 0.4], [0.01, 0.02]])
DRAWN = np.array(
  [[0.5, 0.5, 0.2], [0.05, 0.1, 0.15], [0.8, 0.8, 0.2], [1e-3, 2e-3, 3e-3]]
)
LENGTHS = np.array([1, 2, 4, 25])
OWNER = np.array([0, 0, 1, 1])


def matrices(probs=PROBS, drawn=DRAWN, lengths=LENGTHS, owner=OWNER):
  return retrieval.LogProbabilities.of(
    owner,
    np.log(probs).astype(np.float32),
    np.log(drawn).astype(np.float32),
    lengths,
  )


def test_normalized_is_the_probability_over_its_mean():
  scores = matrices()
  # The means are .4, .1, .6 and .002.
  np.testing.assert_allclose(
    np.exp(scores.image_to_text),
    [[1.25, 0.625], [1, 2], [2 / 3, 2 / 3], [5, 10]],
    rtol=1e-5,
  )
  # Those of the first image alone, and of the first two.
  np.testing.assert_allclose(
    np.exp(scores.normalized(1)),
    [[1, 0.5], [2, 4], [0.5, 0.5], [10, 20]],
    rtol=1e-5,
  )
  np.testing.assert_allclose(
    np.exp(scores.normalized(2))[:, 0], [1, 4 / 3, 0.5, 20 / 3], rtol=1e-5
  )


def test_without_training_images_sentences_go_by_perplexity():
  # PPL = P^(-1/L): 2 and 4; 10^.5 and 5^.5; ...
  inverse = [
    [1 / 2, 1 / 4],
    [0.1**0.5, 0.2**0.5],
    [0.4**0.25, 0.4**0.25],
    [0.01**0.04, 0.02**0.04],
  ]
  without = matrices(drawn=np.empty((4, 0)))
  for found in (
    matrices().by_perplexity(),
    matrices().normalized(0),
    without.image_to_text,
  ):
    np.testing.assert_allclose(np.exp(found), inverse, rtol=1e-5)
  np.testing.assert_allclose(np.exp(matrices().text_to_image), PROBS, rtol=1e-5)


def test_measures_by_hand():
  # By P(w|I) / P(w), image 0: 5, 1.25*, 1*, .67; image 1: 10*, 2, .67*, .63.
  # By 1 / PPL, image 0: .83, .80, .5*, .32*; image 1: .86*, .80*, .45, .25.
  # Images by P(w|I): .5 > .25; .1 < .2; .4 = .4; .02 > .01.
  found = retrieval.measure(matrices())
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


def draw():
  """Probabilities of 13 sentences, for 4 images and 31 drawn ones."""
  rng = np.random.default_rng(5)
  owner = np.sort([*range(4), *rng.integers(0, 4, 9)])
  lengths = rng.integers(2, 9, 13)
  # Longer sentences are less likely, and some are likely for every image.
  level = rng.uniform(0.2, 0.7, 13) ** lengths
  probs = level[:, None] * rng.uniform(0.5, 1, (13, 4))
  drawn = level[:, None] * rng.uniform(0.2, 1, (13, 31))
  return probs, drawn, lengths, owner


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
  found = retrieval.measure(matrices(probs, drawn, lengths, owner), shortlist)

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
  assert retrieval.NORM_STEPS == (0, 10, 30, 100, 300, 1000)

  lists = list(sentence_lists(probs / drawn.mean(1)[:, None], owner, shortlist))
  for name, items in (
    ('image_to_text', lists),
    ('text_to_image', list(image_lists(probs, owner))),
  ):
    for percent in (30, 50, 77, 100):
      at = curves[name]['percent'].index(percent)
      expected = [sum(x[: percent * len(x) // 100]) for x in items]
      assert curves[name]['true_items'][at] == pytest.approx(np.mean(expected))


WORDS = [f'w{i}' for i in range(13)]


def make_split(vocab, owner, first_caption_only=False):
  """A split whose sentences are one word each, in the order of images."""
  records = [
    {
      'image_id': f'{image}.jpg',
      'feature': np.asarray([image, 1.0], np.float32),
      'captions': [WORDS[s] for s in np.flatnonzero(owner == image)],
    }
    for image in range(max(owner) + 1)
  ]
  return datasets.make_split(
    'test', records, vocab, first_caption_only=first_caption_only
  )


def test_lines_are_the_rankings(vocab):
  probs, drawn, lengths, owner = draw()
  probs[3] = probs[5]  # Two that tie for every image.
  drawn[3] = drawn[5]
  split = make_split(vocab, owner)
  scores = matrices(probs, drawn, lengths, owner)
  lines = list(retrieval.retrieval_lines(scores, split))
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
  scores, split = matrices(), make_split(vocab, OWNER)
  lines = list(retrieval.retrieval_lines(scores, split, np.array([[0], [1]])))
  # Of its own sentences alone: the best is first, whatever others score.
  assert [[x['caption'] for x in line['top']] for line in lines[:2]] == [
    ['w0', 'w1'],
    ['w3', 'w2'],
  ]
  assert [line['rank'] for line in lines] == [1, 1, 1, 2, 2, 1]
  both = np.array([[0, 1], [1, 0]])
  lines = list(retrieval.retrieval_lines(scores, split, both))
  assert [x['caption'] for x in lines[0]['top']] == ['w3', 'w0', 'w1', 'w2']
  assert [line['rank'] for line in lines[:2]] == [2, 1]


def test_what_is_not_listed_takes_no_place_among_the_best(vocab):
  probs, drawn, lengths, owner = draw()
  scores = matrices(probs, drawn, lengths, owner)
  lines = retrieval.retrieval_lines(
    scores, make_split(vocab, owner), np.arange(4)[:, None]
  )
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
  scores = matrices(PROBS[[0, 2]], DRAWN[[0, 2]], split.lengths, split.owner)
  found = retrieval.measure(scores)
  assert found['image_to_text']['mean_rank'] == 1
  assert found['text_to_image']['mean_rank'] == 1.5
  lines = list(retrieval.retrieval_lines(scores, split))
  assert [x['caption'] for x in lines[0]['top']] == ['w0', 'w2']
  assert [line['rank'] for line in lines] == [1, 1, 1, 2]


class FakeModel:
  """Looks probabilities up: a feature's first number says of which image."""

  tiling, unit, writes = 'of 2', 'pairs', True

  def __init__(self, drawn_images=3):
    self.asked, self._drawn = None, drawn_images

  def ranker(self, *how):
    self.asked = how
    return self

  def identity(self):
    return 'a table'

  def drawn_features(self, count):
    assert count <= self._drawn
    return np.asarray([[100 + k, 0] for k in range(count)], np.float32)

  def blocks(self, sentences, features, progress, first, everywhere):
    assert (first, everywhere) == (0, True)
    table = np.log(np.concatenate([PROBS, DRAWN], axis=1))
    images = features[:, 0].astype(int)
    columns = np.where(images < 100, images, images - 98)
    rows = np.arange(len(sentences))
    yield rows, slice(0, len(features)), table[:, columns]
    progress(1, 1)


@pytest.mark.parametrize('norm_images', [0, 2])
def test_scores_of_a_split(vocab, tmp_path, norm_images):
  config = config_lib.Config(
    workdir=str(tmp_path),
    norm_images=norm_images,
    rank_image_block=7,
    rank_tile_rows=77,
    rank_dtype='float32',
  )
  model, split = FakeModel(), make_split(vocab, OWNER)
  scores = retrieval.compute_scores(model, split, config)
  assert model.asked == (7, 77, 'float32')
  np.testing.assert_allclose(np.exp(scores.text_to_image), PROBS, rtol=1e-5)
  np.testing.assert_allclose(
    np.exp(scores.norm_log_probs), DRAWN[:, :norm_images], rtol=1e-5
  )
  # One word and ##END##.
  assert scores.lengths.tolist() == [2, 2, 2, 2]
  assert scores.owner.tolist() == OWNER.tolist()
  folder = tmp_path / 'scores'
  names = (
    {'test_images.npy', 'test_norm.npy'} if norm_images else {'test_images.npy'}
  )
  assert {x.name for x in folder.glob('*.npy')} == names


def test_a_split_is_ranked_measured_and_written(
  vocab, tmp_path, monkeypatch, capsys
):
  curves = []
  monkeypatch.setattr(
    retrieval.recall_curve, 'write', lambda curve, _: curves.append(curve)
  )
  config = config_lib.Config(
    workdir=str(tmp_path), norm_images=3, shortlist=1, split='test'
  )
  split = make_split(vocab, OWNER)
  assert retrieval.make_shortlist(split, config).tolist() == [[0], [1]]
  found, chance = retrieval.retrieve(FakeModel(), split, config)
  assert found['image_to_text']['r@1'] == 100
  assert found['text_to_image']['mean_rank'] == 1.5
  # Lists of two sentences, both of them true; lists of two images.
  assert chance['image_to_text']['mean_rank'] == 1
  assert chance['text_to_image']['mean_rank'] == 1.5
  lines = (tmp_path / 'retrieval.jsonl').read_text().splitlines()
  assert [json.loads(line)['rank'] for line in lines] == [1, 1, 1, 2, 2, 1]
  assert curves == [found['recall_curve']]
  assert f'wrote {tmp_path / "retrieval.jsonl"}' in capsys.readouterr().out


def test_other_processes_have_nothing_to_measure(vocab, monkeypatch):
  monkeypatch.setattr(retrieval, 'compute_scores', lambda *_: None)
  split = make_split(vocab, OWNER)
  assert retrieval.retrieve(None, split, config_lib.Config()) == ({}, {})


def test_without_a_shortlist_all_compete(vocab):
  config = config_lib.Config(norm_images=3)
  assert retrieval.make_shortlist(make_split(vocab, OWNER), config) is None
