import numpy as np
import pytest

from mrnn_jax.data.vocabulary import END, START
from mrnn_jax.ranking import prefix_scores
from mrnn_jax.ranking.prefix_tree import PrefixTree


@pytest.mark.parametrize('block', [1, 2, 3, 100])
def test_language_is_read_once_per_prefix(block):
  """A carry that spells the words read, and how many they were."""
  tree = PrefixTree.build(
    [[START, 4, 5, 6, END], [START, 4, 6, END], [START, 7, 8, END]]
  )
  read = []

  def language_step(carry, tokens):
    assert tokens.shape == carry['count'].shape == (block,)
    spelt = carry['spelt'] * 10 + tokens[:, None]
    count = carry['count'] + 1
    read.extend(spelt[:, 0].astype(int).tolist())
    context = np.stack([spelt[:, 0], count], axis=1)
    return {'spelt': spelt, 'count': count}, context

  start = {
    'spelt': np.full((1, 1), 9.0, np.float32),
    'count': np.zeros(1, np.int32),
  }
  contexts = prefix_scores.prefix_contexts(tree, language_step, start, block)
  # What came before ##START## is the 9, ##START## itself the 1.
  spelt = [91, 914, 917, 9145, 9146, 9178, 91456]
  assert contexts[:, 0].tolist() == spelt
  assert contexts[:, 1].tolist() == [1, 2, 2, 3, 3, 3, 4]
  assert contexts.dtype == np.float32
  assert [x for x in read if x in spelt] == spelt
