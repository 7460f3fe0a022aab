"""The systems of the paper's tables, and how each is run.

Settings were tuned on the validation split of Flickr8K (docs/measurements.md).
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from mrnn_jax import models

# What one caption for all images is searched with.
_WORDS_ALONE = {'beam_size': 1}
_LOG_BILINEAR = {'num_epochs': 10.0}


@dataclasses.dataclass(frozen=True)
class System:
  """A row of the tables that is run.

  Attributes:
    key: names its folder, and the row in ``--rows``.
    label: as the tables have it.
    flags: on top of what describes the dataset, by name.
    random: whether other seeds give other models.
    words_per_second: of training; of what is fitted, captions' words a second
      of all the fitting.
    pairs_per_second: sentences x images ranked; 0 of what cannot rank.  Both on
      two cores that do 100 GFLOP/s in a large product.
  """

  key: str
  label: str
  flags: Mapping[str, Any]
  random: bool
  words_per_second: float
  pairs_per_second: float = 0

  @property
  def kind(self) -> type[models.Model]:
    """The class of its model."""
    return models.MODELS[self.flags.get('model', 'm-rnn')]


def _ngram(key: str, label: str, order: int, smoothing: str) -> System:
  flags = {'model': 'ngram', 'ngram_order': order, 'ngram_smoothing': smoothing}
  return System(key, label, flags | _WORDS_ALONE, False, 200e3)


# In the order of the paper's tables; those of words alone first.
SYSTEMS = {
  system.key: system
  for system in (
    _ngram('gt2', 'BACK-OFF GT2', 2, 'katz'),
    _ngram('gt3', 'BACK-OFF GT3', 3, 'katz'),
    _ngram('kn3', 'Kneser-Ney, 3-grams', 3, 'kneser-ney'),
    _ngram('kn4', 'Kneser-Ney, 4-grams', 4, 'kneser-ney'),
    System(
      'lbl',
      'LBL',
      {'model': 'lbl', 'weight_decay': 0.1, **_LOG_BILINEAR, **_WORDS_ALONE},
      True,
      40e3,
    ),
    System(
      'elman',
      'RNN (Elman)',
      {
        'model': 'elman',
        'word_dropout': 0.2,
        'recurrent_dropout': 0.3,
        **_WORDS_ALONE,
      },
      True,
      20e3,
    ),
    System(
      'rnn-base', 'RNN-Base', {'model': 'rnn-base', **_WORDS_ALONE}, True, 14e3
    ),
    System(
      'mlbl-b',
      'MLBL-B',
      {
        'model': 'mlbl-b',
        'weight_decay': 0.03,
        'prediction_dropout': 0.1,
        'image_dropout': 0.3,
        **_LOG_BILINEAR,
      },
      True,
      30e3,
      40e3,
    ),
    System(
      'mlbl-f',
      'MLBL-F',
      {
        'model': 'mlbl-f',
        'weight_decay': 0.3,
        'context_dropout': 0.1,
        'prediction_dropout': 0.3,
        'image_dropout': 0.3,
        **_LOG_BILINEAR,
      },
      True,
      22e3,
      20e3,
    ),
    System('m-rnn', 'm-RNN', {}, True, 13e3, 9e3),
    System(
      'm-rnn-gru',
      'm-RNN, GRU',
      {'cell': 'gru', 'weight_decay': 0.6},
      True,
      8e3,
      9e3,
    ),
    System(
      'm-rnn-lstm',
      'm-RNN, LSTM',
      {'cell': 'lstm', 'weight_decay': 0.6},
      True,
      8e3,
      9e3,
    ),
    System('bow', 'bow (ridge, tf-idf)', {'model': 'bow'}, False, 100e3, 2e6),
    System(
      'devise',
      'DeViSE',
      {'model': 'devise', 'image_dropout': 0.3},
      True,
      6e3,
      2e6,
    ),
    System('cca', 'CCA (tf-idf)', {'model': 'cca'}, False, 60e3, 2e6),
  )
}
# What the others are compared with.
REFERENCE_SYSTEM = 'm-rnn'
