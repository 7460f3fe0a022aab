"""The command line's flags: one for every field of ``Config``."""

import dataclasses

from absl import flags

from mrnn_jax.config import GROUPS, Config


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
  """Define a flag for every field of ``Config``."""
  define = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    str: flags.DEFINE_string,
  }
  for field in dataclasses.fields(Config):
    define[field.type](
      field.name,
      field.default,
      field.metadata['help'],
      flag_values=flag_values,
    )


def flag_groups() -> dict[str, list[str]]:
  """Return the names of the flags of each group, by the group's heading."""
  groups: dict[str, list[str]] = {text: [] for text in GROUPS.values()}
  for field in dataclasses.fields(Config):
    groups[GROUPS[field.metadata['group']]].append(field.name)
  return groups


def from_flags(flag_values: flags.FlagValues = flags.FLAGS) -> Config:
  """Read parsed flags into a ``Config``."""
  names = [field.name for field in dataclasses.fields(Config)]
  return Config(**{name: flag_values[name].value for name in names})


def given(flag_values: flags.FlagValues = flags.FLAGS) -> set[str]:
  """Return the names of the flags that the user gave."""
  return {
    field.name
    for field in dataclasses.fields(Config)
    if flag_values[field.name].present
  }
