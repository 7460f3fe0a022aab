"""What people call from Python: captions, and photos in whatever form."""

from collections.abc import Callable, Mapping
import dataclasses
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from mrnn_jax import config as config_lib
from mrnn_jax.config.decoding import decode_options
from mrnn_jax.data.vocabulary import UNK, Vocabulary, tokenize
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.decoding.search import Decoded
from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError

if TYPE_CHECKING:
  from mrnn_jax.encoders import encode
  from mrnn_jax.encoders.network import Network


class FromPython:
  """The part of ``TrainedModel`` that takes what people have."""

  vocabulary: Vocabulary
  config: config_lib.Config
  # See ``SeesPhotos``.
  networks: Callable[..., list[tuple['Network', str]]]

  @property
  def encoder_name(self) -> str:
    """The name of the encoder that made the features it was trained on."""
    raise NotImplementedError

  def check_features(self, features: np.ndarray) -> np.ndarray:
    """Return features [N, D] as an array, or raise InputError."""
    raise NotImplementedError

  def check_encoder(self, encoder: Mapping[str, str], source: str) -> None:
    """Raise InputError where features come from another encoder."""
    raise NotImplementedError

  def generate(
    self, features: np.ndarray, options: DecodeOptions, **how: Any
  ) -> Decoded:
    """Write captions [N, K, ...]."""
    raise NotImplementedError

  def caption(
    self,
    features: np.ndarray,
    beam_size: int | None = None,
    length_penalty: float | None = None,
    max_words: int | None = None,
    no_repeat_ngram: int | None = None,
    *,
    nbest: int | None = None,
    beam_groups: int | None = None,
    prefix: str = '',
    sample: bool = False,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
  ) -> list[str] | list[list[str]]:
    """Return the likeliest caption that a beam search finds for each image.

    What is None is as it was chosen with the model.

    Args:
      features: [N, D] raw features.
      beam_size: hypotheses kept; 1: the most probable word each time.
      length_penalty: scores are divided by length to this power.
      max_words: words a caption may have at most.
      no_repeat_ngram: no so many words in a row twice; 0: no such rule.
      nbest: so many captions of each image, best first, fewer where there are
        no more; the beam grows to hold them, unless its size is given.
      beam_groups: groups of the beam that are kept different.
      prefix: words that every caption begins with.
      sample: draw words at random, instead of searching.
      temperature: of sampling; below 1 is bolder.
      top_k: sample among so many likeliest words; 0: all.
      top_p: sample among the likeliest words that hold this probability.
      seed: of sampling.

    Returns:
      N captions, or with ``nbest`` N lists of captions.

    Raises:
      InputError: no caption of an image keeps to these, or one is for sampling
        and nothing is sampled.
    """
    sampling = {
      'temperature': temperature,
      'top_k': top_k,
      'top_p': top_p,
      'sample_seed': seed,
    }
    given = {
      'beam_size': beam_size,
      'length_penalty': length_penalty,
      'max_words': max_words,
      'no_repeat_ngram': no_repeat_ngram,
      'nbest': nbest,
      'beam_groups': beam_groups,
      'sample': sample,
      **sampling,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if not sample and (idle := sorted(given.keys() & sampling.keys())):
      raise InputError(f'{", ".join(idle)} is for sampling: add sample=True.')
    if beam_size is None:
      values = {**dataclasses.asdict(self.config), **given}
      given['beam_size'] = config_lib.wide_enough(values)
    config = self.config.replace(**given)
    words = tokenize(prefix)
    ids = self.vocabulary.encode(words)
    if UNK in ids:
      unknown = [w for w, i in zip(words, ids, strict=True) if i == UNK]
      print(
        f'note: the model does not know {", ".join(unknown)}', file=sys.stderr
      )
    features = self.check_features(features)
    decoded = self.generate(
      features,
      decode_options(config),
      prefixes=[ids] * len(features),
      seed=config.sample_seed,
    )
    if (decoded.log_probs[:, 0] == -np.inf).any():
      raise InputError(
        'there is an image of which no caption keeps to min_words and '
        'no_repeat_ngram: lower them.'
      )
    captions = [
      [
        ' '.join([*words, *(self.vocabulary.words[i] for i in row[:length])])
        for row, length, log_prob in zip(*hypotheses, strict=True)
        if log_prob > -np.inf
      ]
      for hypotheses in zip(
        decoded.words, decoded.lengths, decoded.log_probs, strict=True
      )
    ]
    return captions if nbest is not None else [best for best, *_ in captions]

  def encode_photos(
    self, photos: Any, weights: str = ''
  ) -> tuple[list[str], np.ndarray]:
    """Encode photos as those were that the model was trained on.

    Args:
      photos: a folder, a photo, photos separated by commas, or a text file with
        one path a line, as text or a path; a picture of Pillow or an array
        [H, W, 3] of uint8; or a list of paths and pictures.
      weights: the encoder's weights file, where no pip package brings it.

    Returns:
      The names of the N photos that can be read, and their features [N, D];
      the others are named on stderr.

    Raises:
      InputError: none can be read, or the encoder is not one of ours.
    """
    encoded = self.encode_all(photos, weights)
    if encoded.unreadable and parallel.is_first():
      from mrnn_jax.encoders import photos as photos_lib

      reasons = photos_lib.reasons(encoded.unreadable)
      print(f'note: photos that cannot be read: {reasons}', file=sys.stderr)
    return encoded.ids, self.check_features(encoded.features)

  def encode_all(self, photos: Any, weights: str = '') -> 'encode.Encoded':
    """Encode photos, and return also which cannot be read, and why.

    Args:
      photos: see ``encode_photos``.
      weights: see ``encode_photos``.

    Raises:
      InputError: none can be read, or the encoder is not one of ours.
    """
    # Here, as many have features and no photos.
    from mrnn_jax.encoders import encode

    encoded = encode.encode_given(photos, self.networks(weights))
    self.check_encoder(vars(encoded.encoder), 'what encodes photos here')
    return encoded
