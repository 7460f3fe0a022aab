"""The one record type, and what every reader returns."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Record:
  """An image and its sentences: one record of the dataset.

  Attributes:
    image_id: the image's name as the captions spell it.
    captions: its sentences as people wrote them, at least one.
  """

  image_id: str
  captions: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Oddity:
  """Something in the raw data that is worth a line in the report.

  Attributes:
    what: what is odd, read before a count ('images in no split').
    names: the images or lines that are concerned.
  """

  what: str
  names: tuple[str, ...]

  @property
  def count(self) -> int:
    """How many images or lines are concerned."""
    return len(self.names)

  def __str__(self) -> str:
    first = ', '.join(self.names[:3])
    more = ', ...' if self.count > 3 else ''
    return f'{self.what}: {self.count:,} ({first}{more})'


@dataclasses.dataclass
class RawDataset:
  """What a reader found, before any check.

  Attributes:
    captions: image id -> its sentences, in the order of the files.
    splits: 'train', 'validation', 'test' -> image ids in the order of the
      list files, spelled as in ``captions`` where the image has any.
    oddities: what the reader had to step over.
    seed: the seed that decided about a split cut by chance, or None.
    note: what was decided about the splits, for the report, or ''.
  """

  captions: dict[str, list[str]]
  splits: dict[str, list[str]]
  oddities: list[Oddity] = dataclasses.field(default_factory=list)
  seed: int | None = None
  note: str = ''
