"""Joint embeddings beside their definitions in plain NumPy and SciPy."""

import collections
import math

import jax
import numpy as np
import pytest
import scipy.linalg
from small_models import examples

from mrnn_jax import models
from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from mrnn_jax.models import bag_of_words, devise, skip_gram

A, B, C = 4, 5, 6
V = 12


def sentence(*words):
  return [START, *words, END]


def draw(num_images=60, size=5, seed=0):
  """Pairs of which the first words and features go together."""
  rng = np.random.default_rng(seed)
  features = rng.normal(size=(num_images, size))
  captions, owner = [], []
  for image, feature in enumerate(features):
    for _ in range(rng.integers(1, 4)):
      first = A + int(np.argmax(feature[:3]))
      words = rng.integers(UNK, V, rng.integers(1, 5))
      captions.append(sentence(first, *words))
      owner.append(image)
  return captions, np.asarray(owner), features.astype(np.float32)


def tf_idf(captions, sentences):
  """Rows of length 1, a word and a sentence at a time."""
  counts = collections.Counter(w for text in captions for w in {*text[1:-1]})
  rows = np.zeros((len(sentences), V))
  for row, text in zip(rows, sentences, strict=True):
    for word in text[1:-1]:
      row[word] += math.log((1 + len(captions)) / (1 + counts[word])) + 1
    row /= max(math.sqrt(sum(x * x for x in row)), 1e-300)
  return rows


def padded(sentences, width=9):
  return np.asarray([x + [PAD] * (width - len(x)) for x in sentences])


def cosines(x, y):
  x = x / np.linalg.norm(x, axis=1, keepdims=True)
  return x @ (y / np.linalg.norm(y, axis=1, keepdims=True)).T


def apply(model, fitted, statistics, inputs, method):
  variables = {'params': fitted, 'statistics': statistics}
  return np.asarray(
    jax.jit(lambda v, x: model.apply(v, x, method=method))(variables, inputs)
  )


def found(model, data, sentences, features, params=None):
  """The cosines that a fitted model gives."""
  params = params or model.fit(data)
  rows = padded(sentences)
  text = apply(model, params, data.statistics, rows, 'sentence')
  image = apply(model, params, data.statistics, features, 'image')
  for vectors in (text, image):
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
  return text @ image.T


def create(name, size=5, **options):
  return models.create_model(
    name, V, size, {'feature_scaling': 'none', **options}
  )


def test_bags_by_hand():
  captions = [sentence(A, B, A), sentence(UNK), sentence(B, C), [START, END]]
  data = examples(captions)
  bags = bag_of_words.Bags.count(data.tokens, data.offsets, V)
  assert bags.caption.tolist() == [0, 0, 1, 2, 2]
  assert bags.word.tolist() == [A, B, UNK, B, C]
  assert bags.value.tolist() == [2, 1, 1, 1, 1]
  weights = bags.inverse_document_frequencies()
  assert weights[A] == pytest.approx(math.log(5 / 2) + 1)
  assert weights[B] == pytest.approx(math.log(5 / 3) + 1)
  assert weights[9] == pytest.approx(math.log(5) + 1)
  np.testing.assert_allclose(
    bags.units().value, [2 / 5**0.5, 1 / 5**0.5, 1, 0.5**0.5, 0.5**0.5]
  )
  assert bags.mean()[[A, B, C]].tolist() == [0.5, 0.5, 0.25]


def test_sums_of_bags_are_those_of_dense_ones(monkeypatch):
  monkeypatch.setattr(bag_of_words, '_BLOCK', 7)
  captions, owner, features = draw()
  data = examples(captions, owner, features)
  bags = bag_of_words.Bags.count(data.tokens, data.offsets, V).units()
  dense = np.zeros((len(captions), V))
  for row, text in zip(dense, captions, strict=True):
    for word in text[1:-1]:
      row[word] += 1
    row /= np.linalg.norm(row)
  np.testing.assert_allclose(
    bags.second_moments(), dense.T @ dense / len(captions), atol=1e-12
  )
  np.testing.assert_allclose(
    bags.product(lambda images: features[images], owner),
    features[owner].T.astype(float) @ dense,
    atol=1e-12,
  )


def test_weighted_bags_leave_out_what_is_no_word():
  rows = np.asarray(
    [[START, A, B, A, END, PAD], [START, UNK, END, PAD, PAD, 0]]
  )
  weights = np.arange(V) * 10.0
  bags = np.asarray(bag_of_words.weighted_bags(rows, weights))
  assert bags.sum() == 2 * 40 + 50 + 30
  assert bags[0, [A, B]].tolist() == [80, 50] and bags[1, UNK] == 30


def test_bag_regression_is_ridge_regression():
  """Ridge as rows of its own in plain least squares, one for each pair."""
  captions, owner, features = draw()
  x, y = features[owner].astype(float), tf_idf(captions, captions)
  centre, mean = x.mean(0), y.mean(0)
  variance = (x - centre).var(0, ddof=0).mean()
  rows = math.sqrt(0.25 * variance * len(x)) * np.eye(5)
  solved, *_ = np.linalg.lstsq(
    np.vstack([x - centre, rows]),
    np.vstack([y - mean, np.zeros((5, V))]),
    rcond=None,
  )
  others = [sentence(A, C), sentence(UNK, UNK, B), sentence(9)]
  expected = cosines(
    tf_idf(captions, others) - mean, (features[:8] - centre) @ solved
  )
  np.testing.assert_allclose(
    found(
      create('bow', image_ridge=0.25),
      examples(captions, owner, features),
      others,
      features[:8],
    ),
    expected,
    atol=1e-4,
  )


@pytest.mark.parametrize('power', [0.0, 1.0, 4.0])
def test_cca_solves_the_generalised_eigenvalue_problem(power):
  captions, owner, features = draw()
  x, y = features[owner].astype(float), tf_idf(captions, captions)
  centre, mean = x.mean(0), y.mean(0)
  x, y = x - centre, y - mean
  n = len(x)
  xx, yy, xy = x.T @ x / n, y.T @ y / n, x.T @ y / n
  xx += 0.2 * np.trace(xx) / 5 * np.eye(5)
  yy += 0.5 * np.trace(yy) / V * np.eye(V)
  # Cxy Cyy^-1 Cyx a = r^2 Cxx a, a^T Cxx a = 1; b = Cyy^-1 Cyx a / r.
  squares, a = scipy.linalg.eigh(xy @ np.linalg.solve(yy, xy.T), xx)
  squares, a = squares[:-4:-1], a[:, :-4:-1]
  r = np.sqrt(squares)
  b = np.linalg.solve(yy, xy.T @ a) / r
  assert 0.3 < r[0] < 1
  others = [sentence(A, C), sentence(UNK, UNK, B), sentence(9)]
  expected = cosines(
    (tf_idf(captions, others) - mean) @ b * r**power,
    (features[:8] - centre) @ a * r**power,
  )
  np.testing.assert_allclose(
    found(
      create(
        'cca',
        image_ridge=0.2,
        sentence_ridge=0.5,
        cca_size=3,
        cca_power=power,
      ),
      examples(captions, owner, features),
      others,
      features[:8],
    ),
    expected,
    atol=1e-4,
  )


def test_cca_finds_what_two_sides_share():
  """Of 4 features one tells which of two words a sentence has."""
  rng = np.random.default_rng(0)
  features = rng.normal(scale=3, size=(200, 4)).astype(np.float32)
  captions = [
    sentence(A if x[2] > 0 else B, *rng.integers(7, V, 3)) for x in features
  ]
  data = examples(captions, None, features)
  scores = found(
    create('cca', 4, image_ridge=1e-3, sentence_ridge=1e-3, cca_size=1),
    data,
    [sentence(A), sentence(B)],
    np.asarray([[9, -9, 3, 9], [-9, 9, -3, 9]], np.float32),
  )
  np.testing.assert_allclose(scores, [[1, -1], [-1, 1]], atol=1e-5)


def test_scaling_is_the_models():
  captions, owner, features = draw()
  data = examples(captions, owner, features * [1, 10, 100, 1, 1] + 7)
  scaled = (data.features - data.statistics['mean']) / data.statistics['std']
  others = [sentence(A, C), sentence(9)]
  np.testing.assert_allclose(
    found(
      create('cca', feature_scaling='standardize'),
      data,
      others,
      data.features[:5],
    ),
    found(create('cca'), examples(captions, owner, scaled), others, scaled[:5]),
    atol=2e-3,
  )


def test_the_cost_of_skip_gram_by_hand():
  words = np.zeros((V, 2), np.float32)
  contexts = np.zeros((V, 2), np.float32)
  words[A], contexts[B], contexts[C] = [1, 2], [0.5, 1], [-1, 0]
  # A near B: 2.5; A and C: -1; A and what has no vector: 0.
  found = skip_gram.cost(
    words, contexts, np.asarray([[A, B]]), np.asarray([[C, 9]])
  )
  expected = math.log1p(math.exp(-2.5)) + math.log1p(math.exp(-1)) + math.log(2)
  assert float(found) == pytest.approx(expected, rel=1e-6)


def test_pairs_are_near_each_other_and_of_one_caption():
  data = examples([sentence(A, B, C, 7), sentence(8, 9)])
  caption = np.repeat([0, 1], [6, 4])
  keep = np.asarray([0, 0, 0, *[1] * (V - 3)])
  drawn = collections.Counter()
  rng = np.random.default_rng(0)
  for _ in range(300):
    pairs = skip_gram._pairs(data.tokens, caption, keep, 2, rng)
    drawn.update(map(tuple, pairs.tolist()))
  near = {(A, B), (B, C), (C, 7), (8, 9)}
  far = {(A, C), (B, 7)}
  both = near | far
  assert set(drawn) == both | {(y, x) for x, y in both}
  # Neighbours always, those two away for half the windows.
  assert all(drawn[pair] == 300 for pair in near)
  assert all(120 < drawn[pair] < 180 for pair in far)


def test_words_in_the_same_places_have_like_vectors():
  rng = np.random.default_rng(0)
  captions = []
  for _ in range(400):
    animal, field = rng.choice([4, 5]), rng.choice([6, 7])
    machine, road = rng.choice([8, 9]), rng.choice([10, 11])
    captions += [sentence(animal, field), sentence(machine, road)]
  data = examples(captions)
  told = []
  vectors = skip_gram.word_vectors(
    data.tokens, data.offsets, V, 8, 2, 4, 0, lambda *x: told.append(x)
  )
  likeness = cosines(vectors[4:], vectors[4:])
  assert likeness[0, 1] > 0.8 > 0.3 > likeness[0, 4]
  assert likeness[4, 5] > 0.8
  assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_hinge_by_hand():
  # Images are placed at (1, 0), (0, 1), (0, 1), the last two of one image.
  images = np.asarray([[2, 0], [0, 3], [0, 1]], np.float32)
  texts = np.asarray([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
  # Image 0: right 1; wrong .6 and 0: nothing above 1 - .3.
  # Image 1: right .8, text 0: 0; text 2 is of the same image.  Image 2: as 1.
  eye = np.eye(2, dtype=np.float32)
  owner = np.asarray([0, 1, 1])
  assert float(devise.hinge(eye, images, texts, owner, 0.3)) == 0
  assert float(devise.hinge(eye, images, texts, owner, 0.5)) == pytest.approx(
    0.5 - 1 + 0.6, abs=1e-6
  )
  # Were they of three images: .5 - .8 + 1, and .5 - 1 + .8.
  assert float(
    devise.hinge(eye, images, texts, np.arange(3), 0.5)
  ) == pytest.approx(0.1 + 0.7 + 0.3, abs=1e-6)


def test_what_is_all_zero_has_no_gradient():
  """An image whose features were all dropped must not spoil the map."""
  images = np.asarray([[0, 0], [1, 2]], np.float32)
  texts = np.asarray([[1, 0], [0, 1]], np.float32)
  eye = np.eye(2, dtype=np.float32)
  gradient = jax.grad(devise.hinge)(eye, images, texts, np.arange(2), 2.0)
  assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_devise_tells_images_apart_that_have_words_of_their_own():
  rng = np.random.default_rng(0)
  kinds = rng.integers(0, 4, 120)
  features = np.eye(4, dtype=np.float32)[kinds] + rng.normal(
    scale=0.1, size=(120, 4)
  ).astype(np.float32)
  captions = [
    sentence(4 + 2 * k, *rng.permutation([4, 5]) + 2 * k) for k in kinds
  ]
  model = create(
    'devise',
    4,
    word_vector_size=16,
    skip_gram_epochs=5,
    devise_epochs=20,
    image_dropout=0.1,
  )
  data = examples(captions, None, features)
  texts = [sentence(4 + 2 * k, 5 + 2 * k) for k in range(4)]
  fitted = model.fit(data)
  scores = found(model, data, texts, np.eye(4, dtype=np.float32), fitted)
  assert scores.argmax(0).tolist() == scores.argmax(1).tolist() == [0, 1, 2, 3]
  for name, value in model.fit(data).items():
    np.testing.assert_array_equal(value, fitted[name], name)
  other = model.fit(examples(captions, None, features, seed=1))
  assert not np.allclose(other['words'], fitted['words'])
