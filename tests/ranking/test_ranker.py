import jax
import numpy as np
import pytest
from small_models import make, seeing_variants
from table_model import quick_jit

from mrnn_jax import models
from mrnn_jax.data.vocabulary import END, PAD, START
from mrnn_jax.ranking import prefix_tree
from mrnn_jax.ranking import ranker as ranker_lib
from mrnn_jax.runtime import parallel


@pytest.fixture(scope='module')
def model_and_variables():
  model = models.MRNN(
    vocab_size=20,
    feature_size=7,
    embedding_size=5,
    recurrent_size=6,
    multimodal_size=8,
  )
  return model, models.init_variables(model, jax.random.key(0))


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


def naive(model, variables, sentences, features):
  """Every sentence for every image, as a caption of its own."""
  S, N, T = len(sentences), len(features), max(map(len, sentences)) - 1
  tokens, targets = np.full((2, S, T), PAD, np.int32)
  for s, sentence in enumerate(sentences):
    tokens[s, : len(sentence) - 1] = sentence[:-1]
    targets[s, : len(sentence) - 1] = sentence[1:]
  logits = quick_jit(model.apply)(
    variables,
    np.repeat(tokens, N, 0),
    np.tile(features, (S, 1))[:, None],
  )
  log_probs = np.asarray(jax.nn.log_softmax(logits)).reshape(S, N, T, -1)
  chosen = np.take_along_axis(log_probs, targets[:, None, :, None], 3)[..., 0]
  return np.where(targets[:, None] == PAD, 0, chosen).sum(2)


@seeing_variants
def test_factored_is_naive_whatever_the_carry(variant, sentences, features):
  model, variables = make(variant, vocab_size=20)
  ranker = ranker_lib.Ranker(
    model, variables, parallel.local_devices(2), image_block=5, tile_rows=15
  )
  np.testing.assert_allclose(
    ranker.log_probs(sentences, features),
    naive(model, variables, sentences, features),
    rtol=1e-5,
    atol=1e-4,
  )


@pytest.mark.parametrize(
  ('image_block', 'tile_rows', 'num_devices'),
  [(5, 15, 1), (100, 200, 1), (3, 3, 2), (2, 64, 4)],
)
def test_factored_is_naive(
  model_and_variables,
  sentences,
  features,
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
  seen = []
  scores = ranker.log_probs(
    sentences, features, lambda done, total: seen.append((done, total))
  )
  expected = naive(*model_and_variables, sentences, features)
  np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-4)
  assert seen == sorted(seen)
  assert seen[-1][0] == seen[-1][1]


def test_any_number_of_devices_gives_the_same_bits(
  model_and_variables, sentences, features
):
  matrices = [
    ranker_lib.Ranker(
      *model_and_variables,
      devices=parallel.local_devices(n),
      image_block=4,
      tile_rows=12,
    ).log_probs(sentences, features)
    for n in (1, 3)
  ]
  np.testing.assert_array_equal(*matrices)


def test_bfloat16_operands_are_near(model_and_variables, sentences, features):
  exact = ranker_lib.Ranker(*model_and_variables).log_probs(sentences, features)
  ranker = ranker_lib.Ranker(*model_and_variables, dtype='bfloat16')
  rounded = ranker.log_probs(sentences, features)
  assert rounded.dtype == np.float32
  assert 1e-4 < np.abs(rounded - exact).max() < 0.1
  assert 'bfloat16' in ranker.tiling


def test_many_small_trees_are_one_large_one(
  model_and_variables, sentences, features, monkeypatch
):
  whole = ranker_lib.Ranker(*model_and_variables).log_probs(sentences, features)
  monkeypatch.setattr(ranker_lib, '_SENTENCE_BLOCK', 7)
  monkeypatch.setattr(ranker_lib, '_PREFIX_BLOCK', 3)
  monkeypatch.setattr(ranker_lib, '_TILES_PER_CALL', 2)
  parts = ranker_lib.Ranker(*model_and_variables, image_block=4, tile_rows=8)
  np.testing.assert_allclose(
    parts.log_probs(sentences, features), whole, rtol=1e-5, atol=1e-5
  )


def test_going_on_gives_the_same_blocks(
  model_and_variables, sentences, features
):
  ranker = ranker_lib.Ranker(*model_and_variables, image_block=2, tile_rows=8)
  whole = list(ranker.blocks(sentences, features))
  rest = list(ranker.blocks(sentences, features, first=1))
  assert len(rest) == len(whole) - 1
  for (rows, columns, block), (rows2, columns2, block2) in zip(
    rest, whole[1:], strict=True
  ):
    np.testing.assert_array_equal(rows, rows2)
    assert columns == columns2
    np.testing.assert_array_equal(block, block2)


def test_prefix_tree(sentences):
  tree = prefix_tree.PrefixTree.build(sentences)
  prefixes = {tuple(s[:t]) for s in sentences for t in range(1, len(s))}
  assert tree.num_prefixes == len(prefixes)
  edges = {tuple(s[:t]) for s in sentences for t in range(2, len(s) + 1)}
  assert len(tree.edge_word) == len(edges)
  # Walking up from each edge of a sentence's path gives the sentence.
  for s, sentence in enumerate(sentences):
    path = tree.paths[tree.offsets[s] : tree.offsets[s + 1]]
    assert tree.edge_word[path].tolist() == sentence[1:]
    node, words = tree.edge_prefix[path[-1]], []
    while node:
      words.append(int(tree.tokens[node]))
      node = tree.parents[node]
    assert words[::-1] == sentence[1:-1]
  ones = tree.sum_edges(np.ones(len(tree.edge_word)))
  assert ones.tolist() == [len(s) - 1 for s in sentences]


@pytest.mark.parametrize('num_prefixes', [1, 2, 7])
@pytest.mark.parametrize('num_edges', [1, 3, 14])
def test_tiles_hold_every_edge_once(sentences, num_prefixes, num_edges):
  tree = prefix_tree.PrefixTree.build(sentences)
  tiles = prefix_tree.Tiles.cut(tree, num_prefixes, num_edges, 4)
  assert tiles.prefixes.shape[0] % 4 == 0
  there = tiles.edge < len(tree.edge_word)
  assert sorted(tiles.edge[there]) == list(range(len(tree.edge_word)))
  prefix = np.take_along_axis(tiles.prefixes, tiles.edge_slot, 1)[there]
  np.testing.assert_array_equal(prefix, tree.edge_prefix[tiles.edge[there]])
  np.testing.assert_array_equal(
    tiles.edge_word[there], tree.edge_word[tiles.edge[there]]
  )


def test_log_mean_exp():
  log_probs = np.log(np.asarray([[0.5, 0.25], [0.1, 0.3]]))
  np.testing.assert_allclose(
    ranker_lib.log_mean_exp(log_probs), np.log([0.375, 0.2]), rtol=1e-6
  )
  # Far below what float32 can hold as a probability.
  far = ranker_lib.log_mean_exp(np.full((1, 3), -500.0, np.float32))
  np.testing.assert_allclose(far, [-500.0], rtol=1e-6)


def test_equal_sentences_tie_exactly(model_and_variables, sentences, features):
  scores = ranker_lib.Ranker(*model_and_variables).log_probs(
    sentences, features
  )
  np.testing.assert_array_equal(scores[57], scores[58])


@pytest.mark.parametrize('top', [1, 4, 1000])
def test_best_are_those_of_the_matrix(
  model_and_variables, sentences, features, monkeypatch, top
):
  monkeypatch.setattr(ranker_lib, '_SENTENCE_BLOCK', 16)
  ranker = ranker_lib.Ranker(*model_and_variables, image_block=5, tile_rows=15)
  matrix = ranker.log_probs(sentences, features)
  lengths = np.asarray([len(s) - 1 for s in sentences])
  normalizer = ranker.log_mean_probs(sentences, features[:6])
  np.testing.assert_allclose(
    normalizer, ranker_lib.log_mean_exp(matrix[:, :6]), rtol=1e-6
  )
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
