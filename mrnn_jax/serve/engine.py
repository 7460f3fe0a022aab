"""Everything the service computes: photos to features, words, scores.

Each method does many jobs at once and is called by one thread at a time, that
of its batcher; different methods may run beside each other.
"""

from collections.abc import Sequence
import dataclasses
import hashlib
import io

import jax
import numpy as np
from PIL import Image

from mrnn_jax.data.vocabulary import UNK, tokenize
from mrnn_jax.encoders import encode, photos
from mrnn_jax.runtime import parallel, picture_files
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.serve.pool import Pool
from mrnn_jax.serve.readouts import Readouts
from mrnn_jax.serve.search import Found, Searcher
from mrnn_jax.serve.writer import ROWS, Caption, Job, Writer
from mrnn_jax.trained import TrainedModel

THUMBNAIL, PICTURE = 360, 1440
_QUALITY = 80
# Features that are compared at a time.
_COMPARED = 4096
# Photos of a call.
_ENCODED = (1, 8)


@dataclasses.dataclass(frozen=True)
class Pixels:
  """A photo, decoded.

  Attributes:
    square: [S, S, 3] uint8, as the encoder wants it.
    thumbnail: a small JPEG.
    width: of the photo, upright, in pixels.
    height: likewise.
    sha256: of its bytes.
  """

  square: np.ndarray
  thumbnail: bytes
  width: int
  height: int
  sha256: str


class Engine:
  """A trained model and its encoder, ready for requests.

  Attributes:
    model: the trained model.
    encoder: how features are made: 'name' and 'weights'.
    readouts: the parts of the model.
    writer: writes captions.
  """

  def __init__(
    self, model: TrainedModel, beam_size: int = 0, weights: str = ''
  ):
    """Take a model.

    Args:
      model: one that sees images and gives words probabilities.
      beam_size: of searches for captions; 0: as was chosen with the model.
      weights: the encoder's weights file, where no pip package brings it.

    Raises:
      InputError: the model cannot do it, or its encoder is not one of ours.
    """
    model.check_writes()
    model.check_ranks()
    self.model = model
    self._network, self._resize = model.network(weights)
    self.encoder = vars(encode.describe(self._network, self._resize))
    model.check_encoder(self.encoder, 'the encoder at hand')
    self.readouts = Readouts(
      model.model, model.variables, model.norm_features, model.devices[0]
    )
    self.writer = Writer(
      model, self.readouts.variables, beam_size or model.config.beam_size
    )
    self._searcher = Searcher(self.readouts)
    self._params = jax.device_put(self._network.params, model.devices[0])
    self._apply = jax.jit(self._network.apply)
    picture_files.quiet()

  @property
  def vector_size(self) -> int:
    """J, of what the image part gives."""
    D = self.model.dataset['feature_size']
    return self.readouts.image_vectors(np.zeros((0, D))).shape[1]

  def decode(self, data: bytes) -> Pixels:
    """Read a photo from the bytes of its file; any thread may.

    Raises:
      PictureError: it cannot be read; the message is the reason.
    """
    square = self.square(data)
    image = picture_files.decode_rgb(data, THUMBNAIL)
    width, height = picture_files.upright_size(data)
    return Pixels(
      square,
      _jpeg(image, THUMBNAIL),
      width,
      height,
      hashlib.sha256(data).hexdigest(),
    )

  def square(self, data: bytes) -> np.ndarray:
    """Return what the encoder sees of a photo, [S, S, 3] uint8."""
    return photos.decode(data, self._network.image_size, self._resize)

  def encode(self, squares: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the features [D] of photos [S, S, 3] uint8."""
    features = []
    for first in range(0, len(squares), _ENCODED[-1]):
      part = squares[first : first + _ENCODED[-1]]
      size = next(x for x in _ENCODED if x >= len(part))
      batch = parallel.pad_rows(np.stack(part), size)
      result = np.asarray(self._apply(self._params, batch))
      features += list(result[: len(part)])
    return features

  def vectors(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what the model's image part gives [J] of features [D]."""
    return list(self.readouts.image_vectors(np.stack(features)))

  def write(self, jobs: Sequence[Job]) -> list[list[Caption]]:
    """Write captions, see ``Writer.write``."""
    return self.writer.write(jobs)

  def search(
    self, jobs: Sequence[tuple[Pool, Sequence[Sequence[int]], int]]
  ) -> list[Found]:
    """Search for photos: pool, sentences of word ids, and how many; of each."""
    found: dict[int, Found] = {}
    for pool in {id(job[0]): job[0] for job in jobs}.values():
      own = [i for i, job in enumerate(jobs) if job[0] is pool]
      results = self._searcher.search(pool, [jobs[i][1:] for i in own])
      found.update(zip(own, results, strict=True))
    return [found[i] for i in range(len(jobs))]

  def rank(
    self, jobs: Sequence[tuple[Sequence[Sequence[int]], np.ndarray]]
  ) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return log P(w|I) [S, n] and log P(w) [S], for sentences and vectors."""
    return [self._searcher.log_probs(*job) for job in jobs]

  def search_or_rank(self, jobs: Sequence[tuple]) -> list:
    """Do ``search`` and ``rank`` jobs, which share what was computed."""
    results: list = [None] * len(jobs)
    for length, method in ((3, self.search), (2, self.rank)):
      own = [i for i, job in enumerate(jobs) if len(job) == length]
      for i, result in zip(own, method([jobs[i] for i in own]), strict=True):
        results[i] = result
    return results

  def nearest(
    self, features: np.ndarray, rows: np.ndarray, wanted: np.ndarray, k: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows nearest to a feature, and their Euclidean distances.

    Args:
      features: [rows, D], mapped.
      rows: [n] those that count.
      wanted: [D] the feature.
      k: how many, at most.
    """
    squares = np.empty(len(rows))
    for first in range(0, len(rows), _COMPARED):
      part = slice(first, first + _COMPARED)
      difference = features[rows[part]] - wanted
      squares[part] = np.einsum('nd,nd->n', difference, difference)
    best = np.argsort(squares, kind='stable')[:k]
    return best, np.sqrt(squares[best])

  def ids(self, sentence: str) -> list[int]:
    """Return a sentence as word ids, see ``TrainedModel.encode``."""
    return self.model.encode(sentence)

  def unknown(self, sentence: str) -> list[str]:
    """Return the words of a sentence that the model does not know."""
    words = tokenize(sentence)
    ids = self.model.vocabulary.encode(words)
    return [w for w, i in zip(words, ids, strict=True) if i == UNK]

  def prefix(self, words: str) -> tuple[int, ...]:
    """Return given words as ids.

    Raises:
      InputError: one is not known, or they leave no room for another.
    """
    unknown = self.unknown(words)
    if unknown:
      raise InputError(
        f'the model does not know {unknown[0]!r}: begin with other words.'
      )
    ids = tuple(self.model.vocabulary.encode(tokenize(words)))
    if len(ids) >= self.writer.max_words:
      raise InputError(
        f'a caption has at most {self.writer.max_words} words: give fewer to '
        'begin with.'
      )
    return ids

  def text(self, words: Sequence[int]) -> str:
    """Return word ids as text."""
    return ' '.join(self.model.vocabulary.words[i] for i in words)

  def warm_up(self) -> None:
    """Compile what requests need, the likeliest first."""
    vector = np.zeros(self.vector_size, np.float32)
    size = self._network.image_size
    self.encode([np.zeros((size, size, 3), np.uint8)])
    self.write([Job(vector, nbest=2, told=True)])
    self.rank([([self.ids('a')], vector[None])])
    # Whatever number of captions comes together, nobody waits for a compiler.
    for rows in ROWS:
      for nbest, sample in ((1, False), (2, False), (1, True)):
        self.write([Job(vector, nbest=nbest, sample=sample)] * rows)


def picture(data: bytes) -> bytes:
  """Return a photo as a JPEG for the screen, upright.

  Raises:
    PictureError: it cannot be read; the message is the reason.
  """
  return _jpeg(picture_files.decode_rgb(data, PICTURE), PICTURE)


def _jpeg(image: Image.Image, side: int) -> bytes:
  image = image.copy()
  image.thumbnail((side, side))
  buffer = io.BytesIO()
  image.save(buffer, 'JPEG', quality=_QUALITY, optimize=True)
  return buffer.getvalue()
