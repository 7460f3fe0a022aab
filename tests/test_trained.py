import dataclasses
import hashlib
import logging

import jax
import numpy as np
import pytest
import small_models

import mrnn_jax
from mrnn_jax import config as config_lib
from mrnn_jax import models, trained
from mrnn_jax.data.vocabulary import SPECIAL_WORDS, Vocabulary
from mrnn_jax.decoding.options import DecodeOptions
from mrnn_jax.ranking import ranker as ranker_lib
from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError

D = 6
SENTENCES = ['A dog runs.', 'two dogs', 'a man on a horse', 'a dog']


@pytest.fixture(scope='module')
def model():
  vocabulary = Vocabulary(
    (*SPECIAL_WORDS, 'a', 'dog', 'dogs', 'man', 'on', 'runs', 'two')
  )
  config = config_lib.Config(
    embedding_size=4, recurrent_size=5, multimodal_size=7, max_words=6
  )
  network = models.create_model('m-rnn', len(vocabulary), D, config.fixed())
  rng = np.random.default_rng(0)
  return trained.TrainedModel(
    model=network,
    variables=small_models.init(network, jax.random.key(3)),
    vocabulary=vocabulary,
    norm_features=rng.normal(size=(9, D)).astype(np.float32),
    config=config,
    dataset={
      'name': 'toy',
      'feature_size': D,
      'encoder': {'name': 'a network', 'weights': ''},
    },
    step=17,
    devices=parallel.local_devices(1),
  )


@pytest.fixture(scope='module')
def features():
  return np.random.default_rng(1).normal(size=(5, D)).astype(np.float32)


def test_a_saved_model_is_the_same_but_for_rounding(model, features, tmp_path):
  path = tmp_path / 'a model.npz'
  model.save(path, norm_images=4)
  loaded = mrnn_jax.load(path)
  assert loaded.vocabulary == model.vocabulary
  assert loaded.dataset == model.dataset
  assert loaded.step == 17
  assert loaded.config.fixed() == model.config.fixed()
  np.testing.assert_allclose(
    loaded.log_prob(features, SENTENCES),
    model.log_prob(features, SENTENCES),
    atol=0.02,
  )
  loaded.rank(features, SENTENCES, norm_images=4)
  with pytest.raises(InputError, match='carries only 4 training images'):
    loaded.rank(features, SENTENCES, norm_images=5)


def test_identity_is_that_of_the_program_that_stored_the_model(model):
  """An option that came later makes a stored model no other one."""
  digest = hashlib.sha256(b"{'model': 'm-rnn', 'embedding_size': 4}")
  for leaf in jax.tree.leaves(model.variables):
    digest.update(np.asarray(leaf).tobytes())
  stored = {'model': 'm-rnn', 'embedding_size': 4}
  old = dataclasses.replace(model, stored_config=stored)
  assert old.identity() == digest.hexdigest()
  assert model.identity() != old.identity()


def test_a_saved_model_saves_the_same_bytes(model, tmp_path):
  first, second = tmp_path / '1.npz', tmp_path / '2.npz'
  model.save(first)
  mrnn_jax.load(first).save(second)
  assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
  ('content', 'message'),
  [(None, 'no model file'), (b'PK broken', 'not a model file')],
)
def test_a_bad_model_file_is_named(tmp_path, content, message):
  path = tmp_path / 'x.npz'
  if content:
    path.write_bytes(content)
  with pytest.raises(InputError, match=message):
    mrnn_jax.load(path)


def test_numbers_beyond_half_precision_are_refused(model, tmp_path):
  huge = dataclasses.replace(model, norm_features=np.full((2, D), 1e6))
  with pytest.raises(InputError, match='norm_features'):
    huge.save(tmp_path / 'x.npz')
  assert not list(tmp_path.iterdir())


def test_caption_is_the_best_of_a_beam(model, features):
  decoded = model.generate(
    features, DecodeOptions(method='beam', beam_size=3, max_words=6)
  )
  captions = model.caption(features)
  assert len(captions) == len(features)
  for caption, words, length in zip(
    captions, decoded.words, decoded.lengths, strict=True
  ):
    assert model.vocabulary.encode(caption.split()) == list(
      words[0, : length[0]]
    )


def test_captions_are_as_was_chosen_with_the_model(model, features):
  config = model.config.replace(beam_size=1, min_words=5, max_words=5)
  chosen = dataclasses.replace(model, config=config)
  captions = chosen.caption(features)
  assert [len(caption.split()) for caption in captions] == [5] * len(features)
  assert captions == chosen.caption(features, beam_size=1)
  words = chosen.caption(features, max_words=6)
  assert max(len(caption.split()) for caption in words) == 6


def test_nothing_is_compiled_twice(model, features):
  def work():
    model.caption(features)
    model.rank(features, SENTENCES, norm_images=3)

  work()
  with jax.log_compiles(), pytest.MonkeyPatch.context() as patch:
    compiled = []
    patch.setattr(
      logging.getLogger('jax._src.interpreters.pxla'),
      'log',
      lambda level, message, *args: compiled.append(args),
    )
    work()
  assert not compiled


def test_an_image_without_a_caption_is_told(model, features, monkeypatch):
  """Where the rules leave none there are no words, which is no caption."""
  found = model.generate(
    features, DecodeOptions(method='beam', beam_size=3, max_words=6)
  )
  found.log_probs[3, 0] = -np.inf
  monkeypatch.setattr(trained.TrainedModel, 'generate', lambda *_, **__: found)
  with pytest.raises(InputError, match='no caption keeps to min_words'):
    model.caption(features)


def test_log_prob_is_one_row_an_image(model, features):
  log_probs = model.log_prob(features, SENTENCES)
  assert log_probs.shape == (5, 4)
  one = model.log_prob(features[2:3], SENTENCES[1:2])
  np.testing.assert_allclose(one, log_probs[2:3, 1:2], rtol=1e-5)


def test_log_prob_is_exact_where_ranking_is_not(model, features, monkeypatch):
  """As on a GPU, where ranking rounds by default."""
  exact = model.log_prob(features, SENTENCES)
  fresh = dataclasses.replace(model)  # Without the rankers made so far.
  monkeypatch.setattr(
    ranker_lib,
    'operand_dtype',
    lambda dtype, devices: 'bfloat16' if dtype == 'auto' else dtype,
  )
  assert fresh.ranker().arithmetic == 'bfloat16'
  np.testing.assert_array_equal(fresh.log_prob(features, SENTENCES), exact)


def test_rank_normalises_by_training_images(model, features):
  seen = []
  ranking = model.rank(
    features,
    SENTENCES,
    top=2,
    norm_images=6,
    progress=lambda done, total: seen.append(done / total),
  )
  log_probs = model.log_prob(features, SENTENCES)
  drawn = model.log_prob(model.norm_features[:6], SENTENCES)
  scores = log_probs - np.log(np.exp(drawn).mean(0))
  order = np.argsort(-scores, axis=1)[:, :2]
  np.testing.assert_array_equal(ranking.sentences, order)
  np.testing.assert_array_equal(
    ranking.images, np.argsort(-log_probs.T, axis=1)[:, :2]
  )
  assert seen == sorted(seen)
  assert seen[-1] == 1


def test_rank_by_perplexity_without_them(model, features):
  ranking = model.rank(features, SENTENCES, norm_images=0)
  lengths = np.asarray([4, 3, 6, 3])
  scores = model.log_prob(features, SENTENCES) / lengths
  np.testing.assert_array_equal(ranking.sentences, np.argsort(-scores, axis=1))


@pytest.mark.parametrize(
  ('features', 'message'),
  [
    (
      np.zeros((2, 5)),
      r'\(2, 5\): the model wants \[N, 6\], made by a network',
    ),
    (np.zeros(6), r'\[N, 6\]'),
    (np.full((1, 6), np.nan), 'not finite'),
  ],
)
def test_features_of_another_kind_are_refused(model, features, message):
  with pytest.raises(InputError, match=message):
    model.caption(features)


def test_a_sentence_without_a_word_is_refused(model, features):
  with pytest.raises(InputError, match='has no word'):
    model.log_prob(features, ['a dog', '?!'])


def test_captions_as_python_asks_for_them(model, features):
  best = model.caption(features)
  several = model.caption(features, nbest=5)
  assert [x[0] for x in model.caption(features, nbest=1)] == best
  assert {len(x) for x in several} == {5}
  # Of a beam of 5, which need not begin as that of 3 does.
  wide = model.caption(features, beam_size=5)
  assert [x[0] for x in several] == wide
  assert all(len(set(x)) == 5 for x in several)
  with pytest.raises(InputError, match='--beam_size=2 keeps'):
    model.caption(features, beam_size=2, nbest=3)


def test_captions_go_on_from_a_prefix(model, features, capsys):
  found = model.caption(features, prefix='Two Dogs')
  assert all(x.startswith('two dogs') for x in found)
  assert all(len(x.split()) <= 8 for x in found)
  model.caption(features, prefix='a unicorn')
  assert 'does not know unicorn' in capsys.readouterr().err


def test_captions_are_drawn_by_seed(model, features):
  def drawn(**how):
    return model.caption(features, sample=True, nbest=3, **how)

  assert drawn(seed=1) == drawn(seed=1)
  assert drawn(seed=1) != drawn(seed=2)
  assert drawn(top_k=1) == [
    [x] * 3 for x in model.caption(features, beam_size=1)
  ]
  with pytest.raises(InputError, match='sample_seed is for sampling'):
    model.caption(features, seed=3)
