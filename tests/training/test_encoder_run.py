"""From JPEGs to a model with its own encoder, and what it is then used for."""

import json

import jax
import numpy as np
import pytest
import tiny_cnn
import tiny_run

import mrnn_jax
from mrnn_jax import config as config_lib
from mrnn_jax import stored_model, tasks
from mrnn_jax.data import augmentation, datasets
from mrnn_jax.encoders import encode
from mrnn_jax.runtime import stopping
from mrnn_jax.runtime.errors import InputError

OPTIONS = {
  'dataset': 'boxes',
  'train_encoder': 'all',
  'photo_workers': 0,
  'num_epochs': 4.0,
  'eval_every_steps': 2,
  'batch_size': 12,
  'multimodal_dropout': 0.0,
  'encoder_learning_rate': 0.003,
}


@pytest.fixture(scope='module')
def network():
  with pytest.MonkeyPatch.context() as patch:
    yield tiny_cnn.install(patch)


@pytest.fixture(scope='module')
def boxes(network, tmp_path_factory):
  folder = tmp_path_factory.mktemp('boxes')
  tiny_cnn.make_photos(folder)
  tiny_cnn.make_dataset(folder)
  return folder


def train(workdir, folder, **changes):
  config = tiny_run.config(workdir, folder, **{**OPTIONS, **changes})
  tasks.run(tiny_run.given(config))


def read_log(workdir):
  text = (workdir / 'log.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope='module')
def trained(boxes, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('trained') / 'w'
  train(workdir, boxes)
  return workdir


def test_the_model_that_is_stored_has_learned_and_has_its_encoder(
  trained, boxes, network
):
  lines = read_log(trained)
  costs = [x['train_perplexity'] for x in lines if 'train_perplexity' in x]
  assert costs[-1] < 0.7 * costs[0]
  model = mrnn_jax.load(trained)
  assert set(model.encoder) == set(network.blocks)
  moved = tiny_cnn.leaves(dict(model.encoder)) - tiny_cnn.leaves(network.params)
  assert 1e-3 < np.abs(moved).max() < 0.1
  # What encodes photos is what was trained.
  names, features = model.encode_photos(boxes / 'photos')
  pixels = augmentation.decode(
    (boxes / 'photos' / names[3]).read_bytes(), tiny_cnn.SIDE
  )
  want = jax.jit(tiny_cnn.MODULE.apply)({'params': model.encoder}, pixels[None])
  np.testing.assert_allclose(features[3], want[0], rtol=1e-5)
  # P(w) is of training images by the trained encoder.
  by_name = dict(zip(names, features, strict=True))
  train_features = [x for name, x in by_name.items() if 'train' in name]
  assert model.norm_features.shape == (24, tiny_cnn.FEATURES)
  distance = np.abs(model.norm_features[:, None] - train_features).max(-1)
  assert distance.min(1).max() < 1e-4


def test_exported_it_is_one_file_with_the_same_encoder(
  trained, boxes, tmp_path
):
  path = tmp_path / 'model.npz'
  model = mrnn_jax.load(trained)
  model.save(path)
  other = mrnn_jax.load(path)
  assert other.dataset['encoder'] == model.dataset['encoder']
  assert other.encoder_name == f'{tiny_cnn.NAME}, fine-tuned'
  photos = boxes / 'photos'
  (_, first), (_, second) = (x.encode_photos(photos) for x in (model, other))
  np.testing.assert_allclose(first, second, rtol=0.02, atol=0.01)
  other.check_encoder(model.dataset['encoder'], 'here')
  for encoder in (
    {'name': tiny_cnn.NAME, 'weights': tiny_cnn.CHECKSUM},
    {'name': tiny_cnn.NAME, 'weights': ''},
    {'name': f'{tiny_cnn.NAME}, fine-tuned', 'weights': 'ab'},
  ):
    with pytest.raises(InputError, match='features of .*fine-tuned'):
      other.check_encoder(encoder, 'f.npz')
  with np.load(path) as archive:
    arrays = dict(archive)
  arrays['encoder/head/kernel'] = arrays['encoder/head/kernel'][:, :-1]
  np.savez(path, **arrays)
  with pytest.raises(InputError, match='encoder/head/kernel is .* not'):
    stored_model.read(path)
  del arrays['encoder/head/kernel']
  np.savez(path, **arrays)
  with pytest.raises(InputError, match='encoder/head/kernel is missing'):
    stored_model.read(path)


def test_evaluation_sees_the_photos_of_the_dataset(trained, boxes, capsys):
  options = {'task': 'evaluate', 'max_words': 4, 'norm_images': 5}
  tasks.run(config_lib.Given({**options, 'workdir': str(trained)}))
  assert 'encode by tiny_cnn: 8 photos' in capsys.readouterr().err
  result = json.loads((trained / 'evaluation.json').read_text())
  assert result['convention']['encoder']['name'].endswith('fine-tuned')
  assert result['retrieval']['text_to_image']['r@5'] > 0
  model = mrnn_jax.load(trained)
  dataset = datasets.open_dataset('boxes', str(boxes))
  config = model.config.replace(data_dir=str(boxes))
  split = model.load_split(dataset, 'test', config)
  names, features = model.encode_photos(
    [boxes / 'photos' / name for name in split.image_ids]
  )
  np.testing.assert_allclose(split.features.all(), features, rtol=1e-5)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
  trained, boxes, tmp_path, monkeypatch
):
  asked = iter([False] * 5 + [True] * 99)
  with monkeypatch.context() as patch:
    patch.setattr(stopping, 'requested', lambda: next(asked))
    with pytest.raises(stopping.Stopped):
      train(tmp_path / 'w', boxes)
  step, _ = tiny_run.last_state(tmp_path / 'w')
  assert 0 < step < tiny_run.last_state(trained)[0]
  train(tmp_path / 'w', boxes)
  assert tiny_run.last_state(tmp_path / 'w') == tiny_run.last_state(trained)


def begin(start, workdir, boxes, **changes):
  """Train a block of the encoder for an epoch, from another model on."""
  sizes = ('embedding_size', 'recurrent_size', 'multimodal_size')
  values = {n: x for n, x in tiny_run.OPTIONS.items() if n not in sizes}
  values |= {**OPTIONS, 'task': 'train', 'data_dir': str(boxes)}
  values |= {'train_encoder': 'last', 'train_encoder_blocks': 1}
  values |= {'num_epochs': 1.0, 'augment_area': 1.0, 'warmup_steps': 0}
  del values['multimodal_dropout'], values['learning_rate']
  given = {'init_from': str(start), 'workdir': str(workdir), **changes}
  values = {n: x for n, x in {**values, **given}.items() if x is not None}
  tasks.run(config_lib.Given(values))
  return mrnn_jax.load(workdir)


@pytest.mark.slow
def test_a_run_begins_from_features(boxes, network, tmp_path):
  # Frozen features first, by the public weights.
  found = encode.encode_given(boxes / 'photos', [(network, 'squash')])
  np.savez(
    boxes / 'f.npz',
    ids=found.ids,
    features=found.features,
    encoder=tiny_cnn.NAME,
    weights=tiny_cnn.CHECKSUM,
  )
  tiny_cnn.make_dataset(boxes, 'both', features=str(boxes / 'f.npz'))
  frozen = {'dataset': 'both', 'train_encoder': 'none', 'num_epochs': 1.0}
  train(tmp_path / 'frozen', boxes, **frozen)
  assert mrnn_jax.load(tmp_path / 'frozen').encoder is None
  first = begin(tmp_path / 'frozen', tmp_path / 'tuned', boxes, dataset='both')
  assert set(first.encoder) == {'head'}
  assert first.base_encoder['weights'] == tiny_cnn.CHECKSUM
  # Its statistics stay those of the start.
  start = stored_model.read(tmp_path / 'frozen').variables
  jax.tree.map(
    np.testing.assert_array_equal,
    dict(start['statistics']),
    dict(first.variables['statistics']),
  )
  # Step 0 is the start itself: photos give what features gave.
  lines = [read_log(tmp_path / name) for name in ('frozen', 'tuned')]
  best = min(
    x['validation_perplexity'] for x in lines[0] if 'validation_perplexity' in x
  )
  begun = next(x for x in lines[1] if 'validation_perplexity' in x)
  assert begun['step'] == 0
  np.testing.assert_allclose(begun['validation_perplexity'], best, rtol=1e-4)


@pytest.mark.slow
def test_a_run_begins_from_one_with_an_encoder(
  trained, boxes, network, tmp_path
):
  """Of all blocks that are changed, one is trained: the others go along."""
  second = begin(trained, tmp_path / 'second', boxes)
  assert set(second.encoder) == set(network.blocks)
  whole = mrnn_jax.load(trained).encoder
  for name in network.blocks:
    same = np.array_equal(
      tiny_cnn.leaves(second.encoder[name]), tiny_cnn.leaves(whole[name])
    )
    assert same == (name != 'head' or second.step == 0)
  # A step more of it needs its start no longer.
  begin(trained, tmp_path / 'second', boxes)


@pytest.mark.slow
def test_a_run_on_features_of_a_trained_encoder(trained, boxes, tmp_path):
  """Its model has the encoder of its start, and knows the features again."""
  model = mrnn_jax.load(trained)
  names, features = model.encode_photos(boxes / 'photos')
  told = model.dataset['encoder']
  np.savez(
    tmp_path / 'f.npz',
    ids=names,
    features=features,
    encoder=told['name'],
    weights=told['weights'],
  )
  options = {'photos': '', 'encoder': '', 'features': str(tmp_path / 'f.npz')}
  tiny_cnn.make_dataset(boxes, 'tuned', **options)
  how = {'dataset': 'tuned', 'train_encoder': 'none', 'average_decay': 0.9}
  left_out = dict.fromkeys(['train_encoder_blocks', 'encoder_learning_rate'])
  for _ in range(2):  # The second goes on without its start.
    found = begin(
      trained, tmp_path / 'on', boxes, **how, **left_out, augment_area=None
    )
    assert found.step > 0
    assert found.dataset['encoder'] == told
    assert found.base_encoder == model.base_encoder
  result = tmp_path / 'measured'
  tasks.run(
    config_lib.Given(
      {
        'task': 'evaluate',
        'model_file': str(tmp_path / 'on'),
        'max_words': 4,
        'norm_images': 5,
        'workdir': str(result),
      }
    )
  )
  assert (result / 'evaluation.json').exists()


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'train_encoder': 'none'}, 'has photos alone'),
    ({'train_encoder_blocks': 9, 'train_encoder': 'last'}, 'tiny_cnn has 4'),
    ({'model': 'rnn-base'}, 'no gradient comes from --model=rnn-base'),
  ],
)
def test_what_cannot_be_trained_is_told(boxes, tmp_path, changes, message):
  with pytest.raises(InputError, match=message):
    train(tmp_path / 'w', boxes, **changes)


def test_photos_are_wanted(tiny_data_dir, tmp_path):
  with pytest.raises(InputError, match='needs photos, and .* has none'):
    train(tmp_path / 'w', tiny_data_dir, dataset='tiny')
