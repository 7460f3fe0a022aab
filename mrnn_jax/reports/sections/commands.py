"""The commands that make what a page lacks."""

import shlex

from mrnn_jax.config import Config


def command(task: str, config: Config) -> str:
  """Return the command that runs a task on the workdir."""
  words = ['python', '-m', 'mrnn_jax.main', f'--workdir={config.workdir}']
  words.append(f'--task={task}')
  if config.data_dir:
    words.append(f'--data_dir={config.data_dir}')
  if config.split != 'test':
    words.append(f'--split={config.split}')
  return shlex.join(words)
