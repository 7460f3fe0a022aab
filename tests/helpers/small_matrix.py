"""A small matrix by a formula, for tests of what keeps matrices."""

import json

import numpy as np

from mrnn_jax.evaluation import matrix_store

SENTENCES = [np.asarray([1, s, 2]) for s in range(6)]
FEATURES = np.arange(14, dtype=np.float32).reshape(7, 2)


class FakeRanker:
  """Scores by a formula, two images a block; may be interrupted."""

  tiling = '2 x 500'
  arithmetic = 'float32'
  unit = 'pairs'

  def __init__(self):
    self.computed = 0
    self.stop_at = None

  def blocks(self, sentences, features, progress, first, everywhere):
    assert everywhere
    for number, start in enumerate(range(0, len(features), 2)):
      if number < first:
        continue
      if number == self.stop_at:
        raise KeyboardInterrupt
      self.computed += 1
      columns = slice(start, min(start + 2, len(features)))
      words = np.asarray([s[1] for s in sentences], np.float32)
      block = words[:, None] - features[columns, 0]
      yield np.arange(len(sentences)), columns, block
      progress(columns.stop, len(features))


def expected(features):
  return np.arange(6, dtype=np.float32)[:, None] - features[:, 0]


def store(folder, ranker, identity='a model', sentences=SENTENCES):
  return matrix_store.MatrixStore(folder, ranker, sentences, identity)


def blocks_done(path, block):
  """How many blocks of so many images are there, by the state at a path."""
  if not path.exists():
    return 0
  state = json.loads(path.read_text())
  if state.get('complete'):
    return -(-len(state['images']) // block)
  progress = path.with_suffix('.progress.json')
  if not progress.exists():
    return 0
  return json.loads(progress.read_text())['blocks_done']
