"""Photos -> features: ``encode_photos(photos.find_all(DIR), network)``."""

from collections.abc import Iterator, Sequence
import dataclasses
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from mrnn_jax import encoders
from mrnn_jax.data.feature_files.table import TUNED, Encoder
from mrnn_jax.encoders import photos
from mrnn_jax.encoders import views as views_lib
from mrnn_jax.runtime import progress
from mrnn_jax.runtime.errors import InputError

if TYPE_CHECKING:
  import jax


# How the default encoder is called where features tell what made them.
DEFAULT = 'efficientnet_lite0, squash to 224 x 224'


@dataclasses.dataclass(frozen=True)
class Encoded:
  """What came of some photos.

  Attributes:
    ids: N names of those that could be read, in the order given.
    features: [N, D] float32.
    unreadable: name and reason of each of the others.
    encoder: how the features were made; a dataset stores it, a model compares.
  """

  ids: list[str]
  features: np.ndarray
  unreadable: list[tuple[str, str]]
  encoder: Encoder


def describe(network: encoders.Network, resize: str) -> Encoder:
  """Return what is written down about features: network, size, resize, file."""
  size = network.image_size
  tuned = TUNED if network.tuned else ''
  return Encoder(
    f'{network.name}, {resize} to {size} x {size}{tuned}', network.weights
  )


def parse_description(description: str) -> tuple[str, str]:
  """Return encoder and resize of what ``describe`` called the features.

  Args:
    description: the name of an ``Encoder``.

  Returns:
    A name of ``ENCODERS`` and one of ``RESIZES``; two empty strings if the
    features were made elsewhere.
  """
  pattern = r'(\w+), (\w+) to (\d+) x \3'
  match = re.fullmatch(pattern, description)
  if not match or match[1] not in encoders.ENCODERS:
    return '', ''
  return (match[1], match[2]) if match[2] in photos.RESIZES else ('', '')


def encode_photos(
  found: Sequence[photos.Photo],
  network: encoders.Network,
  resize: str = 'squash',
  batch_size: int = 0,
) -> Encoded:
  """Encode photos, in memory, with progress.

  Args:
    found: the photos, see ``photos.find_all``.
    network: the CNN, see ``encoders.load``.
    resize: 'squash' for whole photos or 'center_crop' for their middles.
    batch_size: photos at a time; 0 for what suits the machine.

  Returns:
    Their features; a photo that cannot be read does not stop the others.
  """
  rows: list[np.ndarray] = []
  ids: list[str] = []
  unreadable: list[tuple[str, str]] = []
  batches = encode_batches(found, network, resize, batch_size)
  for features, reasons in batches:
    for feature, reason in zip(features, reasons, strict=True):
      name = found[len(ids) + len(unreadable)].id
      if reason:
        unreadable.append((name, reason))
      else:
        ids.append(name)
        rows.append(feature)
  features = np.asarray(rows, np.float32).reshape(-1, network.feature_size)
  return Encoded(ids, features, unreadable, describe(network, resize))


def encode_given(
  where: Any, networks: Sequence[tuple[encoders.Network, str]]
) -> Encoded:
  """Encode the photos that somebody gives.

  Args:
    where: the photos, see ``photos.given``.
    networks: a CNN and its resize, see ``encode_photos``; of several the
      features are put together.

  Raises:
    InputError: no photo can be read.
  """
  found = photos.given(where)
  encoded: list[Encoded] = []
  for network, resize in networks:
    encoded.append(encode_photos(found, network, resize))
    if not encoded[0].ids:
      raise InputError(
        f'none of the {len(found):,} photos can be read: '
        f'{photos.reasons(encoded[0].unreadable)}.'
      )
  return _together(encoded)


def _together(parts: Sequence[Encoded]) -> Encoded:
  """Put together what several encoders made of the same photos."""
  if len(parts) == 1:
    return parts[0]
  # A photo that changes meanwhile may be readable once.
  readable = [set(part.ids) for part in parts]
  ids = [name for name in parts[0].ids if all(name in x for x in readable)]
  rows = [{name: i for i, name in enumerate(part.ids)} for part in parts]
  features = np.concatenate(
    [
      part.features[[row[name] for name in ids]]
      for part, row in zip(parts, rows, strict=True)
    ],
    axis=1,
  )
  unreadable = {name: why for part in parts for name, why in part.unreadable}
  encoder = Encoder.joined([part.encoder for part in parts])
  return Encoded(ids, features, list(unreadable.items()), encoder)


def default_batch_size(network: encoders.Network) -> int:
  """Return how many photos at a time suit the machine."""
  import jax  # Late: it is for encoding alone, and slow to import.

  if jax.default_backend() == 'cpu':
    return network.cpu_batch_size
  return 64


def encode_batches(
  found: Sequence[photos.Photo],
  network: encoders.Network,
  resize: str,
  batch_size: int,
  done: int = 0,
  part: bool = False,
  num_processes: int = 0,
  num_views: int = 1,
) -> Iterator[tuple[np.ndarray, list[str]]]:
  """Encode photos in batches of one compiled shape.

  Args:
    found: the photos.
    network: the CNN.
    resize: see ``encode_photos``.
    batch_size: see ``encode_photos``.
    done: how many photos, the first ones, to leave out.
    part: whether they are a part of more, of which another tells: batches are
      as large as those of all.
    num_processes: see ``photos.read_all``.
    num_views: K, see ``views.views_of``.

  Yields:
    For each batch float32 features [b, D], of several views [b, K, D], and b
    reasons, '' where the photo could be read; the feature of another photo
    means nothing.
  """
  import jax

  batch_size = batch_size or default_batch_size(network)
  if not part:
    batch_size = min(batch_size, len(found))
  size = network.image_size
  apply = jax.jit(network.apply)
  params = jax.device_put(network.params)
  rest = found[done:]
  views = [views_lib.views_of(photo.id, num_views) for photo in rest]
  images = photos.read_all(
    [photo.source for photo in rest],
    size,
    resize,
    num_processes=num_processes,
    views=views if num_views > 1 else None,
  )
  if not part:
    images = progress.track(
      images, len(found), f'encode by {network.name}', 'photos', done
    )
  images = iter(images)
  waiting = None
  for first in range(done, len(found), batch_size):
    batch = np.zeros((batch_size, num_views, size, size, 3), np.uint8)
    reasons = []
    for i in range(min(batch_size, len(found) - first)):
      image = next(images)
      if isinstance(image, photos.PhotoError):
        reasons.append(str(image))
      else:
        reasons.append('')
        batch[i] = image
    # While these are computed, the next ones are gathered.
    computing = (
      [apply(params, jax.device_put(view)) for view in batch.swapaxes(0, 1)],
      reasons,
    )
    if waiting:
      yield _fetch(*waiting)
    waiting = computing
  if waiting:
    yield _fetch(*waiting)
  # Let the progress line come to its end.
  next(images, None)


def _fetch(views: 'list[jax.Array]', reasons: list[str]):
  """Wait for a batch and cut off the rows without a photo."""
  features = np.stack([np.asarray(x)[: len(reasons)] for x in views], axis=1)
  return features[:, 0] if len(views) == 1 else features, reasons
