"""Ensembles of models that were trained with their encoders."""

import functools

import jax
import numpy as np
import pytest
import tiny_cnn

import mrnn_jax
from mrnn_jax import config as config_lib
from mrnn_jax import models, stored_model, tasks
from mrnn_jax.data import augmentation, datasets
from mrnn_jax.data.feature_files import Encoder
from mrnn_jax.evaluation import captions
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import run_record

BASE = {'name': tiny_cnn.NAME, 'weights': tiny_cnn.CHECKSUM}
BLOCKS = tiny_cnn.create('tiny_cnn', None).blocks
SIZES = {'embedding_size': 3, 'recurrent_size': 4, 'multimodal_size': 5}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  folder = tmp_path_factory.mktemp('encoders')
  with pytest.MonkeyPatch.context() as patch:
    tiny_cnn.install(patch)
    tiny_cnn.make_photos(folder, num_train=4, num_other=2)
    tiny_cnn.make_dataset(folder)
    yield folder


def write_member(path, place, seed, blocks=(), draw=0):
  """A model file, of whose encoder some blocks are others, and a network."""
  dataset = datasets.open_dataset('boxes', str(place))
  config = config_lib.Config(
    dataset='boxes',
    min_word_count=1,
    data_dir=str(place),
    seed=draw,
    **SIZES,
  )
  vocabulary = dataset.vocabulary(1)
  model = models.create_model(
    config.model, len(vocabulary), dataset.feature_size, config.fixed()
  )
  variables = models.init_variables(model, jax.random.key(seed))
  # So that the image tells.
  variables = jax.tree.map(lambda x: np.float16(3 * np.asarray(x)), variables)
  network, other = (tiny_cnn.create('tiny_cnn', x) for x in (0, seed))
  if blocks:
    trained = {name: other.params[name] for name in blocks}
    variables['encoder'] = jax.tree.map(np.float16, trained)
  description = run_record.describe(config, dataset, vocabulary, None, BASE)
  features = np.zeros((2, tiny_cnn.FEATURES), np.float32)
  stored = stored_model.StoredModel(
    {**description, 'step': 1}, variables, features
  )
  stored_model.write(path, stored)
  params = {**network.params, **variables.get('encoder', {})}
  return jax.tree.map(np.float32, params)


@pytest.fixture(scope='module')
def members(place):
  """Two models with encoders of their own, one with the public one."""
  files = [place / f'{name}.npz' for name in ('all', 'head', 'public')]
  params = [
    write_member(files[0], place, 5, BLOCKS),
    write_member(files[1], place, 6, ['head']),
    write_member(files[2], place, 7),
  ]
  return files, params


def seen_by(params, split, count=2):
  """[N, D] what an encoder makes of the photos of a split."""
  pixels = [
    augmentation.decode(split.photos[i], tiny_cnn.SIDE) for i in range(count)
  ]
  return tiny_cnn.MODULE.apply({'params': params}, np.stack(pixels))


def probabilities(model, feature, tokens):
  """[T] of the words of a caption, by the model's own forward pass."""
  logits = np.float64(
    model.model.apply(
      model.variables, np.asarray([tokens[:-1]]), feature[None, None]
    )[0]
  )
  p = np.exp(logits - logits.max(-1, keepdims=True))
  p /= p.sum(-1, keepdims=True)
  return p[np.arange(len(p)), tokens[1:]]


def test_each_member_sees_the_photos_by_its_own_encoder(place, members):
  files, params = members
  dataset = datasets.open_dataset('boxes', str(place))
  config = config_lib.Config()
  ensemble = mrnn_jax.load(files)
  ensemble.check_dataset(dataset)
  split = ensemble.load_split(dataset, 'test', config)
  want = [seen_by(each, split) for each in params]
  assert np.abs(want[0] - want[1]).max() > 0.1
  assert np.abs(want[1] - want[2]).max() > 0.1
  found = np.stack([split.features[i] for i in range(2)])
  np.testing.assert_allclose(found, np.concatenate(want, axis=1), atol=1e-4)
  # The first one alone finds neighbours: of two test photos, among four.
  consensus = captions.make_consensus(
    ensemble, dataset, config.replace(rerank_neighbors=1)
  )
  train = datasets.load_split(dataset, 'train', ensemble.vocabulary)
  there = seen_by(params[0], train, 4)
  far = np.square(want[0][:, None] - there[None]).sum(-1)
  np.testing.assert_array_equal(consensus.neighbors(found)[:, 0], far.argmin(1))
  # One's own photos, and what is written to one file.
  ensemble.save(place / 'one.npz')
  stored = mrnn_jax.load(place / 'one.npz')
  photos = place / 'photos'
  for model in (ensemble, stored):
    own = model.encode_photos(f'{photos}/test0.jpg,{photos}/test1.jpg')[1]
    np.testing.assert_allclose(own, found, atol=1e-4)
  assert stored.dataset['encoder'] == ensemble.dataset['encoder']
  tokens = ensemble.encode('a red box')
  singles = [mrnn_jax.load(file) for file in files]
  each = [
    probabilities(model, feature[0], tokens)
    for model, feature in zip(singles, want, strict=True)
  ]
  np.testing.assert_allclose(
    stored.log_prob(found[:1], ['a red box'])[0, 0],
    np.log(np.mean(each, axis=0)).sum(),
    rtol=1e-4,
  )


def test_training_images_are_drawn_from_the_dataset(
  place, members, tmp_path, capsys
):
  """Members of other seeds carry other ones: P(w) is of images of both."""
  files, params = members
  other = tmp_path / 'other.npz'
  params = [params[0], write_member(other, place, 6, ['head'], draw=1)]
  given = f'{files[0]},{other}'
  ensemble = mrnn_jax.load(given)
  assert len(ensemble.norm_features) == 0
  dataset = datasets.open_dataset('boxes', str(place))
  assert ensemble.knows(dataset)
  train = datasets.load_split(dataset, 'train', ensemble.vocabulary)
  drawn = np.random.default_rng((0, 1)).permutation(4)[:3]
  pixels = np.stack(
    [augmentation.decode(train.photos[i], tiny_cnn.SIDE) for i in drawn]
  )
  want = np.concatenate(
    [tiny_cnn.MODULE.apply({'params': x}, pixels) for x in params], axis=1
  )
  found = ensemble.draw_training_images(dataset, config_lib.Config(), 3)
  np.testing.assert_allclose(found, want, atol=1e-4)
  # One file takes them along; what is ranked has P(w) without that.
  task = functools.partial(run_task, model_file=given, norm_images=3)
  task('export', output=str(tmp_path / 'one.npz'))
  stored = mrnn_jax.load(tmp_path / 'one.npz').norm_features
  np.testing.assert_allclose(stored, want, rtol=2e-3, atol=2e-3)
  capsys.readouterr()
  task('retrieve', workdir=str(tmp_path))
  assert 'are drawn for P(w)' in capsys.readouterr().out


def run_task(task, **values):
  tasks.run(config_lib.Given({'task': task, 'dataset': 'boxes', **values}))


def test_models_of_one_trained_encoder_share_what_it_sees(place, members):
  files, _ = members
  ensemble = mrnn_jax.load([files[0], files[0]])
  assert ensemble.dataset['feature_size'] == tiny_cnn.FEATURES
  single = mrnn_jax.load(files[0])
  assert ensemble.dataset['encoder'] == single.dataset['encoder']
  photo = str(place / 'photos' / 'test0.jpg')
  np.testing.assert_array_equal(
    ensemble.encode_photos(photo)[1], single.encode_photos(photo)[1]
  )


def test_features_of_the_public_weights_are_refused(members):
  files, _ = members
  ensemble = mrnn_jax.load(files)
  public = Encoder.joined([Encoder(**BASE)] * 3)
  with pytest.raises(InputError, match='trained on features of'):
    ensemble.check_encoder(vars(public), 'f.npz')
  # By name alone all three fit; the checksum of one does not.
  encoder = Encoder(**ensemble.dataset['encoder'])
  parts = encoder.parts
  swapped = Encoder.joined([parts[1], parts[0], parts[2]])
  assert swapped.name == encoder.name
  with pytest.raises(InputError, match='trained on features of'):
    ensemble.check_encoder(vars(swapped), 'f.npz')
  ensemble.check_encoder(vars(encoder), 'f.npz')


def test_blocks_of_no_encoder_are_damage(place, members):
  files, _ = members
  mrnn_jax.load(files[:2]).save(place / 'two.npz')
  with np.load(place / 'two.npz') as archive:
    arrays = dict(archive)
  name = 'encoder/encoder_1/head/bias'
  for other in ('encoder/encoder_7/head/bias', 'encoder/encoder_1/tail/bias'):
    moved = {**arrays, other: arrays[name]}
    del moved[name]
    np.savez(place / 'moved.npz', **moved)
    with pytest.raises(InputError, match='it is damaged'):
      mrnn_jax.load(place / 'moved.npz')
