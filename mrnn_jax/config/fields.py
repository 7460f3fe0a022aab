"""How a field of ``Config`` is declared, and with it a flag."""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

from mrnn_jax.config.task_facts import TASKS
from mrnn_jax.runtime import files


@dataclasses.dataclass(frozen=True)
class When:
  """What else a field needs to have an effect.

  Attributes:
    holds: ``Config`` -> whether it has one.
    otherwise: where it has none, with fields in braces: 'without --sample'.
    remedy: what to do then, instead of leaving it out.
  """

  holds: Callable[[Any], Any]
  otherwise: str
  remedy: str


# Captions of one's own images, scores of one's own features: no dataset.
DATASET = When(
  lambda c: not (c.task in ('caption', 'score') and (c.photos or c.features)),
  'with --photos or --features',
  'leave these out',
)
# An ensemble's training images for P(w) may have to be drawn from a dataset.
SEVERAL_TO_EXPORT = When(
  lambda c: c.task != 'export' or len(files.split_paths(c.model_file)) > 1,
  'in exporting one model, which has all that it needs',
  'name several models by --model_file=A,B',
)
TRAINS_ENCODER = When(
  lambda c: c.train_encoder != 'none',
  'with --train_encoder=none',
  'choose --train_encoder=last or all',
)
FEATURES = When(lambda c: c.features, 'without --features', 'give --features')
PHOTOS = When(lambda c: c.photos, 'without --photos', 'give --photos')


def flag(
  default: Any,
  text: str,
  tasks: Sequence[str] = tuple(TASKS),
  when: Sequence[When] = (),
  remembered: bool = False,
  **limits: Any,
) -> Any:
  """Declare a field.

  Args:
    default: its value where none is given.  Of a field that a workdir holds
      fast, it must mean what programs did before there was the field.
    text: its help.
    tasks: those that use it.
    when: what else must hold for it to have an effect.
    remembered: whether a workdir remembers it, so that later tasks take it
      over; it is then for task=train, too.
    **limits: ``choices``, ``low``, ``high``, ``above``.
  """
  metadata = {
    'help': text,
    'tasks': tuple(tasks),
    'when': tuple(when),
    'remembered': remembered,
    **limits,
  }
  return dataclasses.field(default=default, metadata=metadata)
