"""The retrieval protocols, by numbers made by hand and by plain NumPy."""

import json
import math
import statistics

import numpy as np
import pytest
from ranked_lists import image_lists, sentence_lists

from mrnn_jax import config as config_lib
from mrnn_jax.data import datasets
from mrnn_jax.evaluation import retrieval, tally_store
from mrnn_jax.evaluation import scores as scores_lib
from mrnn_jax.evaluation.tally import Tally
from mrnn_jax.metrics import score_matrix
from mrnn_jax.runtime.errors import InputError

# P(sentence | image) of two images with two sentences each, and of three
# training images.
PROBS = np.array([[0.5, 0.25], [0.1, 0.2], [0.4, 0.4], [0.01, 0.02]])
DRAWN = np.array(
  [[0.5, 0.5, 0.2], [0.05, 0.1, 0.15], [0.8, 0.8, 0.2], [1e-3, 2e-3, 3e-3]]
)
LENGTHS = np.array([1, 2, 4, 25])
OWNER = np.array([0, 0, 1, 1])


def logs(values):
  return np.log(values).astype(np.float32)


def scores_of(probs=PROBS, drawn=DRAWN, lengths=LENGTHS, owner=OWNER):
  true = scores_lib.true_of_matrix(logs(probs), owner)
  return scores_lib.LogProbabilities(owner, true, lengths, logs(drawn))


def tally_of(
  probs=PROBS, drawn=DRAWN, lengths=LENGTHS, owner=OWNER, shortlist=None
):
  scores = scores_of(probs, drawn, lengths, owner)
  blocks = scores_lib.of_matrix(logs(probs))
  return Tally(scores, shortlist).add_all(blocks)


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


class FakeModel:
  """Looks probabilities up: a feature's first number says of which image.

  Three sentences and an image a block.
  """

  tiling, arithmetic, unit, writes = '1 x 2', 'of numbers', 'pairs', True

  def __init__(self, probs=PROBS, drawn=DRAWN):
    self.asked, self.stop_at, self.computed = None, None, []
    self.trues = 0
    self._table = logs(np.concatenate([probs, drawn], axis=1))
    self._shape = probs.shape

  def ranker(self, *how):
    self.asked = how
    return self

  def identity(self):
    return 'a table'

  def drawn_features(self, count):
    assert count <= self._table.shape[1] - self._shape[1]
    return np.asarray([[100 + k, 0] for k in range(count)], np.float32)

  def num_blocks(self, S, N):
    return -(-S // 3) * N

  def true_scores(self, sentences, features, owner, progress, everywhere):
    assert everywhere
    self.trues += 1
    progress(1, 1)
    return self._table[np.arange(len(sentences)), owner]

  def blocks(self, sentences, features, progress, first, everywhere):
    assert everywhere
    order = np.arange(len(sentences))[::-1]
    cuts = [
      (order[s : s + 3], slice(i, i + 1))
      for s in range(0, len(order), 3)
      for i in range(len(features))
    ]
    for number, (rows, columns) in enumerate(cuts):
      if number < first:
        continue
      image = int(features[columns][0, 0])
      self.computed.append((len(features), number))
      if self.stop_at == (len(features), number):
        raise KeyboardInterrupt
      column = image if image < 100 else image - 100 + self._shape[1]
      yield rows, columns, self._table[rows, column, None]
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
  tally = retrieval.take(model, split, config)
  assert model.asked == (7, 77, 'float32')
  folder = tmp_path / 'scores'
  np.testing.assert_allclose(
    np.exp(np.load(folder / 'test_images.npy')), PROBS, rtol=1e-5
  )
  names = {'test_images.npy'}
  if norm_images:
    names.add('test_norm.npy')
    np.testing.assert_allclose(
      np.exp(np.load(folder / 'test_norm.npy')), DRAWN[:, :2], rtol=1e-5
    )
  assert {x.name for x in folder.glob('*.npy')} == names
  # One word and ##END##.
  lengths = np.array([2, 2, 2, 2])
  expected = tally_of(drawn=DRAWN[:, :norm_images], lengths=lengths)
  assert tally.measures() == expected.measures()
  assert list(tally.lines(split)) == list(expected.lines(split))


def drawn_pool(vocab, shortlist):
  """A pool with ties, a model of it, and what plain NumPy says of it."""
  probs, drawn, lengths, owner = draw()
  probs[3] = probs[5]
  drawn[3] = drawn[5]
  split = make_split(vocab, owner)
  probs = probs.astype(np.float32)
  return FakeModel(probs, drawn), split, (probs, drawn, split.lengths, owner)


@pytest.mark.parametrize('shortlist', [0, 2])
def test_without_the_matrix_all_is_the_same(vocab, tmp_path, shortlist):
  found = {}
  for keep in ('yes', 'no'):
    model, split, _ = drawn_pool(vocab, shortlist)
    config = config_lib.Config(
      workdir=str(tmp_path / keep),
      norm_images=31,
      shortlist=shortlist,
      keep_matrix=keep,
    )
    near = retrieval.make_shortlist(split, config)
    tally = retrieval.take(model, split, config, near)
    found[keep] = tally.measures(), list(tally.lines(split))
    assert model.trues == (keep == 'no')
  assert found['yes'] == found['no']
  names = {x.name for x in (tmp_path / 'no/scores').iterdir()}
  assert names == {'test_norm.npy', 'test_norm.json', 'test_counts.npz'}


def test_ranks_without_the_matrix_are_those_of_sorted_lists(vocab, tmp_path):
  model, split, (probs, drawn, lengths, owner) = drawn_pool(vocab, 0)
  config = config_lib.Config(
    workdir=str(tmp_path), norm_images=31, keep_matrix='no'
  )
  lines = list(retrieval.take(model, split, config).lines(split))
  ratios = logs(probs) - logs(drawn.mean(1))[:, None]
  assert [x['rank'] for x in lines[:4]] == [
    1 + x.index(True) for x in sentence_lists(ratios, owner)
  ]
  assert [x['rank'] for x in lines[4:]] == [
    1 + x.index(True) for x in image_lists(logs(probs), owner)
  ]


def test_counting_goes_on_where_it_stopped(
  vocab, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(tally_store, '_SECONDS', 0)
  model, split, _ = drawn_pool(vocab, 0)
  config = config_lib.Config(
    workdir=str(tmp_path / 'w'), norm_images=31, keep_matrix='no'
  )
  whole = retrieval.take(
    model, split, config.replace(workdir=str(tmp_path / 'v'))
  )
  model, _, _ = drawn_pool(vocab, 0)
  model.stop_at = (4, 7)
  with pytest.raises(KeyboardInterrupt):
    retrieval.take(model, split, config)
  model.computed.clear()
  model.stop_at = None
  model.tiling = '1 x 9'
  with pytest.raises(
    InputError, match='--rank_image_block=1 --rank_tile_rows=2'
  ):
    retrieval.take(model, split, config)
  model.tiling = '1 x 2'
  tally = retrieval.take(model, split, config)
  assert [x for x in model.computed if x[0] == 4] == [
    (4, number) for number in range(7, 20)
  ]
  assert model.trues == 1
  assert tally.measures() == whole.measures()
  assert list(tally.lines(split)) == list(whole.lines(split))
  # What is whole serves again, however it was cut.
  model.computed.clear()
  model.tiling = '1 x 9'
  again = retrieval.take(model, split, config)
  assert 'not counted again' in capsys.readouterr().out
  assert model.computed == [] and again.measures() == whole.measures()
  # Of other scores it is begun anew.
  model.arithmetic = 'of other numbers'
  retrieval.take(model, split, config)
  assert model.trues == 2


def test_a_damaged_file_of_counts_is_begun_anew(vocab, tmp_path):
  model, split, _ = drawn_pool(vocab, 0)
  config = config_lib.Config(
    workdir=str(tmp_path), norm_images=31, keep_matrix='no'
  )
  whole = retrieval.take(model, split, config).measures()
  path = tmp_path / 'scores/test_counts.npz'
  content = path.read_bytes()
  for damaged in (b'', content[:-40], content[:100], b'PK' + content[:-5]):
    path.write_bytes(damaged)
    before = model.trues
    assert retrieval.take(model, split, config).measures() == whole
    assert model.trues == before + 1


def test_a_matrix_is_kept_while_it_is_small(vocab, tmp_path, monkeypatch):
  monkeypatch.setattr(retrieval, 'KEPT_BYTES', 4 * 4 * 2)
  split = make_split(vocab, OWNER)
  config = config_lib.Config(workdir=str(tmp_path), norm_images=0)
  retrieval.take(FakeModel(), split, config)
  assert (tmp_path / 'scores/test_images.npy').exists()
  # One that is there is taken, whatever its size.
  monkeypatch.setattr(retrieval, 'KEPT_BYTES', 0)
  model = FakeModel()
  retrieval.take(model, split, config.replace(keep_matrix='no'))
  assert model.computed == []
  other = config.replace(workdir=str(tmp_path / 'other'))
  retrieval.take(FakeModel(), split, other)
  assert not (tmp_path / 'other/scores/test_images.npy').exists()


def test_a_score_that_is_not_finite_is_refused(vocab, tmp_path):
  probs = PROBS.copy()
  probs[2, 0] = 0
  split = make_split(vocab, OWNER)
  for keep in ('yes', 'no'):
    config = config_lib.Config(
      workdir=str(tmp_path / keep), norm_images=0, keep_matrix=keep
    )
    with (
      np.errstate(divide='ignore'),
      pytest.raises(InputError, match='sentence 2 for image 0 is -inf'),
    ):
      retrieval.take(FakeModel(probs), split, config)


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
  monkeypatch.setattr(retrieval, 'take', lambda *_: None)
  split = make_split(vocab, OWNER)
  assert retrieval.retrieve(None, split, config_lib.Config()) == ({}, {})


def test_without_a_shortlist_all_compete(vocab):
  config = config_lib.Config(norm_images=3)
  assert retrieval.make_shortlist(make_split(vocab, OWNER), config) is None
