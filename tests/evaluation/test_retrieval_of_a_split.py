"""Retrieval of a split: ranked, kept as a matrix or as counts, and written."""

import json

import numpy as np
import pytest
from ranked_lists import image_lists, sentence_lists
from small_pools import DRAWN, OWNER, PROBS, draw, logs, make_split, tally_of

from mrnn_jax import config as config_lib
from mrnn_jax.evaluation import retrieval, tally_store
from mrnn_jax.runtime.errors import InputError


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
  assert model.asked == (7, 77, 'float32', 'auto')
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
  monkeypatch.setattr(tally_store, '_SHARE', 0)
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
