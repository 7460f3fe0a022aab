"""The log-bilinear models beside their equations, word by word in NumPy."""

import numpy as np
import pytest
from small_models import apply, make

from mrnn_jax.data.vocabulary import START

CAPTION = [START, 4, 9, 3, 6, 4]
V, D, n = 11, 7, 3


def plain(name, variables, feature):
  """Logits [T, V], by Mnih & Hinton and by Kiros et al."""
  p = {
    k: np.asarray(v['kernel'] if isinstance(v, dict) else v, np.float64)
    for k, v in variables['params'].items()
    if k not in ('words', 'gates')
  }
  table = np.asarray(variables['params']['words']['embedding'], np.float64)
  vectors = table
  if name == 'mlbl-f':
    vectors = table @ p['factors']
  E = vectors.shape[1]
  if name != 'lbl':
    statistics = {k: np.asarray(x) for k, x in variables['statistics'].items()}
    image = (feature - statistics['mean']) / statistics['std']
    image = np.clip(image, -5, 5)
  logits = []
  for t in range(len(CAPTION)):
    r = np.zeros(E)
    for i in range(n):  # C_1 is of the word n - 1 places before the last.
      place = t - (n - 1 - i)
      word = CAPTION[place] if place >= 0 else START
      r += vectors[word] @ p['context'][i * E : (i + 1) * E]
    if name != 'lbl':
      r += image @ p['image_context']
    if name == 'mlbl-f':
      gates = variables['params']['gates']
      r = (r @ p['factors'].T) * (image @ gates['kernel'] + gates['bias'])
    logits.append([table[w] @ r + p['bias'][w] for w in range(V)])
  return np.asarray(logits)


@pytest.mark.parametrize('name', ['lbl', 'mlbl-b', 'mlbl-f'])
def test_the_equations(name):
  model, variables = make((name, {}), vocab_size=V, feature_size=D)
  feature = np.random.default_rng(3).normal(size=D).astype(np.float32)
  found = apply(model, variables, np.asarray([CAPTION]), feature[None, None])[0]
  np.testing.assert_allclose(
    found, plain(name, variables, feature), rtol=1e-4, atol=1e-4
  )


def test_only_the_last_words_count():
  """Of a caption, and never those of the caption before in the row."""
  model, variables = make(('lbl', {}))
  rows = np.asarray([[START, 4, 5, 6, 7], [START, 9, 5, 6, 7]])
  language = apply(model, variables, rows, method='language')
  np.testing.assert_array_equal(language[0, 4], language[1, 4])
  assert not np.allclose(language[0, 3], language[1, 3])
  rows = np.asarray([[START, 9, 8, START, 5], [START, 5, 0, 0, 0]])
  packed, alone = apply(model, variables, rows, method='language')
  np.testing.assert_allclose(packed[3:], alone[:2], rtol=1e-6)


def test_factored_without_gates_is_biased():
  """With gates of 1 it is MLBL-B whose words are W_fv W_fk."""
  model, variables = make(('mlbl-f', {}))
  gates = variables['params']['gates']
  gates['kernel'] = np.zeros_like(gates['kernel'])
  gates['bias'] = np.ones_like(gates['bias'])
  features = np.random.default_rng(0).normal(size=(1, 1, D))
  found = apply(model, variables, np.asarray([CAPTION]), features)
  factors = np.asarray(variables['params']['factors'])
  table = np.asarray(variables['params']['words']['embedding'])
  biased, _ = make(('mlbl-b', {}))
  own = {
    'params': {
      **{
        k: variables['params'][k] for k in ('context', 'image_context', 'bias')
      },
      'words': {'embedding': table @ factors},
    },
    'statistics': variables['statistics'],
  }
  expected = apply(biased, own, np.asarray([CAPTION]), features)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
