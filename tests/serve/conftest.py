"""A small service: a tiny encoder, a model of random numbers, drawn photos."""

import importlib.util

from drawn_photos import draw
import numpy as np
import pytest
import small_models
import tiny_encoder

from mrnn_jax import config as config_lib
from mrnn_jax import models, trained
from mrnn_jax.data.vocabulary import SPECIAL_WORDS, Vocabulary
from mrnn_jax.runtime import parallel
from mrnn_jax.serve.settings import Settings

NEEDED = (
  'fastapi',
  'httpx',
  'python_multipart',
  'prometheus_client',
  'uvicorn',
)
if all(importlib.util.find_spec(x) for x in NEEDED):
  from mrnn_jax.serve.engine import Engine
  from mrnn_jax.serve.service import Service
else:  # test_installed.py says so.
  collect_ignore_glob = ['test_[!i]*.py', 'test_index.py']

D = 7
WORDS = ('a', 'dog', 'runs', 'man', 'on', 'grass', 'two', 'red', 'sits', 'ball')


@pytest.fixture(scope='session')
def trained_model():
  vocabulary = Vocabulary((*SPECIAL_WORDS, *WORDS))
  _, variables = small_models.make(
    ('m-rnn', {}), vocab_size=len(vocabulary), feature_size=D
  )
  config = config_lib.Config(
    embedding_size=3, recurrent_size=5, multimodal_size=6, max_words=6
  )
  rng = np.random.default_rng(0)
  return trained.TrainedModel(
    model=models.create_model('m-rnn', len(vocabulary), D, config.fixed()),
    variables=variables,
    vocabulary=vocabulary,
    norm_features=rng.normal(size=(9, D)).astype(np.float32),
    config=config,
    dataset={
      'name': 'toy',
      'feature_size': D,
      'encoder': {'name': 'tiny, squash to 8 x 8', 'weights': ''},
    },
    step=1,
    devices=parallel.local_devices(1),
  )


@pytest.fixture(scope='session')
def engine(trained_model):
  with pytest.MonkeyPatch.context() as patch:
    tiny_encoder.install(patch)
    return Engine(trained_model)


@pytest.fixture(autouse=True)
def _tiny_encoder(monkeypatch):
  """For as long as a test of the service, and no other, runs."""
  tiny_encoder.install(monkeypatch)


@pytest.fixture
def photos(tmp_path):
  folder = tmp_path / 'photos'
  for i in range(6):
    draw(folder / ('sub' if i % 2 else '') / f'{i}.png', i)
  (folder / 'broken.jpg').write_bytes(b'no photo')
  return folder


@pytest.fixture
def make_service(engine, tmp_path, photos):
  """Return what makes a service on the photos; all end with the test."""
  made = []

  def make(**settings):
    settings = Settings(
      photos=str(photos), index=str(tmp_path / 'index'), **settings
    )
    made.append(Service(settings, engine))
    return made[-1]

  yield make
  for service in made:
    service.close()


@pytest.fixture
def client(make_service):
  from service_client import Client

  service = make_service()
  service.indexer._look()
  return Client(service)


def log_softmax(logits):
  logits = np.asarray(logits, np.float64)
  peak = logits.max(-1, keepdims=True)
  return logits - peak - np.log(np.exp(logits - peak).sum(-1, keepdims=True))


ROWS, LENGTH = 64, 12


def plain_words(model, pairs):
  """log P(word | words before, image) of sentences: [L, V] each."""
  found = []
  for first in range(0, len(pairs), ROWS):
    part = pairs[first : first + ROWS]
    tokens = np.zeros((ROWS, LENGTH), np.int32)
    features = np.zeros((ROWS, 1, D), np.float32)
    for row, (sentence, feature) in enumerate(part):
      tokens[row, : len(sentence)] = sentence
      features[row] = feature
    logits = small_models.apply(model.model, model.variables, tokens, features)
    words = log_softmax(logits)
    found += [words[row, : len(s)] for row, (s, _) in enumerate(part)]
  return found


def plain_log_probs(model, sentences, features):
  """log P(sentence | image) [S, N]."""
  pairs = [(s, f) for s in sentences for f in features]
  words = plain_words(model, pairs)
  sums = [
    sum(x[t, w] for t, w in enumerate(s[1:]))
    for x, (s, _) in zip(words, pairs, strict=True)
  ]
  return np.reshape(sums, (len(sentences), len(features)))


@pytest.fixture(scope='session')
def truth(trained_model):
  """Return the plain table of probabilities, for sentences of ids."""
  return lambda sentences, features: plain_log_probs(
    trained_model, sentences, features
  )


@pytest.fixture(scope='session')
def word_truth(trained_model):
  """Return log P of all words after each of a sentence, [L, V]."""
  return lambda sentence, feature: plain_words(
    trained_model, [(sentence, feature)]
  )[0]
