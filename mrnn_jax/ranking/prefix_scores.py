"""What a tree of prefixes costs: the language path, and words after a prefix.

Letters: N images, P distinct prefixes, R recurrent, M multimodal, V vocabulary.
"""

from collections.abc import Callable

import jax
import numpy as np

from mrnn_jax.models.mrnn import MRNN
from mrnn_jax.ranking.prefix_tree import PrefixTree
from mrnn_jax.runtime import parallel


def edge_log_probs(
  readout: Callable[[jax.Array], jax.Array],
  images: jax.Array,
  contexts: jax.Array,
  edge_slot: jax.Array,
  edge_word: jax.Array,
) -> jax.Array:
  """Return log P(word | prefix, image) of a tile's edges for all images.

  Args:
    readout: [..., M] --> logits [..., V].
    images: [N, M] the images' vectors.
    contexts: [prefixes, M] the prefixes' vectors.
    edge_slot: [edges] which prefix.
    edge_word: [edges] which word.

  Returns:
    [N, edges] natural logarithms.
  """

  def one_image(image):
    logits = readout(contexts + image)  # [prefixes, V]
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    return logits[edge_slot, edge_word] - normalizer[edge_slot]

  return jax.vmap(one_image)(images)


def prefix_contexts(
  tree: PrefixTree,
  language_step: Callable[..., tuple[jax.Array, jax.Array]],
  model: MRNN,
  block: int,
) -> np.ndarray:
  """Run the language path once per prefix, level by level.

  Args:
    tree: P prefixes.
    language_step: (carry [block, R], tokens [block]) -> (carry, V_w w + V_r r).
    model: whose path it is.
    block: prefixes at a time.

  Returns:
    [P, M] float32.
  """
  P = tree.num_prefixes
  carries = np.zeros((P, model.recurrent_size), np.float32)
  contexts = np.empty((P, model.multimodal_size), np.float32)
  for start, stop in zip(tree.levels, tree.levels[1:], strict=False):
    for first in range(start, stop, block):
      part = slice(first, min(first + block, stop))
      rows = parallel.pad_rows(
        (carries[tree.parents[part]], tree.tokens[part]), block
      )
      carry, context = language_step(*rows)
      carries[part] = carry[: part.stop - part.start]
      contexts[part] = context[: part.stop - part.start]
  return contexts
