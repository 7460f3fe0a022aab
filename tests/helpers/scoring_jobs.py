"""Scoring jobs on a toy model: the files they read, and how they are run."""

import gzip
import json

from mrnn_jax import config as config_lib
from mrnn_jax import tasks

D = 6
WORDS = ['a', 'dog', 'runs', 'two', 'cat', 'sleeps', 'the', 'in', 'grass']
IDS = [f'{i}.jpg' for i in range(5)]


def sentences_of(rng, n):
  def sentence():
    return ' '.join(rng.choice([*WORDS, 'zebra'], rng.integers(1, 6))) + '.'

  if n % 5:
    return {'sentence': sentence()}
  return {'sentences': [sentence() for _ in range(n % 3 + 1)]}


def write(path, records):
  path.write_text(''.join(json.dumps(x) + '\n' for x in records))


def read(path):
  opened = gzip.open if path.suffix == '.gz' else open
  with opened(path, 'rt') as file:
    return [json.loads(line) for line in file]


def run(folder, output, **changes):
  options = {
    'task': 'score',
    'model_file': str(folder / 'model.npz'),
    'features': str(folder / 'features.npz'),
    'score_input': str(folder / 'r.jsonl'),
    'output': str(output),
    'score_block': 7,
    'rank_tile_rows': 16,
    'num_devices': 1,
  }
  tasks.run(config_lib.Given({**options, **changes}))


def names(folder):
  return sorted(path.name for path in folder.iterdir())
