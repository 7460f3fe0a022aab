"""Ranking factors every model as its contract says."""

import jax
import numpy as np
import pytest
from small_models import apply, make, name_of

from mrnn_jax.data.vocabulary import END, PAD, START
from mrnn_jax.ranking import ranker as ranker_lib
from mrnn_jax.runtime import parallel


def teacher_forced(model, variables, sentences, features):
  """Every sentence for every image, as a caption of its own."""
  S, N, T = len(sentences), len(features), max(map(len, sentences)) - 1
  tokens, targets = np.full((2, S, T), PAD, np.int32)
  for s, sentence in enumerate(sentences):
    tokens[s, : len(sentence) - 1] = sentence[:-1]
    targets[s, : len(sentence) - 1] = sentence[1:]
  logits = apply(
    model,
    variables,
    np.repeat(tokens, N, 0),
    np.tile(features, (S, 1))[:, None],
  )
  log_probs = np.asarray(jax.nn.log_softmax(logits)).reshape(S, N, T, -1)
  chosen = np.take_along_axis(log_probs, targets[:, None, :, None], 3)[..., 0]
  return np.where(targets[:, None] == PAD, 0, chosen).sum(2)


# The simple cell is that of ``test_ranker.py``; a gru's carry is one, too.
@pytest.mark.parametrize(
  'variant',
  [('m-rnn', {'cell': 'lstm'}), ('mlbl-b', {}), ('mlbl-f', {})],
  ids=name_of,
)
def test_factored_is_teacher_forced_whatever_the_carry(variant):
  rng = np.random.default_rng(0)
  sentences = [
    [START, *rng.integers(3, 8, rng.integers(1, 6)), END] for _ in range(15)
  ]
  features = rng.normal(size=(13, 7)).astype(np.float32)
  model, variables = make(variant, vocab_size=20)
  ranker = ranker_lib.Ranker(
    model, variables, parallel.local_devices(2), image_block=5, tile_rows=15
  )
  np.testing.assert_allclose(
    ranker.log_probs(sentences, features),
    teacher_forced(model, variables, sentences, features),
    rtol=1e-5,
    atol=1e-4,
  )
