"""Several models as one: the mean of their word probabilities at each step.

A model of the contract like any other, so that whatever takes a model takes
an ensemble: each member goes its own way through language and image, and only
the readout, which gives a distribution, brings them together.

Letters: M members, B rows, T steps, V vocabulary, D feature, C what language
gives, J what an image gives; all but V are sums over the members.
"""

from collections.abc import Iterator, Sequence
import dataclasses
import functools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from mrnn_jax.models.contract import Model

Array = jax.Array

# How word probabilities are averaged; a geometric mean is made to sum to 1.
MEANS = ('arithmetic', 'geometric')


@dataclasses.dataclass(frozen=True)
class Member:
  """A member of an ensemble.

  Attributes:
    model: the member as a model of its own, of any vocabulary.
    weight: its share of the mean.
    first: where its feature begins in that of the ensemble.
    sizes: its C and J; ``Ensemble.make`` fills them in.
  """

  model: Model
  weight: float = 1.0
  first: int = 0
  sizes: tuple[int, int] = (0, 0)

  @property
  def end(self) -> int:
    """Where its feature ends."""
    return self.first + self.model.feature_size


class Ensemble(Model):
  """The mean of several models of one vocabulary.

  Its variables are those of its members, under ``member_0`` and so on.  What
  language and image give is the members' side by side, 0 where a member sees
  no image.  The readout gives log P, up to a constant of the row.

  Attributes:
    members: see ``make``.
    mean: one of ``MEANS``.
  """

  members: tuple[Member, ...] = ()
  mean: str = 'arithmetic'
  sees_images: ClassVar[bool] = True

  @classmethod
  def make(
    cls, members: Sequence[Member], mean: str = 'arithmetic'
  ) -> 'Ensemble':
    """Return an ensemble.

    Args:
      members: of one vocabulary; all give words probabilities, and at least one
        sees images.  Their weights are made to sum to 1.
      mean: one of ``MEANS``.
    """
    total = sum(member.weight for member in members)
    return cls(
      vocab_size=members[0].model.vocab_size,
      feature_size=max(member.end for member in members),
      members=tuple(
        dataclasses.replace(
          member, weight=member.weight / total, sizes=_sizes(member.model)
        )
        for member in members
      ),
      mean=mean,
    )

  def setup(self):
    """Create the members."""
    for i, member in enumerate(self.members):
      part = member.model.clone(
        vocab_size=self.vocab_size,
        dtype=self.dtype,
        precision=self.precision,
      )
      setattr(self, name_of(i), part)

  def _parts(self) -> Iterator[tuple[Member, Model]]:
    for i, member in enumerate(self.members):
      yield member, getattr(self, name_of(i))

  def initial_carry(self, num_rows: int) -> tuple[Any, ...]:
    """Return the carries of all members."""
    return tuple(part.initial_carry(num_rows) for _, part in self._parts())

  def language_step(
    self, carry: tuple[Any, ...], tokens: Array
  ) -> tuple[tuple[Any, ...], Array]:
    """Read one word a row; give what all members' languages give [B, C]."""
    steps = [
      part.language_step(own, tokens)
      for own, (_, part) in zip(carry, self._parts(), strict=True)
    ]
    carries, languages = zip(*steps, strict=True)
    return carries, jnp.concatenate(languages, axis=-1)

  def language(self, tokens: Array, row_keys: Array | None = None) -> Array:
    """Return what all members' languages give [B, T, C] for [B, T]."""
    return jnp.concatenate(
      [part.language(tokens, row_keys) for _, part in self._parts()], axis=-1
    )

  def image(self, features: Array, row_keys: Array | None = None) -> Array:
    """Return what features [..., D] give to all members, [..., J]."""
    vectors = []
    for member, part in self._parts():
      own = features[..., member.first : member.end]
      vectors.append(part.image(own, row_keys))
    return jnp.concatenate(vectors, axis=-1)

  def _own(
    self, language: Array, image: Array
  ) -> Iterator[tuple[Member, Model, tuple[Array, Array]]]:
    """Yield the members, each with its pieces of language and image."""
    c = j = 0
    for member, part in self._parts():
      C, J = member.sizes
      yield member, part, (language[..., c : c + C], image[..., j : j + J])
      c, j = c + C, j + J

  def word_log_probs(
    self, language: Array, image: Array, rows: Array, words: Array
  ) -> Array:
    """Return log P [n] of words, see ``Model.word_log_probs``.

    Of an arithmetic mean only what the members give these words is averaged.
    """
    if self.mean != 'arithmetic':
      return super().word_log_probs(language, image, rows, words)
    terms = [
      part.word_log_probs(*own, rows, words) + math.log(member.weight)
      for member, part, own in self._own(language, image)
    ]
    return functools.reduce(jnp.logaddexp, terms)

  @property
  def ends_in_product(self) -> bool:
    """Whether each member does, and their log-probabilities are enough."""
    members = (member.model.ends_in_product for member in self.members)
    return self.mean == 'arithmetic' and all(members)

  def fused_word_log_probs(
    self, language: Array, images: Array, rows: Array, words: Array
  ) -> Array:
    """Return log P [N, n], see ``Model.fused_word_log_probs``."""
    terms = [
      part.fused_word_log_probs(*own, rows, words) + math.log(member.weight)
      for member, part, own in self._own(language, images)
    ]
    return functools.reduce(jnp.logaddexp, terms)

  def readout(
    self, language: Array, image: Array, row_keys: Array | None = None
  ) -> Array:
    """Return log P [..., V] of the next word, up to a constant of each row.

    Args:
      language: [..., C].
      image: [..., J], of the same leading axes or of ones that broadcast.
      row_keys: as of the members.
    """
    terms = []
    for member, part, own in self._own(language, image):
      logits = part.readout(*own, row_keys)
      if self.mean == 'geometric':
        terms.append(member.weight * logits)
      else:
        terms.append(jax.nn.log_softmax(logits) + math.log(member.weight))
    # In logarithms: what no member finds possible stays a number.
    add = jnp.add if self.mean == 'geometric' else jnp.logaddexp
    return functools.reduce(add, terms)


def name_of(number: int) -> str:
  """Return what the variables of a member, counted from 0, are under."""
  return f'member_{number}'


@functools.lru_cache(maxsize=64)
def _sizes(model: Model) -> tuple[int, int]:
  """Return C and J of a model."""
  shapes = jax.eval_shape(
    lambda key: model.init_with_output(key, method=_both), jax.random.key(0)
  )[0]
  return shapes[0].shape[-1], shapes[1].shape[-1]


def _both(model: Model) -> tuple[Array, Array]:
  """Return what language and image of a model give for one word, one image."""
  tokens = jnp.zeros((1, 1), jnp.int32)
  features = jnp.zeros((1, model.feature_size))
  return model.language(tokens), model.image(features)
