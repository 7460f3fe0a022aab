"""``Config``: everything a run depends on, frozen and checked.

Every field is a flag of the same name.  Some groups make the model what it is:
they are stored with its checkpoints, and a workdir refuses other values.
Fields that are remembered are stored too, and hold for later tasks that do not
give them.
"""

from collections.abc import Sequence
import dataclasses
from typing import Any

from mrnn_jax import models
from mrnn_jax.config import checks
from mrnn_jax.config.model_fields import ModelFields
from mrnn_jax.config.ranking_fields import (
  OwnFields,
  RankingFields,
  ScoringFields,
)
from mrnn_jax.config.run_fields import DataFields, MachineFields, RunFields
from mrnn_jax.config.training_fields import TrainingFields
from mrnn_jax.config.writing_fields import WritingFields


@dataclasses.dataclass(frozen=True)
class Group:
  """Fields that belong together.

  Attributes:
    heading: in the help.
    fields: the dataclass that declares them.
    fixed: whether a workdir holds them fast.
  """

  heading: str
  fields: type
  fixed: bool = False

  def names(self) -> list[str]:
    """Return the names of the fields."""
    return [field.name for field in dataclasses.fields(self.fields)]


GROUPS = (
  Group('What to do, and where', RunFields),
  Group('Data', DataFields, fixed=True),
  Group('Model', ModelFields, fixed=True),
  Group('Training', TrainingFields, fixed=True),
  Group('Writing captions', WritingFields),
  Group('Ranking and retrieval', RankingFields),
  Group('Your own photos and sentences (task=caption, task=rank)', OwnFields),
  Group('Scoring files of pairs (task=score)', ScoringFields),
  Group('Machine and logging', MachineFields),
)


@dataclasses.dataclass(frozen=True)
class Config(  # The groups, the last one first: so fields come in their order.
  MachineFields,
  ScoringFields,
  OwnFields,
  RankingFields,
  WritingFields,
  TrainingFields,
  ModelFields,
  DataFields,
  RunFields,
):
  """Everything a run depends on.  See ``--help`` for each field."""

  def __post_init__(self):
    checks.check(self)

  def fixed(self) -> dict[str, Any]:
    """Return the fields that a workdir holds fast, as JSON values."""
    return {name: getattr(self, name) for name in fixed_names(self.model)}

  def remembered(self) -> dict[str, Any]:
    """Return the fields that later tasks take over, as JSON values."""
    return {name: getattr(self, name) for name in REMEMBERED}

  def replace(self, **changes: Any) -> 'Config':
    """Return a copy with some fields changed."""
    return dataclasses.replace(self, **changes)


FIELDS = {field.name: field for field in dataclasses.fields(Config)}
# Where the data is, and what is chosen together with a model.
REMEMBERED = tuple(n for n, f in FIELDS.items() if f.metadata['remembered'])


def fixed_names(model: str) -> Sequence[str]:
  """Return the names of the fields that a workdir of a model holds fast.

  Of the options of models they are those of this one, in an order of their own,
  so that a further model changes nothing for the runs that there are.
  """
  names: list[str] = []
  for group in GROUPS:
    if group.fields is ModelFields:
      names += ['model', *sorted(models.options_of(model))]
    elif group.fixed:
      names += group.names()
  return names
