"""How captions are to be generated."""

import dataclasses
import math

from mrnn_jax.errors import InputError

METHODS = ('greedy', 'sample', 'beam')


@dataclasses.dataclass(frozen=True)
class DecodeOptions:
  """How to choose words; hashable, hence static for ``jax.jit``.

  Attributes:
    method: one of ``METHODS``; 'greedy' takes the likeliest word each time.
    beam_size: K of 'beam'.
    num_best: how many hypotheses 'beam' returns, best first.  A row is done
      as soon as these cannot change any more.
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
    for name in ('beam_size', 'num_best', 'num_samples', 'max_words'):
      if getattr(self, name) < 1:
        raise InputError(f'{name} is {getattr(self, name)}; at least 1.')
    if self.method == 'beam' and self.num_best > self.beam_size:
      raise InputError(
        f'A beam of {self.beam_size} has no {self.num_best} best captions;'
        ' widen beam_size or lower num_best.'
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
