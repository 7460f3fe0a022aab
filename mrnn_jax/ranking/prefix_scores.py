"""What a tree of prefixes costs: the language path, and words after a prefix.

Letters: P distinct prefixes, C what language gives, V vocabulary.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import numpy as np

from mrnn_jax.models import Model
from mrnn_jax.ranking.prefix_tree import PrefixTree
from mrnn_jax.runtime import parallel


def prefix_contexts(
  tree: PrefixTree,
  language_step: Callable[[Any, np.ndarray], tuple[Any, jax.Array]],
  initial_carry: Any,
  block: int,
) -> np.ndarray:
  """Run the language path once per prefix, level by level.

  Args:
    tree: P prefixes.
    language_step: a model's: carry [block, ...], tokens [block] -> the new
      carry, and what language gives [block, C].
    initial_carry: a model's, of one row.
    block: prefixes at a time.

  Returns:
    [P, C] float32.
  """
  P = tree.num_prefixes
  carries = jax.tree.map(
    lambda x: np.empty((P, *x.shape[1:]), x.dtype), initial_carry
  )

  def put(rows, values, count):
    leaves = jax.tree.leaves(carries), jax.tree.leaves(values)
    for all_rows, x in zip(*leaves, strict=True):
      all_rows[rows] = x[:count]

  # The first prefix, ##START## alone, is its own parent.
  put(slice(0, 1), initial_carry, 1)
  contexts = np.empty((0, 0), np.float32)
  for start, stop in zip(tree.levels, tree.levels[1:], strict=False):
    for first in range(start, stop, block):
      part = slice(first, min(first + block, stop))
      parents = jax.tree.map(lambda x, p=part: x[tree.parents[p]], carries)
      rows = parallel.pad_rows((parents, tree.tokens[part]), block)
      carry, context = language_step(*rows)
      count = part.stop - part.start
      put(part, carry, count)
      if not len(contexts):
        contexts = np.empty((P, context.shape[-1]), np.float32)
      contexts[part] = context[:count]
  return contexts


def words_of_images(model: Model, fused: bool) -> Callable[..., Any]:
  """Return what gives log P of words after prefixes, for several images.

  Args:
    model: the model.
    fused: whether by the kernel of ``models.fused_readout``.

  Returns:
    Its variables, what language gives of prefixes [B, C], image vectors [N, J],
    which prefix [n] and which word [n] -> [N, n] natural logarithms.
  """
  if fused:
    return functools.partial(model.apply, method='fused_word_log_probs')

  def words(variables, language, images, slot, word):
    return jax.vmap(
      lambda image: model.apply(
        variables, language, image, slot, word, method='word_log_probs'
      )
    )(images)

  return words
