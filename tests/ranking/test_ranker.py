import types
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
from small_models import make

from mrnn_jax.data.vocabulary import END, START
from mrnn_jax.models.fused_readout import trial
from mrnn_jax.ranking import edge_scores
from mrnn_jax.ranking import ranker as ranker_lib
from mrnn_jax.runtime import parallel

TILING = {'image_block': 5, 'tile_rows': 15}


@pytest.fixture(scope='module')
def model_and_variables():
  return make(('m-rnn', {}), vocab_size=20)


@pytest.fixture(scope='module')
def sentences():
  rng = np.random.default_rng(0)
  drawn = [
    [START, *rng.integers(3, 8, rng.integers(1, 6)), END] for _ in range(57)
  ]
  # One twice, and one that is the beginning of another.
  return [*drawn, [START, 4, END], [START, 4, END], [START, 4, 5, END]]


@pytest.fixture(scope='module')
def features():
  return np.random.default_rng(1).normal(size=(13, 7)).astype(np.float32)


@pytest.fixture(scope='module')
def ranker(model_and_variables):
  """For all that need not be compiled anew."""
  return ranker_lib.Ranker(
    *model_and_variables, devices=parallel.local_devices(1), **TILING
  )


@pytest.fixture(scope='module')
def matrix(ranker, sentences, features):
  return ranker.log_probs(sentences, features)


@pytest.fixture(scope='module')
def expected(model_and_variables, sentences, features):
  return by_hand(model_and_variables[1], sentences, features)


def by_hand(variables, sentences, features, rounded=lambda x: x):
  """Log P(sentence | image) by the equations of section 3.2, in float64.

  Operands of the softmax's product are rounded by ``rounded``.
  """
  as_double = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
  params, statistics = as_double['params'], as_double['statistics']
  V_w, V_r, V_I = (
    params[f'multimodal_{of}']['kernel']
    for of in ('word', 'recurrent', 'image')
  )
  image = (features - statistics['mean']) / statistics['std']
  image = np.clip(image, -5, 5) @ V_I
  kernel = rounded(params['softmax']['kernel'])
  scores = np.zeros((len(sentences), len(features)))
  for s, sentence in enumerate(sentences):
    r = np.zeros(len(V_r))
    for word, target in zip(sentence, sentence[1:], strict=False):
      w = params['embedding_1']['embedding'][word]
      w = w @ params['embedding_2']['kernel'] + params['embedding_2']['bias']
      r = np.maximum(r @ params['recurrent'] + w, 0)
      m = 1.7159 * np.tanh((w @ V_w + r @ V_r + image) * 2 / 3)
      logits = rounded(m) @ kernel + params['softmax']['bias']
      scores[s] += logits[:, target] - np.log(np.exp(logits).sum(-1))
  return scores


def test_the_matrix_is_that_of_the_equations(matrix, expected):
  assert matrix.dtype == np.float32
  np.testing.assert_allclose(matrix, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
  ('image_block', 'tile_rows', 'num_devices'),
  [(100, 200, 1), (3, 2, 2), (2, 64, 4)],
)
def test_tiling_changes_nothing_but_rounding(
  model_and_variables,
  sentences,
  features,
  expected,
  image_block,
  tile_rows,
  num_devices,
):
  ranker = ranker_lib.Ranker(
    *model_and_variables,
    devices=parallel.local_devices(num_devices),
    image_block=image_block,
    tile_rows=tile_rows,
  )
  scores = ranker.log_probs(sentences, features)
  np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
  assert ranker.tiling == f'{image_block} x {tile_rows}'
  assert ranker.arithmetic == 'float32'


def test_the_kernel_changes_nothing_but_rounding(
  model_and_variables, sentences, features, expected
):
  ranker = ranker_lib.Ranker(
    *model_and_variables, parallel.local_devices(2), fused='on', **TILING
  )
  scores = ranker.log_probs(sentences, features)
  np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
  # Others' scores are not to go on from.
  assert ranker.arithmetic == 'float32, fused'


def test_any_number_of_devices_gives_the_same_bits(
  model_and_variables, sentences, features
):
  with quick.users_compiler():
    one, three = (
      ranker_lib.Ranker(
        *model_and_variables, devices=parallel.local_devices(n), **TILING
      ).log_probs(sentences, features)
      for n in (1, 3)
    )
  np.testing.assert_array_equal(one, three)


def test_bfloat16_rounds_the_operands_and_nothing_else(
  model_and_variables, sentences, features, expected
):
  """Beside a product of rounded operands that is summed in float64."""
  ranker = ranker_lib.Ranker(
    *model_and_variables, parallel.local_devices(1), dtype='bfloat16', **TILING
  )
  scores = ranker.log_probs(sentences, features)
  assert scores.dtype == np.float32
  rounded = by_hand(
    model_and_variables[1],
    sentences,
    features,
    lambda x: x.astype(np.float32).astype(jnp.bfloat16).astype(np.float64),
  )
  # m(t) itself has the rounding of float32, by which one number in 10,000
  # falls on the other side: a step of bfloat16, 2^-7 of 1.7 at most.
  kernel = np.abs(model_and_variables[1]['params']['softmax']['kernel']).max()
  gap = np.abs(scores - rounded)
  assert np.mean(gap < 2e-5) > 0.98
  assert gap.max() < 2 * 1.7 * 2**-7 * kernel
  # And it is no small thing: hardly a score is that of exact operands.
  assert np.mean(np.abs(expected - rounded) < 2e-5) < 0.1


@pytest.mark.parametrize(
  ('dtype', 'platform', 'result'),
  [
    ('auto', 'cpu', 'float32'),
    ('auto', 'gpu', 'bfloat16'),
    ('auto', 'tpu', 'bfloat16'),
    ('float32', 'gpu', 'float32'),
    ('bfloat16', 'cpu', 'bfloat16'),
  ],
)
def test_type_of_the_operands(dtype, platform, result):
  devices = [types.SimpleNamespace(platform=platform)]
  assert ranker_lib.operand_dtype(dtype, devices) == result


@pytest.mark.parametrize(
  ('tile_rows', 'platform', 'result'),
  [(0, 'cpu', 500), (0, 'gpu', 16384), (0, 'tpu', 16384), (7, 'gpu', 7)],
)
def test_rows_of_a_tile(tile_rows, platform, result):
  devices = [types.SimpleNamespace(platform=platform)]
  assert ranker_lib.tile_rows_on(tile_rows, devices) == result


class Device(typing.NamedTuple):
  platform: str


@pytest.mark.parametrize(
  ('platform', 'precision', 'expected'),
  [
    ('cpu', 'highest', 'float32'),
    ('cpu', 'default', 'float32'),  # All are the same there.
    ('gpu', 'default', 'bfloat16 at default, fused'),
    ('tpu', 'default', 'bfloat16 at default'),
  ],
)
def test_arithmetic_is_what_makes_other_scores(
  model_and_variables, monkeypatch, platform, precision, expected
):
  monkeypatch.setattr(parallel, 'replicate', lambda tree, _: tree)
  monkeypatch.setattr(ranker_lib, 'edges_fn', lambda *_: None)
  monkeypatch.setattr(trial, 'works_on', lambda _: True)
  model, variables = model_and_variables
  devices = [Device(platform)]
  ranker = ranker_lib.Ranker(
    model.clone(precision=precision), variables, devices, **TILING
  )
  assert ranker.arithmetic == expected


def test_many_small_trees_are_one_large_one(
  model_and_variables, sentences, features, expected, monkeypatch
):
  monkeypatch.setattr(ranker_lib, '_SENTENCE_BLOCK', 7)
  monkeypatch.setattr(edge_scores, '_PREFIX_BLOCK', 3)
  monkeypatch.setattr(edge_scores, '_PREFIXES_PER_CALL', 4)
  parts = ranker_lib.Ranker(*model_and_variables, image_block=4, tile_rows=8)
  seen = []
  scores = parts.log_probs(sentences, features, lambda *x: seen.append(x))
  np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
  # Neighbours in alphabetical order are in one tree.
  order = sorted(sentences)
  trees = [order[i : i + 7] for i in range(0, len(order), 7)]
  prefixes = sum(
    len({tuple(s[:t]) for s in tree for t in range(1, len(s))})
    for tree in trees
  )
  assert {total for _, total in seen} == {13 * prefixes}
  done = [x for x, _ in seen]
  assert done == sorted(done)
  assert done[-1] == 13 * prefixes
  # Within the four blocks of images of a tree too.
  assert len(set(done)) > 4 * len(trees)


def test_blocks_are_of_images_and_go_on_anywhere(
  ranker, sentences, features, matrix
):
  whole = list(ranker.blocks(sentences, features))
  assert [(x.start, x.stop) for _, x, _ in whole] == [(0, 5), (5, 10), (10, 13)]
  for rows, columns, block in whole:
    assert sorted(rows) == list(range(len(sentences)))
    np.testing.assert_array_equal(block, matrix[rows, columns])
  for first in (1, 3):
    rest = list(ranker.blocks(sentences, features, first=first))
    assert len(rest) == 3 - first
    for (rows, columns, block), (rows2, columns2, block2) in zip(
      rest, whole[first:], strict=True
    ):
      np.testing.assert_array_equal(rows, rows2)
      assert columns == columns2
      np.testing.assert_array_equal(block, block2)


def test_progress_of_what_is_left(ranker, sentences, features):
  prefixes = len({tuple(s[:t]) for s in sentences for t in range(1, len(s))})
  seen = []
  list(ranker.blocks(sentences, features, lambda *x: seen.append(x), first=2))
  assert seen[-1] == (13 * prefixes, 13 * prefixes)
  assert all(10 * prefixes <= done for done, _ in seen)


def test_equal_sentences_tie_exactly(matrix):
  np.testing.assert_array_equal(matrix[57], matrix[58])


def test_log_mean_exp():
  log_probs = np.log(np.asarray([[0.5, 0.25], [0.1, 0.3]]))
  np.testing.assert_allclose(
    ranker_lib.log_mean_exp(log_probs), np.log([0.375, 0.2]), rtol=1e-6
  )
  # Far below what float32 can hold as a probability.
  far = ranker_lib.log_mean_exp(np.full((1, 3), -500.0, np.float32))
  np.testing.assert_allclose(far, [-500.0], rtol=1e-6)


def test_mean_probability_of_images_in_blocks(
  ranker, sentences, features, expected
):
  found = ranker.log_mean_probs(sentences, features)
  assert found.dtype == np.float32
  np.testing.assert_allclose(
    found, np.log(np.exp(expected).mean(1)), rtol=1e-5, atol=1e-5
  )


def test_ten_are_returned_unless_more_are_asked_for(
  ranker, sentences, features
):
  ranking = ranker.rank(sentences, features)
  assert ranking.sentences.shape == (13, 10)
  assert ranking.images.shape == (60, 10)


@pytest.mark.parametrize('top', [1, 4, 1000])
def test_best_are_those_of_the_matrix(
  ranker, sentences, features, matrix, monkeypatch, top
):
  monkeypatch.setattr(ranker_lib, '_SENTENCE_BLOCK', 16)
  lengths = np.asarray([len(s) - 1 for s in sentences])
  normalizer = np.linspace(-30, 0, len(sentences), dtype=np.float32)
  for given, scores in (
    (None, matrix / lengths[:, None].astype(np.float32)),
    (normalizer, matrix - normalizer[:, None]),
  ):
    ranking = ranker.rank(sentences, features, given, top)
    order = np.argsort(-scores.T, axis=1, kind='stable')[:, :top]
    np.testing.assert_array_equal(ranking.sentences, order)
    np.testing.assert_array_equal(
      ranking.sentence_scores, np.take_along_axis(scores.T, order, 1)
    )
    order = np.argsort(-matrix, axis=1, kind='stable')[:, :top]
    np.testing.assert_array_equal(ranking.images, order)
    np.testing.assert_array_equal(
      ranking.image_scores, np.take_along_axis(matrix, order, 1)
    )


def test_few_sentences_are_not_many_empty_tiles():
  found = [edge_scores.tiles_a_call(n, 64) for n in (1, 2, 3, 5, 7, 9, 25, 99)]
  assert found == [2, 2, 3, 6, 8, 12, 32, 64]
  assert edge_scores.tiles_a_call(9, 4) == 4


def test_true_scores_have_the_bits_of_the_matrix(
  ranker, sentences, features, matrix, monkeypatch
):
  monkeypatch.setattr(edge_scores, '_PREFIXES_PER_CALL', 4)
  rng = np.random.default_rng(3)
  # Two images have no sentence.
  owner = rng.choice(np.delete(np.arange(13), [4, 11]), len(sentences))
  told = []
  true = ranker.true_scores(
    sentences, features, owner, lambda *x: told.append(x)
  )
  assert true.dtype == np.float32
  np.testing.assert_array_equal(true, matrix[np.arange(len(owner)), owner])
  assert told[-1] == (60, 60)


def test_trees_are_built_one_at_a_time(
  ranker, sentences, features, monkeypatch
):
  monkeypatch.setattr(ranker_lib, '_SENTENCE_BLOCK', 16)
  built = []

  class Counted(edge_scores.EdgeScores):
    def __init__(self, ranker, tree):
      built.append(len(tree.offsets) - 1)
      super().__init__(ranker, tree)

  monkeypatch.setattr(ranker_lib, 'EdgeScores', Counted)
  blocks = ranker.blocks(sentences, features)
  sizes = []
  for _, columns, _ in blocks:
    if columns.start == 0:
      sizes.append(len(built))
  assert sizes == [1, 2, 3, 4] and built == [16, 16, 16, 12]
