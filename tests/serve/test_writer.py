import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mrnn_jax.data.vocabulary import END, START
from mrnn_jax.decoding import batches
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.serve.writer import NUM_SAMPLES, Job, Writer

PREFIX = (4, 5)


@pytest.fixture(scope='module')
def writer(trained_model):
  variables = jax.device_put(trained_model.variables)
  return Writer(trained_model, variables, beam_size=3)


@pytest.fixture(scope='module')
def features():
  return np.random.default_rng(3).normal(size=(6, 7)).astype(np.float32)


@pytest.fixture(scope='module')
def vectors(engine, features):
  return engine.readouts.image_vectors(features)


def test_searches_are_those_of_decoding(
  writer, trained_model, features, vectors
):
  options = DecodeOptions('beam', beam_size=3, num_best=3, max_words=6)
  want = trained_model.generate(features, options)
  # Of one call: the best, several, and with given words.
  jobs = [Job(v, nbest=1 + 2 * (i % 2)) for i, v in enumerate(vectors)]
  found = writer.write([*jobs, Job(vectors[0], PREFIX, nbest=2)])
  for i, captions in enumerate(found[:-1]):
    assert len(captions) == 1 + 2 * (i % 2)
    for k, caption in enumerate(captions):
      length = want.lengths[i, k]
      assert caption.words == tuple(want.words[i, k, :length])
      assert caption.log_prob == pytest.approx(want.log_probs[i, k], abs=1e-4)
      assert caption.num_targets == want.num_targets[i, k]
  given = trained_model.generate(
    features[:1],
    DecodeOptions('beam', beam_size=3, num_best=2, max_words=4),
    prefixes=[PREFIX],
  )
  for k, caption in enumerate(found[-1]):
    rest = given.words[0, k, : given.lengths[0, k]]
    assert caption.words == (*PREFIX, *rest)


def test_given_words_count(writer, vectors, features, truth):
  for caption in writer.write([Job(vectors[2], PREFIX, nbest=3)])[0]:
    sentence = [START, *caption.words] + [END] * (not caption.cut)
    (want,) = truth([sentence], features[2:3])
    assert caption.log_prob == pytest.approx(want[0], abs=1e-4)
    assert caption.num_targets == len(sentence) - 1


def test_samples_are_those_of_their_temperature(
  writer, trained_model, vectors, features, truth
):
  temperature = 0.5
  options = DecodeOptions(
    'sample', num_samples=NUM_SAMPLES, temperature=temperature, max_words=6
  )
  none, seeds = jnp.zeros(2, np.int32), jnp.asarray([8, 5], np.int32)
  want = jax.jit(batches.decode, static_argnums=(0, 1, 2))(
    trained_model.model,
    options,
    2,
    trained_model.variables,
    jax.random.key(0),
    vectors[:2],
    np.zeros((2, 0), np.int32),
    none,
    none + 6,
    seeds,
  )
  # Beside another temperature, in one step.
  jobs = [
    Job(vectors[0], nbest=NUM_SAMPLES, sample=True, temperature=t, seed=s)
    for t, s in ((temperature, 8), (1.0, 1))
  ]
  jobs.append(
    Job(vectors[1], nbest=2, sample=True, temperature=temperature, seed=5)
  )
  found = writer.write(jobs)
  assert len(found[2]) == 2
  for row, captions in ((0, found[0]), (1, found[2])):
    for k, caption in enumerate(captions):
      assert caption.words == tuple(want.words[row, k, : want.lengths[row, k]])
      # The model's own probability, whatever the temperature.
      sentence = [START, *caption.words] + [END] * (not caption.cut)
      (own,) = truth([sentence], features[row : row + 1])
      assert caption.log_prob == pytest.approx(own[0], abs=1e-4)


def test_each_word_and_what_else_could_stand_there(
  writer, vectors, features, word_truth
):
  (caption,) = writer.write([Job(vectors[4], told=True)])[0]
  assert len(caption.told) == len(caption.words) + (not caption.cut)
  truth = word_truth([START, *caption.words], features[4])
  words = [*caption.words, END]
  for t, (log_prob, others) in enumerate(caption.told):
    assert log_prob == pytest.approx(truth[t, words[t]], abs=1e-4)
    order = [w for w in np.argsort(-truth[t]) if w not in (0, 1, 3)]
    assert [w for w, _ in others] == order[:8]
    values = [x for _, x in others]
    assert values == pytest.approx(truth[t, order[:8]], abs=1e-4)
  total = sum(log_prob for log_prob, _ in caption.told)
  assert caption.log_prob == pytest.approx(total, abs=1e-4)
