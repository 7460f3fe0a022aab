"""What a user asks for, completed by what a workdir or a model's file holds.

Values are merged first and checked then: a ``Config`` is made but once.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
import dataclasses
from typing import Any

from mrnn_jax import models
from mrnn_jax.config import checks
from mrnn_jax.config.model_fields import ModelFields
from mrnn_jax.config.settings import FIELDS, REMEMBERED, Config, fixed_names
from mrnn_jax.runtime.errors import InputError

# Training from a model on, where nothing else is said.
FINE_TUNING = {'learning_rate': 1e-4, 'warmup_steps': 20}


@dataclasses.dataclass(frozen=True)
class Given:
  """Values of some fields of ``Config``, before the others are known.

  A flag that was written into the command itself must have an effect.  A flag
  file is the description of an experiment, for many tasks: what one of them
  does not use is passed over.

  Attributes:
    values: by name; what the task does not use is left out.
    by_hand: names of those that stand on the command line itself.
  """

  values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  by_hand: Set[str] = frozenset()

  def __post_init__(self):
    for name, value in self.values.items():
      checks.check_value(FIELDS[name], value)
    task = self.values.get('task', FIELDS['task'].default)
    for name, value in self.values.items():
      # Scripts hand on what they were not given as --name=''.
      if name in self.by_hand and value != '':
        checks.check_task(FIELDS[name], task)
    used = {
      name: value
      for name, value in self.values.items()
      if task in FIELDS[name].metadata['tasks']
    }
    object.__setattr__(self, 'values', used)

  def get(self, name: str) -> Any:
    """Return the value of a field: its default where none is given."""
    return self.values.get(name, FIELDS[name].default)

  def adding(self, **values: Any) -> 'Given':
    """Return a copy that has some further values."""
    return dataclasses.replace(self, values={**self.values, **values})

  def without(self, names: Iterable[str]) -> 'Given':
    """Return a copy that lacks what a flag file says of some fields."""
    left_out = set(names) - self.by_hand
    values = {n: x for n, x in self.values.items() if n not in left_out}
    return dataclasses.replace(self, values=values)


def begin_from(
  given: Given, description: Mapping[str, Any], source: str
) -> Given:
  """Return what is given, completed by the model that training begins from.

  Its options and what was chosen with it hold; what matters in training alone
  may be given otherwise.  The learning rate is that of ``FINE_TUNING`` unless
  it is given where ``--init_from`` is: a flag file that does not know of a
  start is meant for training from nothing.

  Args:
    given: what the user gave.
    description: of the model, as for ``complete``.
    source: where that is from.

  Raises:
    InputError: something is given that the model has otherwise.
  """
  fixed = _fixed(description['config'], source)
  held = {'model', *models.structure_of(fixed['model'])}
  different = _different(given, {n: fixed[n] for n in sorted(held)})
  if different:
    raise InputError(
      f'--init_from takes the model of {source} as it is, not with '
      f'{", ".join(different)}: leave these flags out.'
    )
  own = {n: fixed[n] for n in ('model', *models.options_of(fixed['model']))}
  known = _remembered(description)
  known.pop('data_dir', None)  # Of what the model was trained on.
  if 'init_from' in given.by_hand:
    given = given.without(FINE_TUNING)
  return dataclasses.replace(
    given, values={**known, **own, **FINE_TUNING, **given.values}
  )


def complete(
  given: Given, description: Mapping[str, Any] | None = None, source: str = ''
) -> Config:
  """Return the configuration that is asked for.

  Args:
    given: what the user gave.  It must agree with the fixed fields of the
      description, and prevails over the remembered ones.
    description: of the run or the model that is used, if there is one:
      'config', its ``Config.fixed()``, and 'remembered'.  Both may lack fields
      that came later: these have their defaults.
    source: where the description is from, for the message.

  Raises:
    InputError: the values cannot be, a flag given by hand has no effect, or
      one differs from a fixed field.
  """
  if description is None:
    values = {**given.values}
  else:
    fixed = _fixed(description['config'], source)
    if fixed['init_from']:
      given = given.without(FINE_TUNING)
    known = _remembered(description)
    other = given.values.get('dataset', fixed['dataset']) != fixed['dataset']
    if given.get('model_file') and other:
      # A model is used on any data; where its own are, does not matter then.
      del fixed['dataset']
      known.pop('data_dir', None)
    different = _different(given, fixed)
    if different:
      raise InputError(
        f'{source} holds a run with other settings than '
        f'{", ".join(different)}: {_remedy(given, different)}.'
      )
    values = {**known, **given.values, **fixed}
  if 'beam_size' not in given.by_hand:
    values['beam_size'] = wide_enough(values)
  own = fixed_names(values.get('model', FIELDS['model'].default))
  foreign = {f.name for f in dataclasses.fields(ModelFields)} - set(own)
  config = Config(**{n: x for n, x in values.items() if n not in foreign})
  checks.check_effect(config, FIELDS, given.by_hand & given.values.keys())
  return config


def _different(given: Given, there: Mapping[str, Any]) -> list[str]:
  """Return the flags that are given otherwise than they are there."""
  return [
    f'--{name}={given.values[name]} (there: {value})'
    for name, value in there.items()
    if name in given.values and given.values[name] != value
  ]


def _remedy(given: Given, different: Sequence[str]) -> str:
  """Return what to do where flags differ from those of a run."""
  uses = given.get('task') in FIELDS['model_file'].metadata['tasks']
  if uses and all(flag.startswith('--dataset=') for flag in different):
    return (
      'to use its model on other data, name it by --model_file and give a '
      '--workdir of its own'
    )
  return 'give another --workdir, or leave these flags as they were'


def _remembered(description: Mapping[str, Any]) -> dict[str, Any]:
  """Return what later tasks take over from a run."""
  there = description.get('remembered', {})
  return {name: there[name] for name in REMEMBERED if name in there}


def wide_enough(values: Mapping[str, Any]) -> int:
  """Return the beam width, or the next that gives what else is asked for.

  Args:
    values: of the fields of ``Config`` by name; some may lack.

  Returns:
    The least width, not below 'beam_size', that holds 'nbest' captions in
    'beam_groups' groups of one size.
  """
  size, nbest, groups = (
    values.get(name, FIELDS[name].default)
    for name in ('beam_size', 'nbest', 'beam_groups')
  )
  if values.get('sample') or (nbest <= size and groups <= 1):
    return size
  return -(-max(size, nbest) // groups) * groups


def _fixed(stored: Mapping[str, Any], source: str) -> dict[str, Any]:
  """Return the fixed fields of a run, all that its model has."""
  model = stored.get('model', FIELDS['model'].default)
  choices = FIELDS['model'].metadata['choices']
  if model not in choices:
    raise InputError(
      f'{source} holds a model {model!r}, which this program does not know: '
      f'it has {", ".join(choices)}.'
    )
  return {
    name: stored.get(name, FIELDS[name].default) for name in fixed_names(model)
  }
