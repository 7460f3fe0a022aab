"""What goes into the API and comes out of it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Feature = Annotated[list[float], Field(min_length=1, max_length=65536)]
Sentence = Annotated[str, Field(min_length=1, max_length=500)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]

MAX_SENTENCES, MAX_FOUND = 200, 500
MAX_QUERY = 8


class _Strict(BaseModel):
  """What has a name that nobody knows is refused, not passed over."""

  model_config = ConfigDict(extra='forbid')


class Images(_Strict):
  """Photos of a request, beside those that are sent as files."""

  photos: list[Name] = Field([], description='Names of indexed photos.')
  features: list[Feature] = Field(
    [], description="Features of photos, made by the model's encoder."
  )


class CaptionsIn(Images):
  """What captions are wanted."""

  nbest: int = Field(3, ge=1, description='Captions of each photo.')
  prefix: str = Field(
    '', max_length=500, description='Words that every caption begins with.'
  )
  sample: bool = Field(False, description='Draw words instead of searching.')
  temperature: float = Field(
    1.0, ge=0.05, le=5, description='Of sampling: below 1 is bolder.'
  )
  seed: int = Field(0, ge=0, lt=2**31, description='Of sampling.')
  words: bool = Field(
    False,
    description="Tell each word's probability, and what else could be there.",
  )
  return_features: bool = Field(
    False, description='Return the features, to send them instead of a photo.'
  )


class Other(BaseModel):
  """A word that could stand at a place."""

  word: str = Field(description="'' for the end of the caption.")
  probability: float


class Word(BaseModel):
  """A word of a caption; the last one, '', is its end."""

  word: str
  probability: float = Field(
    description='Given the photo and the words before.'
  )
  others: list[Other] = Field(description='The likeliest words there.')


class Caption(BaseModel):
  """A caption of a photo."""

  caption: str
  log_prob: float = Field(
    description='log P(caption | photo), natural logarithm, the end included.'
  )
  perplexity: float
  cut: bool = Field(description='Whether it has not come to its end.')
  words: list[Word] | None = None


class PhotoCaptions(BaseModel):
  """The captions of a photo, best first."""

  photo: str
  nbest: list[Caption]
  feature: list[float] | None = None


class CaptionsOut(BaseModel):
  """The captions of all photos."""

  captions: list[PhotoCaptions]


class RankingsIn(Images):
  """What is to be ranked."""

  sentences: list[Sentence] = Field(min_length=1, max_length=MAX_SENTENCES)


class RankedSentence(BaseModel):
  """A sentence for a photo."""

  sentence: str
  score: float = Field(
    description='log P(w|I) / P(w), or -log PPL of a model without P(w).'
  )
  log_prob: float
  perplexity: float
  unknown: list[str] = Field(description='Words that the model does not know.')


class PhotoRanking(BaseModel):
  """The sentences for a photo, best first."""

  photo: str
  sentences: list[RankedSentence]


class RankedPhoto(BaseModel):
  """A photo for a sentence."""

  photo: str
  score: float = Field(description='log P(w|I).')


class SentenceRanking(BaseModel):
  """The photos for a sentence, best first."""

  sentence: str
  photos: list[RankedPhoto]


class RankingsOut(BaseModel):
  """Both ways."""

  rankings: list[PhotoRanking]
  sentences: list[SentenceRanking]


class Hit(BaseModel):
  """A photo that was found."""

  photo: str
  score: float = Field(
    description='log P(sentence | photo); of several sentences their sum.'
  )
  gain: float | None = Field(
    description='log P(w|I) / P(w): how much likelier than for any photo; null '
    'of a model without P(w).'
  )
  caption: str
  width: int
  height: int


class SearchOut(BaseModel):
  """Photos for sentences, best first."""

  results: list[Hit]
  unknown: list[str] = Field(description='Words that the model does not know.')
  searched: int = Field(description='Photos that were searched.')
  seconds: float = Field(description='That the search took, waiting included.')


class NeighborsIn(Images):
  """One photo, and how many of its neighbours are wanted."""

  limit: int = Field(12, ge=1, le=MAX_FOUND)


class Neighbor(BaseModel):
  """An indexed photo near another one."""

  photo: str
  distance: float = Field(description='Euclidean, of the raw features.')
  caption: str
  width: int
  height: int


class NeighborsOut(BaseModel):
  """The nearest first."""

  results: list[Neighbor]


class Listed(BaseModel):
  """An indexed photo."""

  photo: str
  caption: str
  log_prob: float
  width: int
  height: int


class PhotosOut(BaseModel):
  """Indexed photos in the order of their names."""

  photos: list[Listed]
  total: int


class Unreadable(BaseModel):
  """A file that is no photo."""

  photo: str
  reason: str


class IndexOut(BaseModel):
  """How far the index is."""

  phase: str = Field(description='starting, looking, indexing, ready, failed')
  indexed: int = Field(description='Photos that can be searched.')
  total: int = Field(description='Files in the folder that may be photos.')
  todo: int = Field(description='Files that are still to be looked at.')
  seconds_left: float | None
  unreadable: list[Unreadable] = Field(description='The first ones.')
  num_unreadable: int
  error: str
  folder: str = Field(description='The name of the folder.')
  max_photos: int
  max_upload_mb: int
  max_nbest: int
  samples: int = Field(description='Captions that can be drawn at once.')


class HealthOut(BaseModel):
  """That the service is there."""

  status: str
  indexed: int
  total: int
