"""Ranking by a joint embedding: the cosine of each sentence and each image.

Letters: S sentences, N images, J the common space.
"""

from collections.abc import Iterator, Sequence
import functools

import jax
import numpy as np

from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.models import Model, Variables
from mrnn_jax.ranking.best_items import Block, Ranking, best_of_both
from mrnn_jax.ranking.prefix_tree import Sentence
from mrnn_jax.ranking.ranker import Progress
from mrnn_jax.runtime import parallel

# Sentences that are embedded together, and that wait for all images: bounds
# the memory.
_SENTENCE_BLOCK = 4096
_EMBEDDED = 512
# Sentences are filled up to a multiple of so many words, so that few programs
# are compiled.
_WORDS = 32


class EmbeddingRanker:
  """Ranks with one joint embedding; see ``Ranker`` for its like.

  Products of vectors are so small beside what a language model does that every
  process makes them all, on its first device.

  Attributes:
    tiling: how the work is cut; the same tiling gives the same bits.
  """

  unit = 'pairs'

  def __init__(
    self,
    model: Model,
    variables: Variables,
    devices: list[jax.Device] | None = None,
    image_block: int = 100,
  ):
    """Place a model.

    Args:
      model: a ``JointEmbedding``.
      variables: its variables.
      devices: the first one is used; of all local ones by default.
      image_block: images taken at a time.
    """
    devices = devices or parallel.local_devices()
    self.tiling = f'{image_block} cosine'
    self._image_block = image_block
    variables = jax.device_put(variables, devices[0])

    def apply(method, inputs):
      return model.apply(variables, inputs, method=method)

    self._image = jax.jit(functools.partial(apply, 'image'))
    self._sentence = jax.jit(functools.partial(apply, 'sentence'))

  def rank(
    self,
    sentences: Sequence[Sequence[int]],
    features: np.ndarray,
    top: int = 10,
    progress: Progress | None = None,
  ) -> Ranking:
    """Return the best sentences of each image and images of each sentence.

    Args:
      sentences: S sentences of word ids.
      features: [N, D] raw features, an array or what slices like one.
      top: how many to return for each query, at most.
      progress: called with pairs of a sentence and an image done, and in all.
    """
    return best_of_both(
      self.blocks(sentences, features, progress),
      len(sentences),
      len(features),
      top,
      lambda rows, block: block,
    )

  def blocks(
    self,
    sentences: Sequence[Sentence],
    features: np.ndarray,
    progress: Progress | None = None,
    first: int = 0,
    everywhere: bool = False,
  ) -> Iterator[Block]:
    """Yield the matrix of cosines in blocks, as ``Ranker.blocks``.

    Args:
      sentences: S sentences of word ids.
      features: [N, D] raw features, an array or what slices like one.
      progress: as for ``rank``.
      first: the number of blocks to leave out, which were done before.
      everywhere: whether all processes call this; each makes them all.
    """
    S, N = len(sentences), len(features)
    number = 0
    for start in range(0, S, _SENTENCE_BLOCK):
      rows = np.arange(start, min(start + _SENTENCE_BLOCK, S))
      texts = None
      for begin in range(0, N, self._image_block):
        columns = slice(begin, min(begin + self._image_block, N))
        number += 1
        if number <= first:
          continue
        if texts is None:
          texts = self._embed([sentences[s] for s in rows.tolist()])
        images = self._embed_images(features[columns])
        yield rows, columns, texts @ images.T
        if progress:
          progress(start * N + len(rows) * columns.stop, S * N)

  def _embed(self, sentences: Sequence[Sentence]) -> np.ndarray:
    """Return vectors [s, J] of sentences."""
    words = -(-max(map(len, sentences)) // _WORDS) * _WORDS
    vectors = []
    for first in range(0, len(sentences), _EMBEDDED):
      part = sentences[first : first + _EMBEDDED]
      tokens = np.full((_EMBEDDED, words), PAD, np.int32)
      for row, sentence in zip(tokens, part, strict=False):
        row[: len(sentence)] = sentence
      vectors.append(np.asarray(self._sentence(tokens))[: len(part)])
    return np.concatenate(vectors)

  def _embed_images(self, features: np.ndarray) -> np.ndarray:
    """Return vectors [n, J] of raw features [n, D]."""
    rows = parallel.pad_rows(np.asarray(features), self._image_block)
    return np.asarray(self._image(rows))[: len(features)]
