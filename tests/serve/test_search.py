import numpy as np
import pytest
import small_models

from mrnn_jax import models
from mrnn_jax.serve import readouts as readouts_lib
from mrnn_jax.serve import search as search_lib
from mrnn_jax.serve.pool import BoundCache, Entry, Pool
from mrnn_jax.serve.readouts import Readouts
from mrnn_jax.serve.search import Searcher

SENTENCES = ['a dog runs', 'two dog on grass', 'a man sits', 'a dog', 'a zebra']


@pytest.fixture
def ids(trained_model):
  return [trained_model.encode(s) for s in SENTENCES]


@pytest.fixture
def features():
  return np.random.default_rng(1).normal(size=(40, 7)).astype(np.float32)


@pytest.fixture
def readouts(trained_model, monkeypatch):
  """Subsets of 4 of the 14 words, so that bounds are bounds."""
  monkeypatch.setattr(readouts_lib, 'SUBSET', 4)
  m = trained_model
  return Readouts(m.model, m.variables, m.norm_features, m.devices[0])


@pytest.fixture
def piecemeal(monkeypatch):
  """Nothing is computed at once that can be computed in parts."""
  monkeypatch.setattr(search_lib, '_FEW', 0)
  monkeypatch.setattr(search_lib, '_FIRST', 2)
  monkeypatch.setattr(search_lib, '_BLOCK', 3)


def entry(name):
  return Entry(name, '', 0, '', 0.0, 1, 1)


def fill(pool, readouts, features, first=0):
  names = [f'{first + i}' for i in range(len(features))]
  pool.add([entry(x) for x in names], readouts.image_vectors(features))


# A cell has nothing to do with the readout.
@pytest.mark.parametrize(
  'variant',
  [
    x
    for x in small_models.VARIANTS
    if models.MODELS[x[0]].sees_images and 'cell' not in x[1]
  ],
  ids=small_models.name_of,
)
def test_narrowed_readout_gives_the_logits_of_some_words(variant):
  model, variables = small_models.make(variant)
  axes = readouts_lib.vocabulary_axes(model)
  words = np.asarray([7, 2, 9, 4])
  tokens = np.asarray([[1, 5, 8]])
  language = small_models.apply(model, variables, tokens, method='language')
  feature = np.random.default_rng(2).normal(size=(1, 7)).astype(np.float32)
  image = small_models.apply(model, variables, feature, method='image')
  whole = small_models.apply(
    model, variables, language[0], image, method='readout'
  )
  narrow = small_models.apply(
    model.clone(vocab_size=4),
    readouts_lib.narrowed(variables, axes, words),
    language[0],
    image,
    method='readout',
  )
  np.testing.assert_allclose(narrow, whole[:, words], rtol=1e-5, atol=1e-5)


def test_log_probs_are_those_of_the_model(readouts, ids, features, truth):
  searcher = Searcher(readouts)
  few = features[:5]
  found, chances = searcher.log_probs(ids, readouts.image_vectors(few))
  np.testing.assert_allclose(found, truth(ids, few), atol=1e-4)
  norm = truth(ids, np.random.default_rng(0).normal(size=(9, 7)))
  want = np.log(np.exp(norm).mean(axis=1))
  np.testing.assert_allclose(chances, want, atol=1e-4)


def test_bounds_are_above(readouts, trained_model, ids, features, truth):
  contexts = readouts.contexts(ids)
  tight = []
  for sentence, language in zip(ids, contexts, strict=True):
    words = np.asarray(sentence[1:], np.int32)
    bounds = readouts.bounds(
      language,
      words,
      readouts.likeliest(language),
      readouts.image_vectors(features),
    ).sum(axis=0)
    want = truth([sentence], features)[0]
    assert (bounds >= want - 1e-4).all()
    tight.append(np.mean(bounds - want))
  assert 0.01 < np.mean(tight) < 5  # Bounds, and not the thing itself.


@pytest.mark.usefixtures('piecemeal')
def test_search_finds_what_computing_all_finds(readouts, ids, features, truth):
  pool, searcher = Pool(6), Searcher(readouts)
  fill(pool, readouts, features)
  queries = [(ids[:1], 5), (ids[1:2], 3), (ids[:3], 4), ([ids[3]] * 2, 60)]
  table = truth(ids, features)
  totals = [table[0], table[1], table[:3].sum(0), 2 * table[3]]
  for _ in range(2):  # Again, from what was kept.
    found = searcher.search(pool, queries)
    for one, total, (_, limit) in zip(found, totals, queries, strict=True):
      order = np.argsort(-total)[:limit]
      np.testing.assert_array_equal(one.places, order)
      np.testing.assert_allclose(one.scores, total[order], atol=1e-4)
  assert found[0].num_exact < len(features)
  assert found[3].num_exact == len(features)


@pytest.mark.usefixtures('piecemeal')
def test_photos_come_and_go(readouts, ids, features, truth):
  pool, searcher = Pool(6), Searcher(readouts)
  fill(pool, readouts, features[:10])
  before = searcher.search(pool, [(ids[:1], 4)])[0]
  fill(pool, readouts, features[10:], 10)
  gone = str(before.places[0])
  pool.remove([gone, 'unknown'])
  total = truth(ids[:1], features)[0]
  total[before.places[0]] = -np.inf
  found = searcher.search(pool, [(ids[:1], 4)])[0]
  np.testing.assert_array_equal(found.places, np.argsort(-total)[:4])
  # Changed: a new place, and the old one is dead.
  pool.add([entry('7')], readouts.image_vectors(features[3:4]))
  assert len(pool) == 39
  view = pool.view()
  assert not view.alive[7]
  assert view.alive[40]
  assert [x.name for x in pool.listed(0, 3)] == sorted(
    {str(i) for i in range(40)} - {gone}
  )[:3]


def test_a_pool_of_dead_places_is_renewed():
  pool = Pool(2)
  for _ in range(1001):
    pool.add([entry('a')], np.ones((1, 2)))
  renewed = pool.renewed()
  assert renewed is not pool
  assert len(renewed.view()) == len(renewed) == 1
  assert renewed.renewed() is renewed


def test_the_oldest_bounds_give_way():
  cache = BoundCache(max_bytes=12)
  cache.put('a', np.zeros(1, np.float32))
  cache.put('b', np.zeros(1, np.float32))
  cache.get('a')
  cache.put('c', np.zeros(2, np.float32))
  assert [len(cache.get(x)) for x in 'abc'] == [1, 0, 2]


def test_a_model_without_training_images_has_no_chance(trained_model, ids):
  m = trained_model
  none = np.zeros((0, 7), np.float32)
  searcher = Searcher(Readouts(m.model, m.variables, none, m.devices[0]))
  _, chances = searcher.log_probs(ids, np.zeros((1, 6), np.float32))
  assert chances is None
