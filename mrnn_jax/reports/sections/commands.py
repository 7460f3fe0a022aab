"""The commands that make what a page lacks."""

import shlex

from mrnn_jax.config import FIELDS, Config


def command(task: str, config: Config) -> str:
  """Return the command that runs a task on the workdir."""
  words = ['python', '-m', 'mrnn_jax.main', f'--workdir={config.workdir}']
  words.append(f'--task={task}')
  for name in ('data_dir', 'split'):
    value, field = getattr(config, name), FIELDS[name]
    if value != field.default and task in field.metadata['tasks']:
      words.append(f'--{name}={value}')
  return shlex.join(words)
