"""A training run of a second, for tests of what may befall one."""

import json

import numpy as np

from mrnn_jax import config as config_lib
from mrnn_jax.runtime import checkpoint as checkpoint_lib

OPTIONS = {
  'dataset': 'tiny',
  'min_word_count': 1,
  'embedding_size': 4,
  'recurrent_size': 6,
  'multimodal_size': 8,
  'batch_size': 20,
  'num_epochs': 4.0,
  'eval_every_steps': 4,
  'warmup_steps': 3,
  'learning_rate': 0.01,
  'patience': 0,
  'num_devices': 1,
  'num_buckets': 1,
  'log_every_steps': 2,
  'norm_images': 5,
  'reader_threads': 1,
  'compilation_cache': False,
}


def config(workdir, data_dir, **changes):
  options = {'task': 'train', **OPTIONS, **changes}
  return config_lib.Config(
    workdir=str(workdir), data_dir=str(data_dir), **options
  )


def given(config):
  """What a command of such a configuration gives: all that is no default."""
  values = {name: getattr(config, name) for name in config_lib.FIELDS}
  return config_lib.Given(
    {
      name: value
      for name, value in values.items()
      if value != config_lib.FIELDS[name].default
    }
  )


def flags(workdir, data_dir, **changes):
  """The same as a command line: of ``OPTIONS`` and the data what it uses."""
  task = changes.get('task', 'train')
  options = {'data_dir': data_dir, **OPTIONS}
  if 'features' in changes:
    del options['data_dir']
  options = {
    name: value
    for name, value in options.items()
    if task in config_lib.FIELDS[name].metadata['tasks']
  }
  options |= {'task': task, 'workdir': workdir, **changes}
  return [f'--{name}={value}' for name, value in options.items()]


def last_state(workdir):
  """The last step of a run, and the checksum of all that it reached."""
  folder = workdir / checkpoint_lib.FOLDER
  step = max(int(x.name) for x in folder.iterdir() if x.name.isdecimal())
  stored = json.loads((folder / str(step) / 'checksums/metadata').read_text())
  return step, stored['state']


def checkpoint(step):
  """A checkpoint of a few numbers."""
  return checkpoint_lib.Checkpoint(
    step=step,
    state={'params': {'w': np.full((50, 40), step, np.float32)}},
    model={'statistics': {}, 'norm_features': np.ones((3, 4), np.float32)},
    description={'config': {}, 'vocabulary': ['a'], 'dataset': {}},
    progress={'best_step': step},
  )
