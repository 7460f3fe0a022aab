"""Writing captions: greedy, and beams of 3 and 10."""

import os
from typing import Any

import mrnn_jax
from mrnn_jax import models
from mrnn_jax.decoding import generate
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.runtime import parallel
from tests.benchmarks import harness, lengths, weights, work

SIZES = {
  'tiny': {'num_images': 4, 'batch_size': 4},
  'small': {'num_images': 500, 'batch_size': 100},
  'full': {'num_images': 5000, 'batch_size': 100},
}
# Beam sizes, and the floors of the ratio to PyTorch.
BEAMS = {1: 0.0, 3: 2.0, 10: 0.0}
MAX_WORDS = 30
_SAME_BUT_ONE_OF = 50

# Sizes of the random model, where no trained one is at hand.
_RANDOM = {'tiny': (50, 8), 'small': (lengths.VOCAB_SIZE, lengths.FEATURE_SIZE)}
_RANDOM['full'] = _RANDOM['small']


def comparisons(options: harness.Options) -> list[harness.Comparison]:
  """Return one comparison for each beam size."""
  model = options.model
  if not model and options.scale != 'tiny':
    model = mrnn_jax.PRETRAINED if os.path.exists(mrnn_jax.PRETRAINED) else ''
  return [
    harness.Comparison(
      f'captions, beam {beam}' if beam > 1 else 'captions, greedy',
      *(
        work.Task(
          f'tests.benchmarks.{module}:Decoding',
          {
            **SIZES[options.scale],
            'beam_size': beam,
            'max_words': MAX_WORDS,
            'model': model,
            'random_sizes': _RANDOM[options.scale],
          },
        )
        for module in ('decode', 'torch_mrnn')
      ),
      floor=floor,
      check='tests.benchmarks.decode:agreement',
    )
    for beam, floor in BEAMS.items()
  ]


def growths(options: harness.Options) -> list[harness.Growth]:
  """Return none."""
  del options
  return []


class Decoding(work.Work):
  """Captions as ``mrnn_jax.decoding.generate`` writes them for all commands."""

  unit = 'captions'

  def __init__(
    self,
    num_images: int,
    batch_size: int,
    beam_size: int,
    max_words: int,
    model: str,
    random_sizes: tuple[int, int],
  ):
    """Read or draw a model and its images."""
    known = (
      weights.read_weights(model)
      if model
      else weights.random_weights(*random_sizes)
    )
    self.vocab_size, self._beam_size = known.vocab_size, beam_size
    self._features = known.images(num_images)
    self._options = DecodeOptions(
      method='beam' if beam_size > 1 else 'greedy',
      beam_size=beam_size,
      max_words=max_words,
    )
    self._batch_size = batch_size
    self._model = models.MRNN(known.vocab_size, known.feature_size)
    self._variables = {'params': known.params, 'statistics': known.statistics}
    self._decoded = None
    self.sizes = {
      'model': known.source,
      'images': num_images,
      'images at a time, at most': batch_size,
      'V': known.vocab_size,
      'at most words': max_words,
    }

  def warm_up(self) -> None:
    """Write captions of all images: another number is compiled anew."""
    self.run()

  def run(self) -> work.Done:
    """Write captions of all images."""
    self._decoded = generate.generate(
      self._model,
      self._variables,
      parallel.local_devices(),
      self._features,
      self._options,
      batch_size=self._batch_size,
    )
    # The words of the best caption, as if all hypotheses ended with it.
    targets = float(self._decoded.num_targets[:, 0].sum()) * self._beam_size
    return work.Done(
      len(self._features), targets * weights.word_flops(self.vocab_size)
    )

  def facts(self) -> dict[str, Any]:
    """Say how long captions are."""
    return {
      'words a caption': float(self._decoded.lengths[:, 0].mean()),
      'cut': f'{self._decoded.cut[:, 0].mean():.0%}',
    }

  def answer(self) -> list[list[int]]:
    """Return the words of each caption."""
    return [
      words[0, : length[0]].tolist()
      for words, length in zip(
        self._decoded.words, self._decoded.lengths, strict=True
      )
    ]


def agreement(ours: list[list[int]], theirs: list[list[int]]) -> str:
  """Say how many captions are the same, word for word.

  Raises:
    harness.DisagreementError: more than one in ``_SAME_BUT_ONE_OF`` differ;
      a few may, where words are equally likely but for rounding.
  """
  different = sum(a != b for a, b in zip(ours, theirs, strict=True))
  said = (
    f'{len(ours) - different:,} of {len(ours):,} captions are the same word '
    'for word'
  )
  if different > len(ours) // _SAME_BUT_ONE_OF:
    raise harness.DisagreementError(said)
  return said
