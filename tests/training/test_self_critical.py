"""Self-critical training against rewards and gradients made by hand."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

import mrnn_jax
from mrnn_jax.config import FIELDS
from mrnn_jax.data import datasets
from mrnn_jax.data.vocabulary import END, PAD, SPECIAL_WORDS, tokenize
from mrnn_jax.metrics import cider_d
from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import log, loop, self_critical
from mrnn_jax.training.objectives import policy_gradient

A, B = len(SPECIAL_WORDS), len(SPECIAL_WORDS) + 1
V = B + 1


class Coin:
  """Writes A with probability p and B otherwise, or ends, whatever it sees."""

  def apply(self, variables, tokens, features, row_keys=None):
    logits = variables['params']['logits']
    return jnp.broadcast_to(logits, (*tokens.shape, V))


def test_gradient_is_that_of_the_expected_reward():
  """All samples of one word, each as often as it is likely."""
  logits = np.zeros(V, np.float32)
  logits[[A, B, END]] = [0.4, -0.3, -30.0]
  logits[[PAD, 1, 3]] = 2.0  # Never drawn: they must not matter.
  rewards = {A: 0.25, B: 1.0}
  p = np.exp([0.4, -0.3]) / np.exp([0.4, -0.3]).sum()
  count = 4000
  drawn = np.repeat([A, B], np.round(p * count).astype(int))
  n = len(drawn)
  values = np.asarray([rewards[x] for x in drawn], np.float32)
  batch = {
    'features': np.zeros((1, 1, 3), np.float32),
    'samples': drawn[None, :, None].astype(np.int32),
    'rewards': values[None],
    'advantages': self_critical.advantages(values[None]),
  }

  def cost(logits):
    return policy_gradient(Coin(), {'params': {'logits': logits}}, batch, None)[
      0
    ]

  gradient = jax.grad(cost)(jnp.asarray(logits)) * np.log(2)
  # d/dl_A of - sum p r is - p_A p_B (r_A - r_B).
  expected = -p[0] * p[1] * (rewards[A] - rewards[B])
  np.testing.assert_allclose(gradient[A], expected, rtol=5e-3)
  np.testing.assert_allclose(gradient[B], -expected, rtol=5e-3)
  assert not np.asarray(gradient)[[PAD, 1, 3]].any()
  sums = policy_gradient(
    Coin(), {'params': {'logits': jnp.asarray(logits)}}, batch, None
  )[1]
  np.testing.assert_allclose(sums['reward'] / sums['samples'], values.mean())
  assert sums['words'] == sums['samples'] == n


def test_a_baseline_is_the_mean_of_the_others():
  rewards = np.asarray([[1.0, 2.0, 6.0]])
  np.testing.assert_allclose(
    self_critical.advantages(rewards), [[1 - 4, 2 - 3.5, 6 - 1.5]]
  )


def test_samples_end_where_they_ended():
  drawn = types.SimpleNamespace(
    words=np.asarray([[[A, B, B], [B, B, A], [A, A, A]]]),
    lengths=np.asarray([[1, 3, 0]]),
    cut=np.asarray([[False, True, False]]),
  )
  np.testing.assert_array_equal(
    self_critical.as_targets(drawn),
    [[[A, END, PAD, PAD], [B, B, A, PAD], [END, PAD, PAD, PAD]]],
  )


@pytest.fixture(scope='module')
def critic(split, vocab):
  return self_critical.Critic(split, vocab, 3, 6, seed=1)


def test_rewards_are_cider_d_with_the_end_as_a_word(critic, split, vocab):
  image = 4
  own = ' '.join(tokenize(split.captions[image][0]))
  texts = [own, 'the cat', 'one one']
  rows = [vocab.encode(text.split()) for text in texts]
  samples = np.full((3, 12), PAD)
  for i, row in enumerate(rows):
    samples[i, : len(row)] = row
    if i < 2:
      samples[i, len(row)] = END
  documents = [
    [' '.join([*tokenize(text), 'stop']) for text in captions]
    for captions in split.captions
  ]
  expected = cider_d(
    [f'{own} stop', 'the cat stop', 'one one'],
    [documents[image]] * 3,
    documents,
  )
  np.testing.assert_allclose(critic.reward(image, samples), expected)
  assert expected[0] > 1


def test_what_is_prepared_is_of_the_image_of_each_caption(critic, split, vocab):
  """Samples of a model that says one thing of each image."""
  words = len(vocab)

  class Fixed:
    """Says the word whose number the feature's first element is."""

    def apply(self, variables, *args, method):
      if method == 'initial_carry':
        return jnp.zeros((args[0], 1))
      if method == 'image':
        return args[0][..., :1]
      if method == 'language_step':
        carry, tokens = args
        return carry + 1, jnp.float32(tokens)[:, None]
      language, image = args
      chosen = jnp.where(language[..., 0] == 1, image[..., 0], END)
      return 50 * jax.nn.one_hot(jnp.int32(chosen), words)

    def __hash__(self):
      return 7

    def __eq__(self, other):
      return self is other

  numbered = np.zeros((len(split.image_ids), 2), np.float32)
  numbered[:, 0] = 4 + np.arange(len(numbered)) % 9
  split = types.SimpleNamespace(**{**vars(split), 'features': numbered})
  own = self_critical.Critic(split, vocab, 3, 6, seed=1)
  devices = parallel.local_devices(1)
  state = types.SimpleNamespace(
    params=parallel.replicate({'w': np.zeros(1)}, devices),
    step=parallel.replicate(np.int32(5), devices),
  )
  setting = types.SimpleNamespace(
    model=Fixed(),
    statistics={},
    devices=devices,
  )
  captions = np.asarray([[3, 17], [30, -1]])
  found = own.prepare(setting, state, {'captions': captions})
  assert found['samples'].shape[:2] == (2, 6)
  for b, row in enumerate(captions):
    for g, caption in enumerate(row):
      samples = found['samples'][b, 3 * g : 3 * g + 3]
      if caption < 0:
        assert (samples == PAD).all()
        continue
      image = split.owner[caption]
      np.testing.assert_array_equal(
        samples[:, :2], [[numbered[image, 0], END]] * 3
      )
      np.testing.assert_allclose(
        found['rewards'][b, 3 * g : 3 * g + 3],
        own.reward(image, samples),
        rtol=1e-6,
      )
  np.testing.assert_allclose(found['advantages'], 0, atol=1e-6)


def test_a_part_of_a_batch_without_captions_has_no_samples(critic):
  devices = parallel.local_devices(1)
  state = types.SimpleNamespace(
    params=parallel.replicate({'w': np.zeros(1)}, devices),
    step=parallel.replicate(np.int32(5), devices),
  )
  setting = types.SimpleNamespace(model=None, statistics={}, devices=devices)
  found = critic.prepare(setting, state, {'captions': np.full((2, 2), -1)})
  assert found['samples'].shape[:2] == (2, 6)
  assert (found['samples'] == PAD).all() and not found['advantages'].any()


def run(tiny_data_dir, start, workdir, **changes):
  """Train from a workdir on; return what is logged."""
  config = tiny_run.config(
    workdir,
    tiny_data_dir,
    init_from=str(start),
    objective='self_critical',
    learning_rate=0.01,
    max_words=8,
    word_dropout=0.0,
    recurrent_dropout=0.0,
    multimodal_dropout=0.0,
    **changes,
  )
  loop.train(config)
  return log.read_log(workdir)


def test_it_is_validated_by_what_captions_measure(
  tiny_data_dir, tiny_workdir, tmp_path
):
  lines = run(tiny_data_dir, tiny_workdir, tmp_path, num_epochs=1.0)
  assert any('train_reward' in x for x in lines)
  model = mrnn_jax.load(tiny_workdir)
  dataset = datasets.open_dataset('tiny', str(tiny_data_dir))
  split = datasets.load_split(dataset, 'validation', model.vocabulary)
  captions = model.caption(
    split.features.all(), beam_size=1, no_repeat_ngram=0, max_words=8
  )
  references = [
    [' '.join(tokenize(text)) for text in texts] for texts in split.captions
  ]
  values = [x['validation_cider_d'] for x in lines if 'validation_cider_d' in x]
  assert values[0] == cider_d(captions, references).mean() > 0


@pytest.mark.slow
def test_it_raises_the_reward_of_a_trained_model(tiny_data_dir, tmp_path):
  start = tiny_run.config(
    tmp_path / 'start',
    tiny_data_dir,
    num_epochs=6.0,
    learning_rate=0.05,
    word_dropout=0.0,
    recurrent_dropout=0.0,
    multimodal_dropout=0.0,
  )
  loop.train(start)
  lines = run(
    tiny_data_dir, tmp_path / 'start', tmp_path / 'run', num_epochs=6.0
  )
  rewards = [x['train_reward'] for x in lines if 'train_reward' in x]
  assert np.mean(rewards[-3:]) > 1.2 * np.mean(rewards[:2])


def test_without_a_start_or_words_it_is_refused(tiny_data_dir, tmp_path):
  with pytest.raises(InputError, match='goes on from a trained model'):
    tiny_run.config(tmp_path, tiny_data_dir, objective='self_critical')
  with pytest.raises(InputError, match='not for --model=rnn-base'):
    tiny_run.config(
      tmp_path, tiny_data_dir, objective='self_critical', model='rnn-base'
    )
  assert FIELDS['objective'].default == 'likelihood'
