"""The command line's flags: one for every field of ``Config``."""

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from mrnn_jax.config.given import Given
from mrnn_jax.config.settings import FIELDS, GROUPS


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Define a flag for every field of ``Config``."""
  define: dict[Any, Callable[..., Any]] = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
  }
  for name, field in FIELDS.items():
    define[field.type](
      name, field.default, field.metadata['help'], flag_values=flag_values
    )


def settle(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Let libraries read flags of theirs, where the program has parsed none."""
  if not flag_values.is_parsed():
    flag_values.mark_as_parsed()


def flag_groups() -> dict[str, list[str]]:
  """Return the names of the flags of each group, by the group's heading."""
  return {group.heading: group.names() for group in GROUPS}


def read(flag_values: flags.FlagValues, argv: Sequence[str]) -> Given:
  """Return what was given by flags.

  Args:
    flag_values: flags that were parsed.
    argv: what they were parsed from; the first is the program.

  Raises:
    InputError: a value is beyond its limits, or a flag on the command line is
      not for the task.
  """
  values = {
    name: flag_values[name].value
    for name in FIELDS
    if flag_values[name].present
  }
  return Given(values, _names(argv, flag_values) & values.keys())


def _names(argv: Sequence[str], flag_values: flags.FlagValues) -> set[str]:
  """Return the names of the flags that stand on a command line.

  ``flag_values`` does not tell them from those of flag files.
  """
  names = set()
  words = iter(argv[1:])
  for word in words:
    if word == '--':
      break
    if not word.startswith('-') or word == '-':
      continue
    name, equals, _ = word.removeprefix('-').removeprefix('-').partition('=')
    positive = name.removeprefix('no')
    if name not in flag_values and positive in flag_values:
      name = positive
    elif not equals and not (name in flag_values and flag_values[name].boolean):
      next(words, None)  # Its value, as of --flagfile, which is no flag here.
    names.add(name)
  return names
