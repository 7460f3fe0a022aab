"""Ranking by a joint embedding: the cosine of each sentence and each image.

Letters: S sentences, N images, J the common space.
"""

from collections.abc import Iterable, Iterator, Sequence
import functools

import jax
import numpy as np

from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.models import Model, Variables, compiled
from mrnn_jax.ranking.best_items import Block, Ranking, Vectors, best_of_both
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
    arithmetic: in what numbers it computes; others give other scores.
    tiling: how the work is cut; the same tiling gives the same bits.
  """

  arithmetic = 'cosine'

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
    self.tiling = f'{image_block}'
    self._image_block = image_block
    variables = jax.device_put(variables, devices[0])

    self._image, self._sentence = (
      functools.partial(compiled.part(model, method), variables)
      for method in ('image', 'sentence')
    )

  def rank(
    self,
    sentences: Sequence[Sentence],
    features: Vectors,
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
    features: Vectors,
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
    cuts = list(self._cuts(S, N))[first:]
    for rows, columns, block in self._computed(sentences, features, cuts):
      yield rows, columns, block
      if progress:
        progress(int(rows[0]) * N + len(rows) * columns.stop, S * N)

  def num_blocks(self, S: int, N: int) -> int:
    """Return how many blocks S sentences and N images make."""
    return -(-S // _SENTENCE_BLOCK) * -(-N // self._image_block)

  def true_scores(
    self,
    sentences: Sequence[Sentence],
    features: Vectors,
    owner: np.ndarray,
    progress: Progress | None = None,
    everywhere: bool = False,
  ) -> np.ndarray:
    """Return the cosine of each sentence and one image, as ``blocks`` has it.

    Args:
      sentences: S sentences of word ids.
      features: [N, D] raw features, an array or what slices like one.
      owner: [S] the image of each sentence.
      progress: called with the sentences done, and S.
      everywhere: as for ``blocks``.
    """
    true, done = np.empty(len(sentences), np.float32), 0

    def there(rows: np.ndarray, columns: slice) -> np.ndarray:
      mine = owner[rows]
      return (mine >= columns.start) & (mine < columns.stop)

    cuts = self._cuts(len(sentences), len(features))
    needed = [cut for cut in cuts if there(*cut).any()]
    for rows, columns, block in self._computed(sentences, features, needed):
      mine = np.flatnonzero(there(rows, columns))
      true[rows[mine]] = block[mine, owner[rows[mine]] - columns.start]
      done += len(mine)
      if progress:
        progress(done, len(sentences))
    return true

  def _cuts(self, S: int, N: int) -> Iterator[tuple[np.ndarray, slice]]:
    """Yield the blocks: numbers of sentences, and images."""
    for start in range(0, S, _SENTENCE_BLOCK):
      rows = np.arange(start, min(start + _SENTENCE_BLOCK, S))
      for begin in range(0, N, self._image_block):
        yield rows, slice(begin, min(begin + self._image_block, N))

  def _computed(
    self,
    sentences: Sequence[Sentence],
    features: Vectors,
    cuts: Iterable[tuple[np.ndarray, slice]],
  ) -> Iterator[Block]:
    """Yield some blocks, those of the same sentences one after another."""
    embedded, texts = None, None
    for rows, columns in cuts:
      if embedded is not rows:
        embedded, texts = rows, self._embed([sentences[s] for s in rows])
      yield rows, columns, texts @ self._embed_images(features[columns]).T

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
