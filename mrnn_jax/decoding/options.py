"""How captions are to be generated."""

import dataclasses
import math

from mrnn_jax.runtime.errors import InputError

METHODS = ('greedy', 'sample', 'beam')


@dataclasses.dataclass(frozen=True)
class DecodeOptions:
  """How to choose words; hashable, hence static for ``jax.jit``.

  Attributes:
    method: one of ``METHODS``; 'greedy' takes the likeliest word each time.
    beam_size: K of 'beam'.
    num_best: how many hypotheses 'beam' returns, best first.  A row is done
      as soon as these cannot change any more.
    beam_groups: G, groups that the beam is divided into.  A group has the
      beam_size / G best of its own, and is told apart from those before it by
      ``diversity_penalty``; what is returned are the best of all.
    diversity_penalty: what a word costs a group for each hypothesis of the
      groups before it that takes the same word at the same place, in units of
      log-probability.  Scores do not have it.
    num_samples: K of 'sample'; samples stay in the order of drawing.
    temperature: of 'sample'; logits are divided by it first.
    top_k: 'sample' draws from this many likeliest words; 0 for all.
    top_p: 'sample' draws from the fewest likeliest words, of those that
      temperature and ``top_k`` left, that have this much of their
      probability (and those as likely as the last of them).
    length_penalty: alpha; a score is log P / L^alpha, and log P for 0.
    max_words: W, the most words that a caption may get beside the given ones.
    exact_length: each caption gets exactly as many words as its row is
      allowed, and no ``##END##`` (``length_protocol=reference``).
    min_words: no ``##END##`` before so many generated words.
    no_repeat_ngram: n; no n words in a row twice among the generated ones of a
      caption; 0 for no such rule.
  """

  method: str = 'greedy'
  beam_size: int = 3
  num_best: int = 1
  beam_groups: int = 1
  diversity_penalty: float = 0.5
  num_samples: int = 1
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  length_penalty: float = 0.0
  max_words: int = 30
  exact_length: bool = False
  min_words: int = 0
  no_repeat_ngram: int = 0

  def __post_init__(self):
    if self.method not in METHODS:
      raise InputError(
        f"Unknown decoding method '{self.method}'; it is one of"
        f' {", ".join(METHODS)}.'
      )
    for name in (
      'beam_size',
      'num_best',
      'beam_groups',
      'num_samples',
      'max_words',
    ):
      if getattr(self, name) < 1:
        raise InputError(f'{name} is {getattr(self, name)}; at least 1.')
    if self.method == 'beam' and self.num_best > self.beam_size:
      raise InputError(
        f'A beam of {self.beam_size} has no {self.num_best} best captions;'
        ' widen beam_size or lower num_best.'
      )
    if self.method == 'beam' and self.beam_size % self.beam_groups:
      raise InputError(
        f'A beam of {self.beam_size} does not divide into {self.beam_groups}'
        ' groups of one size; change beam_size or beam_groups.'
      )
    if not (
      self.diversity_penalty >= 0 and math.isfinite(self.diversity_penalty)
    ):
      raise InputError(
        f'diversity_penalty is {self.diversity_penalty}; 0 (none) or more.'
      )
    if not (self.temperature > 0 and math.isfinite(self.temperature)):
      raise InputError(
        f'temperature is {self.temperature}; it must be positive and finite'
        " (for the likeliest words use method 'greedy')."
      )
    if self.top_k < 0:
      raise InputError(f'top_k is {self.top_k}; 0 (all words) or more.')
    for name in ('min_words', 'no_repeat_ngram'):
      if getattr(self, name) < 0:
        raise InputError(f'{name} is {getattr(self, name)}; 0 or more.')
    if not 0 < self.top_p <= 1:
      raise InputError(f'top_p is {self.top_p}; more than 0, at most 1.')
    if not (self.length_penalty >= 0 and math.isfinite(self.length_penalty)):
      raise InputError(
        f'length_penalty is {self.length_penalty}; 0 (none) or more.'
      )

  @property
  def num_hypotheses(self) -> int:
    """K: hypotheses of an image that are worked on together."""
    return {
      'greedy': 1,
      'sample': self.num_samples,
      'beam': self.beam_size,
    }[self.method]

  @property
  def num_returned(self) -> int:
    """Hypotheses of an image that are returned."""
    return self.num_best if self.method == 'beam' else self.num_hypotheses

  @property
  def num_groups(self) -> int:
    """G: groups of hypotheses, of one size, each of which has its own best."""
    return self.beam_groups if self.method == 'beam' else 1

  @property
  def num_returned_of_group(self) -> int:
    """Hypotheses of a group that may be among those returned."""
    size = self.num_hypotheses // self.num_groups
    return min(self.num_returned, size)
