import numpy as np
import pytest

from mrnn_jax.data.vocabulary import END, START
from mrnn_jax.ranking.prefix_tree import PrefixTree, Tiles

# The prefixes are #, #4, #7, #45, #46; the words after them 4 and 7, 5 and 6,
# ##END##, ##END##, ##END##.
FORK = [[START, 4, 5, END], [START, 4, 6, END], [START, 7, END]]


@pytest.fixture(scope='module')
def sentences():
  rng = np.random.default_rng(0)
  drawn = [
    [START, *rng.integers(3, 8, rng.integers(1, 6)), END] for _ in range(57)
  ]
  # One twice, and one that is the beginning of another.
  return [*drawn, [START, 4, END], [START, 4, END], [START, 4, 5, END]]


def test_tree_by_hand():
  tree = PrefixTree.build(FORK)
  assert tree.num_prefixes == 5
  assert tree.tokens.tolist() == [START, 4, 7, 5, 6]
  assert tree.parents.tolist() == [0, 0, 0, 1, 1]
  # Nothing is as long as a whole sentence: its ##END## leads nowhere.
  assert tree.levels.tolist() == [0, 1, 3, 5, 5]
  assert tree.edge_prefix.tolist() == [0, 0, 1, 1, 2, 3, 4]
  assert tree.edge_word.tolist() == [4, 7, 5, 6, END, END, END]
  assert tree.paths.tolist() == [0, 2, 5, 0, 3, 6, 1, 4]
  assert tree.offsets.tolist() == [0, 3, 6, 8]
  values = np.array([1, 2, 4, 8, 16, 32, 64])
  assert tree.sum_edges(values).tolist() == [37, 73, 18]
  both = tree.sum_edges(np.stack([values, 10 * values], axis=1))
  assert both.tolist() == [[37, 370], [73, 730], [18, 180]]
  assert tree.sum_edges(values, np.array([2, 0])).tolist() == [18, 37]


def test_a_sentence_may_begin_another():
  tree = PrefixTree.build([[START, 4, END], [START, 4, END, END], [START, END]])
  assert tree.tokens.tolist() == [START, 4, END]
  assert tree.parents.tolist() == [0, 0, 1]
  assert tree.edge_word.tolist() == [END, 4, END, END]


def test_tree_holds_every_sentence(sentences):
  tree = PrefixTree.build(sentences)
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


def test_tiles_by_hand():
  tiles = Tiles.cut(PrefixTree.build(FORK), 2, 3, 2)
  # Full of edges; then of prefixes; and one that makes the number even.
  assert tiles.prefixes.tolist() == [[0, 1], [1, 2], [3, 4], [0, 0]]
  assert tiles.edge.tolist() == [[0, 1, 2], [3, 4, 7], [5, 6, 7], [7, 7, 7]]
  assert tiles.edge_slot[:3].tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 0]]
  assert tiles.edge_word[:3].tolist() == [[4, 7, 5], [6, END, 0], [END, END, 0]]


def test_tiles_that_hold_some_edges():
  tiles = Tiles.cut(PrefixTree.build(FORK), 2, 3, 1).holding(
    np.array([6, 0, 5]), 7, 4
  )
  assert tiles.prefixes.tolist() == [[0, 1], [3, 4], [0, 0], [0, 0]]
  assert tiles.edge.tolist() == [[0, 1, 2], [5, 6, 7], [7, 7, 7], [7, 7, 7]]
  assert tiles.edge_slot[:2].tolist() == [[0, 0, 1], [0, 1, 0]]
  assert tiles.edge_word[:2].tolist() == [[4, 7, 5], [END, END, 0]]


def test_tiles_and_empty_ones():
  tiles = Tiles.cut(PrefixTree.build(FORK), 2, 3, 1)
  more = tiles.padded(7, 4)
  assert more.prefixes.tolist() == [*tiles.prefixes.tolist(), [0, 0]]
  assert more.edge.tolist() == [*tiles.edge.tolist(), [7, 7, 7]]


@pytest.mark.parametrize('num_prefixes', [1, 2, 7])
@pytest.mark.parametrize('num_edges', [1, 3, 14])
def test_tiles_hold_every_edge_once(sentences, num_prefixes, num_edges):
  tree = PrefixTree.build(sentences)
  tiles = Tiles.cut(tree, num_prefixes, num_edges, 4)
  assert tiles.prefixes.shape[0] % 4 == 0
  there = tiles.edge < len(tree.edge_word)
  assert sorted(tiles.edge[there]) == list(range(len(tree.edge_word)))
  # Of the added tiles at most three are empty.
  assert there.any(axis=1).sum() > tiles.prefixes.shape[0] - 4
  prefix = np.take_along_axis(tiles.prefixes, tiles.edge_slot, 1)[there]
  np.testing.assert_array_equal(prefix, tree.edge_prefix[tiles.edge[there]])
  np.testing.assert_array_equal(
    tiles.edge_word[there], tree.edge_word[tiles.edge[there]]
  )
