"""What training minimises, by name: likelihood (eq. 6) is one of several.

The step knows nothing of an objective but ``Objective``: parts of a batch,
devices, L2, clipping and the update are its own business.
"""

from collections.abc import Callable, Mapping
import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from mrnn_jax.data.vocabulary import PAD, START, UNK
from mrnn_jax.models import Model, Variables, layers
from mrnn_jax.models.losses import log2_probabilities

Array = jax.Array
Batch = Mapping[str, Any]
Sums = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Setting:
  """What stays the same over a run, for ``Objective.prepare``.

  Attributes:
    model: as the step has it.
    statistics: of the features, the model's variables beside its parameters.
    split: the training split, whose captions a batch has by number.
    vocabulary: the model's words.
    devices: local ones.
  """

  model: Model
  statistics: Mapping[str, Any]
  split: Any
  vocabulary: Any
  devices: list[jax.Device]


@dataclasses.dataclass(frozen=True)
class Measure:
  """What a model is validated by.

  Attributes:
    name: as people read it.
    key: in the log.
    sign: 1 where less is better, -1 where more is.
  """

  name: str
  key: str
  sign: int

  def tell(self, value: float) -> str:
    """Return a value of which less is better, as people read it."""
    return f'{self.sign * value:.{2 if self.sign > 0 else 3}f}'


PERPLEXITY = Measure('perplexity', 'validation_perplexity', 1)
CIDER = Measure('CIDEr-D', 'validation_cider_d', -1)


@dataclasses.dataclass(frozen=True)
class Objective:
  """An objective.

  Attributes:
    cost: model, variables, rows of a batch, their dropout keys [B] -> the sum
      to minimise over these rows, and sums to report, among them 'bits' and
      'words' of the targets.  Sums, not means: parts of a batch and devices
      add up, and the step divides once, by a constant.
    whole_batch: whether ``cost`` must see all rows of a device at once, since
      they are compared with each other (in-batch negatives); such a batch
      cannot be worked through in parts.
    prepare: None, or what the loop calls before each step with the setting, the
      state (replicated over the devices) and the host's batch, whose 'captions'
      [B, G] are the numbers of its captions in the split, -1 for none.  It
      returns the batch with arrays [B, ...] added that ``cost`` will find
      there, such as samples and their rewards.
    measure: what it is validated by.
  """

  cost: Callable[[Model, Variables, Batch, Array | None], tuple[Array, Sums]]
  whole_batch: bool = False
  prepare: Callable[[Setting, Any, Batch], Batch] | None = None
  measure: Measure = PERPLEXITY


@dataclasses.dataclass(frozen=True)
class Likelihood:
  """The bits of the target words, - sum log2 P(w_n | w_<n, I) (eq. 6).

  A batch that a teacher has prepared has what it says of each target beside it
  (see ``training.teacher``): its cross entropy is mixed in.

  Attributes:
    fused: whether the words' probabilities come of the kernel of
      ``models.fused_readout``, where nothing else wants the logits.
    token_dropout: rate at which words that are read become ##UNK##.
    label_smoothing: share of a target that goes to all V words alike.
    teacher_weight: share of the cost that is the teacher's.
    teacher_temperature: both distributions are taken at it; the cost is then
      multiplied by its square, so that gradients keep their size (Hinton et al.
      2015).
  """

  fused: bool = False
  token_dropout: float = 0.0
  label_smoothing: float = 0.0
  teacher_weight: float = 0.0
  teacher_temperature: float = 1.0

  def __call__(
    self,
    model: Model,
    variables: Variables,
    batch: Batch,
    row_keys: Array | None,
  ) -> tuple[Array, Sums]:
    """Return the cost of a batch in bits, and the bits of its targets.

    Args:
      model: the model.
      variables: of the model.
      batch: tokens, targets [B, T] and features [B, G, D]; of a teacher
        'teacher_words' and 'teacher_probs' [B, T, k], 'teacher_rest' [B, V].
      row_keys: [B] dropout keys.
    """
    targets = batch['targets']
    tokens = drop_tokens(batch['tokens'], self.token_dropout, row_keys)
    taught = self.teacher_weight and 'teacher_words' in batch
    if model.ends_in_product and not self.label_smoothing and not taught:
      log_probs: Any = model.apply(
        variables,
        tokens,
        batch['features'],
        targets,
        row_keys,
        self.fused,
        method='target_log_probs',
      )
      nats = -jnp.where(targets == PAD, 0.0, log_probs).sum()
      bits = nats / math.log(2)
      return bits, {'bits': bits, 'words': (targets != PAD).sum()}
    logits: Any = model.apply(variables, tokens, batch['features'], row_keys)
    bits = -log2_probabilities(logits, targets).sum()
    cost = bits
    if self.label_smoothing:
      uniform = jnp.full((), 1 / logits.shape[-1])
      smooth = cross_entropy(logits, uniform, targets)
      share = self.label_smoothing
      cost = (1 - share) * cost + share * smooth
    if taught:
      T, share = self.teacher_temperature, self.teacher_weight
      soft = soft_targets(batch, logits.shape[-1])
      cost = (1 - share) * cost + share * T**2 * cross_entropy(
        logits / T, soft, targets
      )
    return cost, {'bits': bits, 'words': (targets != PAD).sum()}


def drop_tokens(tokens: Array, rate: float, row_keys: Array | None) -> Array:
  """Make words that are read ##UNK##, each with a probability.

  Args:
    tokens: [B, T] word ids.
    rate: the probability; 0 does nothing.
    row_keys: [B] a key per row, or None at inference.
  """
  if row_keys is None or not rate:
    return tokens
  kept = layers.dropout(
    jnp.ones(tokens.shape), rate, row_keys, layers.NUM_SITES
  )
  special = (tokens == START) | (tokens == PAD)
  return jnp.where((kept > 0) | special, tokens, UNK)


def cross_entropy(logits: Array, wanted: Array, targets: Array) -> Array:
  """Return - sum_v q(v) log2 P(v), summed over all targets.

  Args:
    logits: [B, T, V].
    wanted: q, [B, T, V] or what broadcasts to it; sums to 1 over the words.
    targets: [B, T] word ids; what is padding does not count.
  """
  # As matrices, see ``models.losses``.
  V = logits.shape[-1]
  rows = logits.reshape(-1, V)
  if wanted.ndim:
    wanted = wanted.reshape(-1, V)
  normalizer = jax.nn.logsumexp(rows, axis=-1)
  nats = normalizer - (rows * wanted).sum(-1)
  return jnp.where(targets.ravel() == PAD, 0.0, nats).sum() / math.log(2)


def soft_targets(batch: Batch, vocab_size: int) -> Array:
  """Return a teacher's distribution [B, T, V] of the target words.

  Of its k likeliest words it is exact; what is left is shared out over the
  others as 'teacher_rest' says.

  Args:
    batch: 'teacher_words' and 'teacher_probs' [B, T, k]; 'teacher_rest' [B, V]
      of positive numbers, the same in each row.
    vocab_size: V.
  """
  words, probs = batch['teacher_words'], batch['teacher_probs']
  k = words.shape[-1]
  words, probs = words.reshape(-1, k), probs.reshape(-1, k)
  rest = batch['teacher_rest'][0]  # [V]
  left = jnp.maximum(1 - probs.sum(1), 0) / jnp.maximum(
    rest.sum() - rest[words].sum(1), 1e-9
  )
  rows = jnp.arange(len(words))[:, None]
  soft = (left[:, None] * rest).at[rows, words].set(probs)
  soft = soft.reshape(*batch['teacher_words'].shape[:-1], vocab_size)
  return jax.lax.stop_gradient(soft)


def policy_gradient(
  model: Model, variables: Variables, batch: Batch, row_keys: Array | None
) -> tuple[Array, Sums]:
  """Return - sum advantage x log2 P(sample), the mean over an image's samples.

  Samples are of the words that may be written, and so is P: its gradient is
  that of the expected reward.

  Args:
    model: the model.
    variables: of the model.
    batch: features [B, G, D]; 'samples' [B, G n, T], 'rewards' and 'advantages'
      [B, G n], see ``training.self_critical``.
    row_keys: not looked at: samples were drawn without dropout.
  """
  del row_keys
  features, samples = batch['features'], batch['samples']
  B, G, D = features.shape
  n, T = samples.shape[1] // G, samples.shape[2]
  targets = samples.reshape(B * G * n, T)
  tokens = jnp.pad(targets[:, :-1], [(0, 0), (1, 0)], constant_values=START)
  images = jnp.repeat(features.reshape(B * G, 1, D), n, axis=0)
  logits: Any = model.apply(variables, tokens, images)
  barred = jnp.array([PAD, START, UNK])
  bits = -log2_probabilities(logits.at[..., barred].set(-1e9), targets).sum(1)
  advantages = batch['advantages'].reshape(-1)
  there = targets[:, 0] != PAD
  return (advantages * bits).sum() / n, {
    'bits': jnp.where(there, bits, 0).sum(),
    'words': (targets != PAD).sum(),
    'reward': batch['rewards'].sum(),
    'samples': there.sum(),
  }


OBJECTIVES = {
  'likelihood': Objective(Likelihood()),
  'self_critical': Objective(policy_gradient, measure=CIDER),
}
