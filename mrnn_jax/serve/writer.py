"""Captions as requests want them, written together.

Beam search and sampling are those of ``decoding``; a request's temperature
travels with its image, so that any temperatures share one compiled program.

Letters: R rows, W most words of a caption, T words of a padded sentence, J
image vector.
"""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from mrnn_jax import models
from mrnn_jax.config.decoding import decode_options
from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from mrnn_jax.decoding import batches
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.decoding.search import search
from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.trained import TrainedModel

# Rows of a call; a call of few rows takes the smallest that holds them.
ROWS = (1, 4, 32)
_TOLD_ROWS, _TOLD_LENGTH = (8, 32), 16
NUM_SAMPLES = 5
# Words that are told of at each place, beside the one that stands there.
NUM_OTHERS = 8


@dataclasses.dataclass(frozen=True)
class Job:
  """Captions of one image.

  Attributes:
    vector: [J] what the model's image part gives.
    prefix: ids of words that they begin with.
    nbest: how many, at most the beam's size or ``NUM_SAMPLES``.
    sample: draw words instead of searching.
    temperature: of sampling.
    seed: of sampling.
    told: whether each word's probability is wanted, and what else could stand
      there.
  """

  vector: np.ndarray
  prefix: tuple[int, ...] = ()
  nbest: int = 1
  sample: bool = False
  temperature: float = 1.0
  seed: int = 0
  told: bool = False


@dataclasses.dataclass(frozen=True)
class Caption:
  """A caption that was written.

  Attributes:
    words: ids, given ones among them.
    log_prob: of all words and the end, natural logarithm.
    num_targets: how many these are.
    cut: whether it did not come to its end.
    told: for each word, and the end, its log-probability and the likeliest
      words there with theirs; None where nobody asked.
  """

  words: tuple[int, ...]
  log_prob: float
  num_targets: int
  cut: bool
  told: list[tuple[float, list[tuple[int, float]]]] | None = None


class Writer:
  """Writes captions with one model.

  Attributes:
    beam_size: hypotheses of a search, and so the most captions of one.
    max_words: W.
  """

  def __init__(
    self, trained: TrainedModel, variables: models.Variables, beam_size: int
  ):
    """Take a model.

    Args:
      trained: the model, and how it was chosen to write.
      variables: its variables on a device.
      beam_size: of searches.
    """
    self._model, self._variables = trained.model, variables
    self.beam_size, self.max_words = beam_size, trained.config.max_words
    chosen = trained.config.replace(beam_size=beam_size)
    beam = dataclasses.replace(decode_options(chosen), method='beam')
    # The likeliest alone is settled far sooner than all of the beam.
    self._best = beam
    self._beam = dataclasses.replace(beam, num_best=beam_size)
    self._sample = dataclasses.replace(
      beam, method='sample', num_samples=NUM_SAMPLES
    )
    self._platform = trained.devices[0].platform
    self._tell = jax.jit(self._told_of)

  def write(self, jobs: Sequence[Job]) -> list[list[Caption]]:
    """Write the captions of jobs, best first or in the order of drawing.

    Raises:
      InputError: a prefix leaves no room, or nothing can be written.
    """
    captions: list[list[Caption]] = [[]] * len(jobs)
    for options in (self._best, self._beam, self._sample):
      own = [i for i, job in enumerate(jobs) if self._options(job) == options]
      for first in range(0, len(own), ROWS[-1]):
        part = own[first : first + ROWS[-1]]
        found = self._decode(options, [jobs[i] for i in part])
        for i, written in zip(part, found, strict=True):
          captions[i] = written
    return self._completed(jobs, captions)

  def _options(self, job: Job) -> DecodeOptions:
    if job.sample:
      return self._sample
    return self._best if job.nbest == 1 else self._beam

  def _decode(
    self, options: DecodeOptions, jobs: Sequence[Job]
  ) -> list[list[Caption]]:
    R, W = next(r for r in ROWS if r >= len(jobs)), self.max_words
    images = np.zeros((R, len(jobs[0].vector) + 1), np.float32)
    prefix = np.full((R, W), PAD, np.int32)
    lengths, seeds = np.zeros(R, np.int32), np.zeros(R, np.int32)
    most = np.zeros(R, np.int32)
    for row, job in enumerate(jobs):
      images[row, :-1] = job.vector
      images[row, -1] = 1 / job.temperature if job.sample else 1
      prefix[row, : len(job.prefix)] = job.prefix
      lengths[row], seeds[row] = len(job.prefix), job.seed
      most[row] = W - len(job.prefix)
    slots = batches.num_slots(options, R, self._platform)
    found = jax.device_get(
      _decode(
        self._model,
        options,
        slots,
        self._variables,
        images,
        (prefix, lengths, most, seeds),
      )
    )
    captions = []
    for row, job in enumerate(jobs):
      if np.isnan(found.log_probs[row]).any():
        raise InputError('the model gives a photo no probability: damaged.')
      captions.append(
        [
          Caption(
            (
              *job.prefix,
              *map(int, found.words[row, k, : found.lengths[row, k]]),
            ),
            float(found.log_probs[row, k]),
            int(found.num_targets[row, k]),
            bool(found.cut[row, k]),
          )
          for k in range(min(job.nbest, found.log_probs.shape[1]))
          if found.log_probs[row, k] > -np.inf
        ]
      )
    return captions

  def _completed(
    self, jobs: Sequence[Job], captions: Sequence[list[Caption]]
  ) -> list[list[Caption]]:
    """Tell of words where asked; count given words, and undo temperatures."""
    which = [
      (i, k)
      for i, job in enumerate(jobs)
      for k in range(len(captions[i]))
      if job.told or job.sample or job.prefix
    ]
    completed = [list(x) for x in captions]
    told = self.tell(
      [
        (jobs[i].vector, captions[i][k].words, captions[i][k].cut)
        for i, k in which
      ]
    )
    for (i, k), words in zip(which, told, strict=True):
      completed[i][k] = dataclasses.replace(
        captions[i][k],
        log_prob=float(sum(log_prob for log_prob, _ in words)),
        num_targets=len(words),
        told=words if jobs[i].told else None,
      )
    return completed

  def tell(
    self, captions: Sequence[tuple[np.ndarray, tuple[int, ...], bool]]
  ) -> list[list[tuple[float, list[tuple[int, float]]]]]:
    """Return what ``Caption.told`` is, for vectors, words, and whether cut."""
    found = []
    for first in range(0, len(captions), _TOLD_ROWS[-1]):
      part = captions[first : first + _TOLD_ROWS[-1]]
      longest = 2 + max(len(words) for _, words, _ in part)
      T = -(-longest // _TOLD_LENGTH) * _TOLD_LENGTH
      R = next(r for r in _TOLD_ROWS if r >= len(part))
      tokens = np.full((R, T), PAD, np.int32)
      for i, (_, words, _) in enumerate(part):
        tokens[i, : len(words) + 2] = START, *words, END
      vectors = np.stack([vector for vector, _, _ in part])
      own, others, values = jax.device_get(
        self._tell(self._variables, tokens, parallel.pad_rows(vectors, R))
      )
      for row, (_, words, cut) in enumerate(part):
        found.append(
          [
            (
              float(own[row, t]),
              [
                (int(word), float(value))
                for word, value in zip(
                  others[row, t], values[row, t], strict=True
                )
                if value > -np.inf
              ],
            )
            for t in range(len(words) + (not cut))
          ]
        )
    return found

  def _told_of(self, variables: Any, tokens: jax.Array, vectors: jax.Array):
    language = self._model.apply(variables, tokens[:, :-1], method='language')
    logits: Any = self._model.apply(
      variables, language, vectors[:, None], method='readout'
    )
    log_probs = jax.nn.log_softmax(logits)  # [R, T - 1, V]
    own = jnp.take_along_axis(log_probs, tokens[:, 1:, None], axis=-1)[..., 0]
    never = jnp.array([PAD, START, UNK])
    allowed = log_probs.at[..., never].set(-jnp.inf)
    values, others = lax.top_k(allowed, min(NUM_OTHERS, logits.shape[-1]))
    return own, others, values


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _decode(model, options, num_slots, variables, images, rows):
  prefix, lengths, most, seeds = rows

  def step_fn(carry, tokens, image):
    carry, language = model.apply(
      variables, carry, tokens, method='language_step'
    )
    logits = model.apply(
      variables, language, image[None, :-1], method='readout'
    )
    # Divided by the temperature: the distribution that is drawn from.
    return carry, logits * image[-1]

  return search(
    step_fn,
    model.apply(variables, len(images), method='initial_carry'),
    images,
    prefix,
    lengths,
    most,
    seeds,
    jax.random.key(0),
    options,
    num_slots,
  )
