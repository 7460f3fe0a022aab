"""``evaluation.json`` as reports read it."""

from typing import Any

from etils import epath

from mrnn_jax.runtime import json_files
from mrnn_jax.runtime.errors import InputError

# What is read of it without asking.
_KEYS = ('dataset', 'model', 'split', 'step', 'convention')


def read(path: epath.Path, command: str) -> dict[str, Any]:
  """Read an evaluation.

  Args:
    path: the file, which is there.
    command: what makes it again.

  Raises:
    InputError: it is broken.
  """
  remedy = f'make it again by "{command}"'
  result = json_files.read_object(path, remedy)
  lacking = [key for key in _KEYS if key not in result]
  if lacking or not isinstance(result['convention'], dict):
    name = (lacking or ['convention'])[0]
    raise InputError(
      f'{path} is not an evaluation, it lacks "{name}": {remedy}.'
    )
  return result
