"""A trained model, ready to use: captions and rankings from features.

import mrnn_jax
model = mrnn_jax.load()            # the pretrained one, or load(workdir)
model.caption(features)            # features [N, D] -> N sentences
model.log_prob(features, ['a dog runs'])
model.rank(features, sentences)
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import hashlib
import sys
from typing import TYPE_CHECKING, Any

from etils import epath
import jax
import numpy as np

from mrnn_jax import config as config_lib
from mrnn_jax import (
  model_description,
  model_inputs,
  models,
  stored_calibration,
  stored_ensemble,
  stored_model,
)
from mrnn_jax.data.feature_files.table import Encoder
from mrnn_jax.data.vocabulary import Vocabulary, tokenize
from mrnn_jax.decoding import generate as generate_lib
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.decoding.search import Decoded
from mrnn_jax.from_python import FromPython
from mrnn_jax.photo_model import SeesPhotos
from mrnn_jax.ranking.best_items import Ranking
from mrnn_jax.ranking.embedding_ranker import EmbeddingRanker
from mrnn_jax.ranking.ranker import Progress, Ranker
from mrnn_jax.runtime import files, parallel
from mrnn_jax.runtime.errors import InputError

if TYPE_CHECKING:
  from mrnn_jax.data import datasets


@dataclasses.dataclass(frozen=True)
class TrainedModel(FromPython, SeesPhotos):
  """A model of a workdir, with everything that it takes along.

  Attributes:
    model: the model's functions.
    variables: parameters and feature statistics.
    vocabulary: its words.
    norm_features: [K, D] raw features of training images drawn by seed, to
      estimate P(w) with; any first ones of them are a draw too.
    config: how it was trained, and what was chosen with it.
    dataset: what it was trained on: name, fingerprint, feature_size, encoder.
    step: training steps taken.
    devices: where to run.
    stored_config: the fixed fields as the model was stored with them.
    calibration: what the confidence of its captions is computed from.
    ensemble: of several models put together: their 'mean' and 'members'.
    encoder: the blocks of its encoder that were trained with it, if any.
    base_encoder: what these are changed from; else what ``dataset`` tells.
  """

  model: models.Model
  variables: models.Variables
  vocabulary: Vocabulary
  norm_features: np.ndarray
  config: config_lib.Config
  dataset: dict[str, Any]
  step: int
  devices: list[jax.Device]
  stored_config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  calibration: Mapping[str, Any] | None = None
  ensemble: Mapping[str, Any] | None = None
  encoder: Mapping[str, Any] | None = None
  base_encoder: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @classmethod
  def load(
    cls,
    path: epath.PathLike | Sequence[epath.PathLike],
    devices: list[jax.Device] | None = None,
    mean: str = 'arithmetic',
    weights: str = '',
  ) -> 'TrainedModel':
    """Load a model, or several as one.

    Args:
      path: a workdir, whose best model is taken, or a file that ``save`` wrote;
        or several, as a list or separated by commas, of which the mean of the
        word probabilities is taken.
      devices: where to run; all local ones by default.
      mean: 'arithmetic' or 'geometric', where there are several.
      weights: of each in the mean, '1,1,2'; '': all alike.

    Raises:
      InputError: there is no model, it cannot be read, or several do not go
        together.
    """
    stored = stored_ensemble.read(path, mean, weights)
    description = stored.description
    config = config_lib.complete(config_lib.Given(), description, str(path))
    vocabulary = Vocabulary(tuple(description['vocabulary']))
    dataset = description['dataset']
    variables = dict(stored.variables)
    encoder = variables.pop('encoder', None)
    base_encoder = dataset['encoder']
    if encoder:
      # Here, as most models have none.
      from mrnn_jax.encoders import fine_tuning

      changed = fine_tuning.changed(Encoder(**base_encoder), encoder)
      dataset = {**dataset, 'encoder': dataclasses.asdict(changed)}
    model = cls(
      model=model_description.create(description, str(path)),
      variables=variables,
      vocabulary=vocabulary,
      norm_features=stored.norm_features,
      config=config,
      dataset=dataset,
      step=description['step'],
      stored_config=description['config'],
      ensemble=description.get('ensemble'),
      devices=devices or parallel.local_devices(),
      encoder=encoder,
      base_encoder=base_encoder,
    )
    calibration = stored_calibration.of_model(description, model.identity())
    return dataclasses.replace(model, calibration=calibration)

  def save(self, path: epath.PathLike, norm_images: int = 300) -> None:
    """Write the model to one file of half precision, to give to others.

    Args:
      path: its name, which must end in ``.npz``.
      norm_images: how many of the training images' features go along, to
        estimate P(w) from.
    """
    fixed = dict(self.stored_config) or self.config.fixed()
    remembered = self.config.remembered()
    # Of this machine alone.
    del remembered['data_dir']
    for name in ('init_from', 'teacher'):
      if fixed.get(name):
        paths = files.split_paths(fixed[name])
        fixed[name] = ','.join(epath.Path(path).name for path in paths)
    norm_features = self.norm_features[:norm_images]
    description = model_description.describe(
      fixed,
      remembered,
      self.vocabulary.words,
      {**self.dataset, 'encoder': self.base_encoder or self.dataset['encoder']},
      step=self.step,
      **({'ensemble': self.ensemble} if self.ensemble else {}),
      **stored_calibration.carried(self.calibration, len(norm_features)),
    )
    encoder = {'encoder': self.encoder} if self.encoder else {}
    stored = stored_model.StoredModel(
      description, {**self.variables, **encoder}, norm_features
    )
    stored_model.write(path, stored)

  def log_prob(
    self, features: np.ndarray, sentences: Sequence[str]
  ) -> np.ndarray:
    """Return log P(sentence | image) [N, S], natural logarithms (section 4).

    Args:
      features: [N, D] raw features.
      sentences: S sentences as people write them.

    Raises:
      InputError: the model does not see images or gives words no probability,
        or a sentence has no word.
    """
    self.check_writes()
    tokens = [self.encode(sentence) for sentence in sentences]
    # Exactly, on any device: it is the numbers that are asked for.
    ranker = self.word_ranker(dtype='float32')
    return ranker.log_probs(tokens, self.check_features(features)).T

  def rank(
    self,
    features: np.ndarray,
    sentences: Sequence[str],
    top: int = 10,
    norm_images: int | None = None,
    progress: Progress | None = None,
    everywhere: bool = False,
    ranker: Ranker | EmbeddingRanker | None = None,
  ) -> Ranking:
    """Return the best sentences of each image and images of each sentence.

    Memory grows with N and S, not with N x S; features on disk stay there.

    Args:
      features: [N, D] raw features, possibly memory-mapped.
      sentences: S sentences as people write them.
      top: how many to return for each query, at most.
      norm_images: K of the training images that the model carries, to estimate
        P(w) from (section 6): sentences are ranked by P(w|I) / P(w).  None:
        300, or all there are; 0: by perplexity.  A joint embedding needs none:
        both are ranked by cosine.
      progress: called with the work done and in all.
      everywhere: all processes call this at the same time and share the work;
        each of them returns all of it.
      ranker: one of ``ranker()``, to bound the memory otherwise or to compute
        in another type than by default.

    Raises:
      InputError: the model does not see images or carries fewer than K, or a
        sentence has no word.
    """
    ranker = ranker or self.ranker()
    features = self.check_features(features)
    tokens = [self.encode(sentence) for sentence in sentences]
    if isinstance(ranker, EmbeddingRanker):
      return ranker.rank(tokens, features, top, progress)
    if norm_images is None:
      norm_images = self.num_norm_images()
    drawn = self.drawn_features(norm_images)
    return ranker.rank_by_ratio(
      tokens, features, drawn, top, progress, everywhere
    )

  def num_norm_images(self, wanted: int | None = None) -> int:
    """Return K, the training images to estimate P(w) from (section 6).

    Where the model carries fewer than are wanted, all are taken, with a note.
    None: the usual number, or all there are.
    """
    there = len(self.norm_features)
    if wanted is None:
      usual: Any = config_lib.FIELDS['norm_images'].default
      return min(usual, there)
    ranks_words = self.model.sees_images and self.writes
    if wanted > there and ranks_words and parallel.is_first():
      print(
        f'note: the model carries {there} training images for P(w), fewer than '
        f'--norm_images={wanted}: all are taken.',
        file=sys.stderr,
      )
    return min(wanted, there)

  def drawn_features(self, norm_images: int) -> np.ndarray:
    """Return [K, D] features of K training images drawn by seed.

    Raises:
      InputError: the model carries fewer.
    """
    if norm_images > len(self.norm_features):
      raise InputError(
        f'--norm_images={norm_images}, but the model carries only '
        f'{len(self.norm_features)} training images: ask for at most so many.'
      )
    return self.norm_features[:norm_images]

  def check_features(self, features: np.ndarray) -> np.ndarray:
    """Return features [N, D] as an array, or raise InputError."""
    return model_inputs.check_features(self.dataset, features)

  @property
  def name(self) -> str:
    """What tables call it."""
    if self.ensemble:
      return f'ensemble of {len(self.ensemble["members"])}'
    return self.config.model

  @property
  def encoder_name(self) -> str:
    """The name of the encoder that made the features it was trained on."""
    return self.dataset['encoder']['name']

  def check_dataset(self, dataset: 'datasets.Dataset') -> None:
    """Raise InputError where a dataset's images are of another kind."""
    model_inputs.check_dataset(self.dataset, dataset)

  def check_encoder(self, encoder: Mapping[str, str], source: str) -> None:
    """Raise InputError where features come from another encoder.

    Args:
      encoder: 'name' and 'weights' (checksum, '' if not known).
      source: where the features are, for the message.
    """
    model_inputs.check_encoder(self.dataset, encoder, source)

  def identity(self) -> str:
    """Return a hash of everything that its probabilities depend on."""
    # As it was stored: an option that came later makes it no other model.
    stored = dict(self.stored_config) or self.config.fixed()
    digest = hashlib.sha256(repr(stored).encode())
    if self.ensemble:
      digest.update(repr(self.ensemble).encode())
    for leaf in jax.tree.leaves((self.variables, self.encoder)):
      digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()

  def knows(self, dataset: 'datasets.Dataset') -> bool:
    """Return whether the model was trained on this very dataset."""
    return self.dataset.get('fingerprint') == dataset.fingerprint

  def check_shared(self, path: epath.PathLike) -> None:
    """Raise InputError where processes have found different models."""
    model_inputs.check_shared(self.identity(), path)

  def generate(
    self, features: np.ndarray, options: DecodeOptions, **how: Any
  ) -> Decoded:
    """Write captions [N, K, ...].

    Args:
      features: [N, D] raw features.
      options: how to choose words.
      **how: given words, seed and so on, see ``decoding.generate.generate``.
    """
    self.check_writes()
    return generate_lib.generate(
      self.model, self.variables, self.devices, features, options, **how
    )

  @property
  def writes(self) -> bool:
    """Whether it gives words a probability, and not whole sentences alone."""
    return self.model.writes

  def check_writes(self) -> None:
    """Raise InputError where the model gives words no probability."""
    if not self.writes:
      raise InputError(
        f'{self.config.model} ranks whole sentences and gives words no '
        'probability: it cannot write or score any. Name a workdir with '
        'another model, such as an m-RNN.'
      )

  def check_ranks(self) -> None:
    """Raise InputError where the model has no image part to rank with."""
    if not self.model.sees_images:
      raise InputError(
        'a model that does not see the image (such as rnn-base) cannot rank '
        'images or sentences: name a workdir with an m-RNN.'
      )

  def ranker(
    self,
    image_block: int = 100,
    tile_rows: int = 0,
    dtype: str = 'auto',
    fused: str = 'auto',
  ) -> Ranker | EmbeddingRanker:
    """Return what ranks, see ``Ranker``; cosines know image blocks alone."""
    if self.writes:
      return self.word_ranker(image_block, tile_rows, dtype, fused)
    self.check_ranks()
    key = (image_block,)
    if key not in self._rankers:
      whole = self.model, self.variables, self.devices
      self._rankers[key] = EmbeddingRanker(*whole, image_block)
    return self._rankers[key]

  def word_ranker(
    self,
    image_block: int = 100,
    tile_rows: int = 0,
    dtype: str = 'auto',
    fused: str = 'off',
  ) -> Ranker:
    """Return what ranks by the probabilities of words, see ``Ranker``.

    The plain form unless asked: who calls this wants numbers alike everywhere.

    Raises:
      InputError: the model gives none, or does not see images.
    """
    self.check_writes()
    self.check_ranks()
    tiling = (image_block, tile_rows, dtype, fused)
    if tiling not in self._rankers:
      self._rankers[tiling] = Ranker(
        self.model, self.variables, self.devices, *tiling
      )
    return self._rankers[tiling]

  # Those made so far: a second one would compile again.
  @functools.cached_property
  def _rankers(self) -> dict[tuple[int | str, ...], Any]:
    return {}

  def encode(self, sentence: str) -> list[int]:
    """Return a raw sentence as word ids.

    Raises:
      InputError: nothing of it is left by the tokenisation.
    """
    if not tokenize(sentence):
      raise InputError(f'the sentence {sentence!r} has no word.')
    return self.vocabulary.encode_caption(sentence)
