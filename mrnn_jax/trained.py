"""A trained model, ready to use: captions and rankings from features."""

from collections.abc import Sequence
import dataclasses
import functools
import hashlib
from typing import Any

from etils import epath
import jax
import numpy as np

from mrnn_jax import checkpoint as checkpoint_lib
from mrnn_jax import config as config_lib
from mrnn_jax import decode as decode_lib
from mrnn_jax import input_pipeline, parallel
from mrnn_jax import model as model_lib
from mrnn_jax.errors import InputError
from mrnn_jax.rank import Progress, Ranker
from mrnn_jax.vocabulary import Vocabulary, tokenize


@dataclasses.dataclass(frozen=True)
class TrainedModel:
  """A model of a workdir, with everything that it takes along.

  Attributes:
    model: the model's functions.
    variables: parameters and feature statistics.
    vocabulary: its words.
    norm_features: [K, D] raw features of training images drawn by seed, to
      estimate P(w) with; any first ones of them are a draw too.
    config: how it was trained.
    dataset: what it was trained on: name, fingerprint, feature_size, encoder.
    step: training steps taken.
    devices: where to run.
  """

  model: model_lib.MRNN
  variables: model_lib.Variables
  vocabulary: Vocabulary
  norm_features: np.ndarray
  config: config_lib.Config
  dataset: dict[str, Any]
  step: int
  devices: list[jax.Device]

  @classmethod
  def load(
    cls, workdir: epath.PathLike, devices: list[jax.Device] | None = None
  ) -> 'TrainedModel':
    """Load the best model of a workdir.

    Raises:
      InputError: there is none, or it cannot be read.
    """
    with checkpoint_lib.Checkpoints(workdir) as checkpoints:
      step = checkpoints.best_step()
      if step is None:
        raise InputError(
          f'there is no trained model in {workdir}: train one there by '
          f'--task=train, or name another --workdir.'
        )
      checkpoint = checkpoints.restore(step)
    stored = checkpoint.description
    config = config_lib.Config(**stored['config'])
    vocabulary = Vocabulary(tuple(stored['vocabulary']))
    feature_size = stored['dataset']['feature_size']
    return cls(
      model=model_lib.create_model(
        config.model, len(vocabulary), feature_size, config.fixed()
      ),
      variables={
        'params': checkpoint.state['params'],
        'statistics': checkpoint.model['statistics'],
      },
      vocabulary=vocabulary,
      norm_features=checkpoint.model['norm_features'],
      config=config,
      dataset=stored['dataset'],
      step=step,
      devices=devices or parallel.local_devices(),
    )

  def check_dataset(self, dataset: input_pipeline.Dataset) -> None:
    """Raise InputError where a dataset's features are of another kind."""
    theirs = {
      'feature_size': dataset.feature_size,
      'encoder': dataset.metadata.get('encoder', ''),
    }
    for name, value in theirs.items():
      mine = self.dataset[name]
      if mine != value:
        raise InputError(
          f'the model was trained on features of {name} {mine!r}, the dataset '
          f'{dataset.path} has {value!r}: use the features that it was '
          'trained on.'
        )

  def identity(self) -> str:
    """Return a hash of everything that its probabilities depend on."""
    digest = hashlib.sha256(repr(self.config.fixed()).encode())
    for leaf in jax.tree.leaves(self.variables):
      digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()

  def generate(
    self,
    features: np.ndarray,
    options: decode_lib.DecodeOptions,
    prefixes: Sequence[Sequence[int]] | None = None,
    max_words: Sequence[int] | None = None,
    seed: int = 0,
    batch_size: int = 100,
    progress: Progress | None = None,
  ) -> decode_lib.Decoded:
    """Write captions.

    Args:
      features: [N, D] raw features.
      options: how to choose words.
      prefixes: N lists of ids of given words; none if None.
      max_words: [N] most words of each; those of the options if None.
      seed: of sampling.
      batch_size: images a device takes at a time.
      progress: called with images done and in all.

    Returns:
      What ``decode.decode_in_batches`` does, [N, K, ...].
    """
    n = len(self.devices)
    variables = parallel.replicate(self.variables, self.devices)
    key = jax.random.key(seed)

    def decode_rows(variables, images, *rows):
      return decode_lib.decode(
        self.model, options, variables, key, images, *rows
      )

    mapped = parallel.pmap(decode_rows, self.devices)

    def decode_fn(*rows):
      result = mapped(variables, *parallel.split_rows(rows, n))
      return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), result)

    return decode_lib.decode_in_batches(
      decode_fn,
      self.image_vectors(features),
      options,
      prefixes,
      max_words,
      batch_size * n,
      progress,
    )

  def image_vectors(
    self, features: np.ndarray, batch_size: int = 256
  ) -> np.ndarray:
    """Return V_I I [N, M] of raw features [N, D]."""
    image = jax.jit(
      functools.partial(self.model.apply, self.variables, method='image')
    )
    vectors = [
      np.asarray(
        image(parallel.pad_rows(features[i : i + batch_size], batch_size))
      )
      for i in range(0, len(features), batch_size)
    ]
    return np.concatenate(vectors)[: len(features)]

  def check_ranks(self) -> None:
    """Raise InputError where the model has no image part to rank with."""
    if not self.model.use_image:
      raise InputError(
        'a model that does not see the image (--model=rnn-base) cannot rank '
        'images or sentences: name a workdir with an m-RNN.'
      )

  def ranker(self, image_block: int = 100, tile_rows: int = 500) -> Ranker:
    """Return what ranks with this model."""
    self.check_ranks()
    return Ranker(
      self.model, self.variables, self.devices, image_block, tile_rows
    )

  def encode(self, sentence: str) -> list[int]:
    """Return a raw sentence as word ids.

    Raises:
      InputError: nothing of it is left by the tokenisation.
    """
    if not tokenize(sentence):
      raise InputError(f'the sentence {sentence!r} has no word.')
    return self.vocabulary.encode_caption(sentence)
