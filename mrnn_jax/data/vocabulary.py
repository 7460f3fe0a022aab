"""The tokenisation rule, and words <-> ids."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import re
import unicodedata

PAD, START, END, UNK = 0, 1, 2, 3
SPECIAL_WORDS = ('##PAD##', '##START##', '##END##', '##UNK##')

# U+2011 and the full-width and small hyphens become one of these by NFKD.
_SPACES = re.compile(r'[-\u2010\s]')
_DROPPED = re.compile(r'[^a-z0-9 ]')


def tokenize(text: str) -> list[str]:
  """Split a caption into words.

  Unicode NFKD, combining marks dropped, lower case; hyphens and white space
  separate words; every other character outside ``a-z0-9`` is dropped.

  Args:
    text: a caption as people wrote it.

  Returns:
    Its words; an empty list if nothing of it is left.
  """
  text = unicodedata.normalize('NFKD', text).lower()
  # Lower-casing can compose again ('I' with a dot above), hence marks last.
  text = ''.join(c for c in text if not unicodedata.combining(c))
  return _DROPPED.sub('', _SPACES.sub(' ', text)).split()


def count_words(captions: Iterable[str]) -> dict[str, int]:
  """Count the words of captions; most frequent first, ties alphabetical."""
  counts: dict[str, int] = {}
  for caption in captions:
    for word in tokenize(caption):
      counts[word] = counts.get(word, 0) + 1
  return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """Words and their ids: id 0 to 3 are ``SPECIAL_WORDS``.

  Attributes:
    words: [V] all words by id, the special ones included.
  """

  words: tuple[str, ...]
  _ids: Mapping[str, int] = dataclasses.field(
    init=False, repr=False, compare=False
  )

  def __post_init__(self):
    if self.words[: len(SPECIAL_WORDS)] != SPECIAL_WORDS:
      raise ValueError(f'A vocabulary begins with {SPECIAL_WORDS}.')
    ids = {word: i for i, word in enumerate(self.words)}
    if len(ids) != len(self.words):
      raise ValueError('A vocabulary names a word twice.')
    object.__setattr__(self, '_ids', ids)

  @classmethod
  def from_counts(
    cls, counts: Mapping[str, int], min_count: int
  ) -> 'Vocabulary':
    """Keep the words seen at least ``min_count`` times in training."""
    kept = sorted(
      (word for word, n in counts.items() if n >= min_count),
      key=lambda word: (-counts[word], word),
    )
    return cls(SPECIAL_WORDS + tuple(kept))

  def extended(self, words: Iterable[str]) -> 'Vocabulary':
    """Return these words and, behind them, those of others that are new."""
    new = (word for word in words if word not in self._ids)
    return Vocabulary((*self.words, *new))

  def __len__(self) -> int:
    return len(self.words)

  def encode(self, words: Sequence[str]) -> list[int]:
    """Return the ids of words, ``UNK`` for those not in the vocabulary."""
    return [self._ids.get(word, UNK) for word in words]

  def encode_caption(self, caption: str) -> list[int]:
    """Return the ids of ``##START## w1 ... ##END##`` for a raw caption."""
    return [START, *self.encode(tokenize(caption)), END]

  def decode(self, ids: Iterable[int]) -> str:
    """Join the words of ids up to ``##END##``, start and padding left out."""
    words = []
    for i in ids:
      if i == END:
        break
      if i not in (PAD, START):
        words.append(self.words[i])
    return ' '.join(words)
