"""Teacher forcing beside a table of probabilities that are powers of two."""

import jax.numpy as jnp
import numpy as np
import pytest

from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import END, SPECIAL_WORDS, START, UNK, Vocabulary
from mrnn_jax.evaluation import perplexity
from mrnn_jax.runtime import parallel

VOCABULARY = Vocabulary((*SPECIAL_WORDS, 'a', 'dog'))
A, DOG = 4, 5
# log2 P(next | last); an image takes as many bits as its feature says from all
# words, so that 2^-bits of the probability are nobody's.
LOG2 = np.full((6, 6), -9.0)
LOG2[START, A], LOG2[START, DOG] = -1, -2
LOG2[A, DOG], LOG2[A, UNK] = -3, -4
LOG2[DOG, END], LOG2[UNK, END], LOG2[A, END] = -1, -2, -5
RECORDS = [
  {'image_id': 'x', 'feature': [0.0], 'captions': ['a dog', 'dog']},
  {'image_id': 'y', 'feature': [1.0], 'captions': ['A cat!', 'a']},
]


class Table:
  """Looks the next word up; the last entry of a row makes it sum to one."""

  def apply(self, variables, tokens, features):
    log2 = jnp.asarray(LOG2)[tokens] - features
    rest = 1 - jnp.exp2(log2).sum(-1, keepdims=True)
    return jnp.log(jnp.concatenate([jnp.exp2(log2), rest], axis=-1))


@pytest.fixture(scope='module')
def log2_probs():
  records = [
    {**x, 'feature': np.asarray(x['feature'], np.float32)} for x in RECORDS
  ]
  split = datasets.make_split('test', records, VOCABULARY)
  devices = parallel.local_devices(2)
  teacher = perplexity.TeacherForcing(Table(), devices)

  def run(**options):
    variables = {'none': np.zeros((2, 1))}
    return teacher.log2_probs(variables, split, 3, **options)

  return run


def test_bits_of_captions_by_hand(log2_probs):
  calls = []
  found = log2_probs(between=lambda: calls.append(1))
  # a dog #: -1 -3 -1; dog #: -2 -1; a ? #: -1 -4 -2 and 3 more; a #: -1 -5, 2.
  np.testing.assert_allclose(found['log2_prob'], [-5, -3, -10, -8], rtol=1e-5)
  np.testing.assert_allclose(
    found['end_log2_prob'], [-1, -1, -3, -6], rtol=1e-5
  )
  assert found['num_targets'].tolist() == [3, 2, 3, 2]
  assert found['num_unknown'].tolist() == [0, 0, 1, 0]
  assert all(x.dtype == np.float64 for x in list(found.values())[:3])
  assert calls


def test_context_words_are_given_and_not_judged(log2_probs):
  found = log2_probs(context_words=1)
  # Of "dog" and "a" nothing is left.
  np.testing.assert_allclose(found['log2_prob'], [-4, -8], rtol=1e-5)
  assert found['num_targets'].tolist() == [2, 2]
  assert found['num_unknown'].tolist() == [0, 1]


def test_perplexities_by_hand(log2_probs):
  found = perplexity.perplexities(log2_probs())
  assert found == pytest.approx(
    {
      'corpus': 2 ** (26 / 10),
      'geometric_mean': 2 ** ((5 / 3 + 3 / 2 + 10 / 3 + 8 / 2) / 4),
      'without_end': 2 ** (15 / 6),
      'oov_rate': 1 / 6,
    },
    rel=1e-5,
  )


def test_what_is_raised_between_steps_ends_the_work(log2_probs):
  def stop():
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    log2_probs(between=stop)
