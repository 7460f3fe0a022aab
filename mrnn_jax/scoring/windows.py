"""A block of records made ready for the device: what its pairs share."""

from collections.abc import Sequence
import dataclasses
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax.data.image_names import AmbiguousNameError
from mrnn_jax.data.vocabulary import Vocabulary, tokenize
from mrnn_jax.scoring.images import ImageLookup
from mrnn_jax.scoring.pair_scorer import PairPlan, PairScorer
from mrnn_jax.scoring.records import BadRecord, Block, Record

# A longer sentence is none: the language path goes word by word.
MAX_WORDS = 1000


@dataclasses.dataclass(frozen=True)
class Window:
  """A block of records, made ready for the device.

  Attributes:
    records: those that can be scored.
    bad: those that cannot.
    position: bytes of the shard's input that were read up to here.
    tokens: [S] the distinct sentences as word ids.
    pairs: [pairs, 2] sentence and image of every sentence of every record.
    features: [N, D] raw features of the distinct images.
    plans: of the pairs.
  """

  records: Sequence[Record]
  bad: Sequence[dict[str, Any]]
  position: int
  tokens: Sequence[Sequence[int]]
  pairs: np.ndarray
  features: np.ndarray
  plans: Sequence[PairPlan]


class WindowMaker:
  """Makes windows of blocks, for one model and its images."""

  def __init__(
    self, vocabulary: Vocabulary, images: ImageLookup, scorer: PairScorer
  ):
    """Take what words, features and plans come from."""
    self._vocabulary, self._images, self._scorer = vocabulary, images, scorer

  def make(
    self, path: epath.Path, block: Block, scored: bool = False
  ) -> Window:
    """Tokenise a block, look its images up, and plan its scoring.

    Args:
      path: the file that it is of.
      block: the block.
      scored: whether it is scored already, and wants no plans.
    """
    gathered = _Gathered(self._vocabulary, self._images)
    bad = []
    for record in block.records:
      reason = gathered.add(record)
      if reason is not None:
        bad.append({'file': str(path), 'line': record.line, 'reason': reason})
    tokens = list(gathered.numbers)
    pairs = np.asarray(gathered.pairs, np.int64).reshape(-1, 2)
    plans = []
    if len(pairs) and not scored:
      plans = self._scorer.plan(tokens, pairs)
    return Window(
      records=gathered.records,
      bad=bad,
      position=block.position,
      tokens=tokens,
      pairs=pairs,
      features=np.asarray(gathered.features, np.float32),
      plans=plans,
    )


class _Gathered:
  """The sound records of a block, with their sentences and images by number."""

  def __init__(self, vocabulary: Vocabulary, images: ImageLookup):
    self._vocabulary, self._lookup = vocabulary, images
    self.records: list[Record] = []
    self.pairs: list[tuple[int, int]] = []
    self.features: list[np.ndarray] = []
    # Word ids -> number of the sentence.
    self.numbers: dict[tuple[int, ...], int] = {}
    self._images: dict[str, int] = {}
    self._sentences: dict[str, int] = {}

  def add(self, record: Record | BadRecord) -> str | None:
    """Take a record in, or say why it cannot be."""
    if isinstance(record, BadRecord):
      return record.reason
    if record.image_id not in self._images:
      try:
        feature = self._lookup.get(record.image_id)
      except KeyError:
        return f'names {record.image_id[:80]!r}, which has no feature'
      except AmbiguousNameError as error:
        return f'names {record.image_id[:80]!r}, which could be {error.fits}'
      if not np.isfinite(feature).all():
        return f'names {record.image_id[:80]!r}, whose feature is not finite'
      self._images[record.image_id] = len(self.features)
      self.features.append(feature)
    image = self._images[record.image_id]
    here = []
    for text in record.sentences:
      if text not in self._sentences:
        words = tokenize(text)
        if not words:
          return f'has {text[:80]!r}, which has no word'
        if len(words) > MAX_WORDS:
          return f'has a sentence of more than {MAX_WORDS:,} words'
        ids = tuple(self._vocabulary.encode_caption(text))
        number = self.numbers.setdefault(ids, len(self.numbers))
        self._sentences[text] = number
      here.append((self._sentences[text], image))
    self.records.append(record)
    self.pairs.extend(here)
    return None
