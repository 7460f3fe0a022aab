"""What is said of each pair: its fields, from log-probabilities of words."""

from collections.abc import Mapping, Sequence
import itertools
from typing import Any

import numpy as np

from mrnn_jax.config import Config
from mrnn_jax.data.vocabulary import UNK
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.scoring.finished_blocks import Finished
from mrnn_jax.scoring.pair_scorer import PairScorer
from mrnn_jax.scoring.records import Record
from mrnn_jax.scoring.windows import Window
from mrnn_jax.trained import TrainedModel

# Decimals written: all that single precision gives.
_DECIMALS = 6
# Sentences whose P(w) is remembered.
_REMEMBERED = 1 << 17


def fields(config: Config) -> list[str]:
  """Return the names of the fields that are added to each record."""
  names = ['log_prob', 'perplexity', 'words', 'oov']
  if config.score_normalized:
    names.append('score_normalized')
  if config.word_log_probs:
    names.append('word_log_probs')
  return names


class PairResults:
  """Computes the fields of windows of pairs."""

  def __init__(
    self,
    model: TrainedModel,
    config: Config,
    scorer: PairScorer,
    drawn: np.ndarray | None,
    dtype: str,
  ):
    """Take the model, and what P(w) is estimated from.

    Args:
      model: the model.
      config: which fields are asked for.
      scorer: of the model.
      drawn: features of training images, None without P(w).
      dtype: of the operands of the readout, the scorer's own.
    """
    self._config, self._scorer = config, scorer
    self._log_means = None
    if drawn is not None:
      self._log_means = _LogMeans(model, drawn, config, dtype)

  def of(self, window: Window, kept: Finished | None = None) -> Finished:
    """Return what is to be said of all pairs of a window.

    Args:
      window: the window.
      kept: what an earlier run has found of it.  It is remembered as if it were
        found now, so that the windows behind it come out alike.

    Raises:
      InputError: the model gives what is no log-probability.
    """
    if kept is not None:
      if self._log_means is not None:
        self._log_means.recall(window.tokens, kept.log_means)
      return kept
    if not len(window.pairs):
      return Finished({name: [] for name in fields(self._config)}, [])
    values = self._scorer.word_log_probs(window.plans, window.features)
    if not np.isfinite(values).all():
      raise InputError(
        'the model gives log-probabilities that are not finite: it is '
        'damaged, or has diverged in training.'
      )
    values = values.astype(np.float64)
    lengths = np.asarray([len(ids) - 1 for ids in window.tokens])
    unknown = np.asarray([ids.count(UNK) for ids in window.tokens])
    sentences = window.pairs[:, 0]
    words = lengths[sentences]
    first = np.cumsum(words) - words
    log_probs = np.add.reduceat(values, first)
    columns = {
      'log_prob': _rounded(log_probs),
      # Beyond e^700 there is no number for it.
      'perplexity': _rounded(np.exp(np.minimum(-log_probs / words, 700))),
      'words': words.tolist(),
      'oov': unknown[sentences].tolist(),
    }
    log_means = np.zeros(0)
    if self._log_means is not None:
      log_means = self._log_means(window.tokens)
      columns['score_normalized'] = _rounded(log_probs - log_means[sentences])
    if self._config.word_log_probs:
      each = np.split(values, first[1:])
      columns['word_log_probs'] = list(map(_rounded, each))
    return Finished(columns, log_means.tolist())


class _LogMeans:
  """log P(w) of sentences, remembered for those that come again."""

  def __init__(
    self, model: TrainedModel, drawn: np.ndarray, config: Config, dtype: str
  ):
    self._ranker = model.word_ranker(
      config.rank_image_block, config.rank_tile_rows, dtype
    )
    self._drawn = drawn
    self._known: dict[Sequence[int], float] = {}

  def __call__(self, tokens: Sequence[Sequence[int]]) -> np.ndarray:
    """Return log P(w) [S] of sentences of word ids (section 6)."""
    self._make_room(tokens)
    new = [ids for ids in tokens if ids not in self._known]
    if new:
      found = self._ranker.log_mean_probs(new, self._drawn)
      self._known.update(zip(new, found.tolist(), strict=True))
    return np.asarray([self._known[ids] for ids in tokens])

  def recall(
    self, tokens: Sequence[Sequence[int]], values: Sequence[float]
  ) -> None:
    """Remember the values [S] that an earlier run has found of sentences.

    Which sentences are new decides what is computed together, and that the last
    bits of P(w).
    """
    self._make_room(tokens)
    self._known.update(zip(tokens, values, strict=True))

  def _make_room(self, tokens: Sequence[Sequence[int]]) -> None:
    """Forget all where it would be too much, at the same places in any run."""
    if len(self._known) + len(tokens) > _REMEMBERED:
      self._known.clear()


def by_record(
  records: Sequence[Record], columns: Mapping[str, list[Any]]
) -> list[dict[str, Any]]:
  """Deal the fields of pairs out to the records that they are of."""
  places = itertools.accumulate(len(x.sentences) for x in records)
  results = []
  for record, stop in zip(records, places, strict=True):
    start = stop - len(record.sentences)
    results.append(
      {
        name: values[start] if record.single else values[start:stop]
        for name, values in columns.items()
      }
    )
  return results


def _rounded(values: np.ndarray) -> list[float]:
  return [round(value, _DECIMALS) for value in values.tolist()]
