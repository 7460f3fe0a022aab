"""What training minimises, by name: likelihood (eq. 6) is one of several.

The step knows nothing of an objective but ``Objective``: parts of a batch,
devices, L2, clipping and the update are its own business.
"""

from collections.abc import Callable, Mapping
import dataclasses
from typing import Any

import jax

from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.models import Model, Variables
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
  """

  cost: Callable[[Model, Variables, Batch, Array | None], tuple[Array, Sums]]
  whole_batch: bool = False
  prepare: Callable[[Setting, Any, Batch], Batch] | None = None


def likelihood(
  model: Model, variables: Variables, batch: Batch, row_keys: Array | None
) -> tuple[Array, Sums]:
  """Return the bits of the target words, - sum log2 P(w_n | w_<n, I) (eq. 6).

  Args:
    model: the model.
    variables: of the model.
    batch: tokens, targets [B, T] and features [B, G, D].
    row_keys: [B] dropout keys.
  """
  logits: Any = model.apply(
    variables, batch['tokens'], batch['features'], row_keys
  )
  bits = -log2_probabilities(logits, batch['targets']).sum()
  words = (batch['targets'] != PAD).sum()
  return bits, {'bits': bits, 'words': words}


OBJECTIVES = {'likelihood': Objective(likelihood)}
