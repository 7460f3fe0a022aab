"""Model files and workdirs that are not what they should be."""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import tiny_run

import mrnn_jax
from mrnn_jax import stored_model
from mrnn_jax.runtime import checkpoint as checkpoint_lib
from mrnn_jax.runtime.errors import InputError

D = 6


@pytest.fixture(scope='module')
def sound(write_toy_model, tmp_path_factory):
  """The arrays of a model file."""
  path = tmp_path_factory.mktemp('sound') / 'm.npz'
  write_toy_model(path, ['a', 'dog'], D)
  with np.load(path) as file:
    return dict(file)


def refused(path):
  """The one sentence of a refusal."""
  with pytest.raises(InputError) as error:
    mrnn_jax.load(path)
  message = str(error.value)
  assert str(path) in message and '\n' not in message and len(message) < 600
  return message


def described(arrays, *place, **changes):
  """Arrays whose description has other values at a place."""
  description = json.loads(str(arrays['description']))
  inner = description
  for key in place:
    inner = inner[key]
  for key, value in changes.items():
    if value is None:
      del inner[key]
    else:
      inner[key] = value
  return {**arrays, 'description': np.asarray(json.dumps(description))}


@pytest.mark.parametrize(
  ('place', 'changes', 'message'),
  [
    ([], {'config': None}, 'lacks "config"'),
    ([], {'config': 3}, 'has 3 as "config"'),
    ([], {'vocabulary': None}, 'lacks "vocabulary"'),
    ([], {'vocabulary': ['a']}, 'has no vocabulary'),
    ([], {'dataset': None}, 'lacks "dataset"'),
    ([], {'step': None}, 'lacks "step"'),
    ([], {'step': '3'}, 'as "step"'),
    ([], {'version': 2}, 'another version'),
    (['dataset'], {'feature_size': None}, 'lacks "dataset.feature_size"'),
    (['dataset'], {'feature_size': D + 1}, 'multimodal_image'),
    (['dataset'], {'feature_size': 10**13}, ''),
    (['dataset'], {'feature_size': -1}, ''),
    (
      ['dataset'],
      {'encoder': {'name': 'x'}},
      'lacks "dataset.encoder.weights"',
    ),
    (['config'], {'embedding_size': '4'}, 'as "config.embedding_size"'),
    (['config'], {'embedding_size': 5}, 'embedding_1/embedding is (6, 4), not'),
    (['config'], {'recurrent_size': 2**62}, ''),
    (['config'], {'model': 'none'}, "a model 'none'"),
    (['config'], {'model': 'rnn-base'}, 'multimodal_image'),
  ],
)
def test_a_description_that_is_not_sound(
  sound, tmp_path, place, changes, message
):
  path = tmp_path / 'm.npz'
  np.savez(path, **described(sound, *place, **changes))
  assert message in refused(path)


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'description': None}, 'description'),
    ({'description': np.asarray('[]')}, 'no JSON object'),
    ({'description': np.asarray('[' * 5000)}, 'nested too deeply'),
    ({'description': np.arange(3)}, 'is no text'),
    ({'norm_features': None}, 'norm_features is (), not [K, 6]'),
    ({'norm_features': np.zeros((2, D + 1))}, 'norm_features is (2, 7)'),
    ({'params/softmax/bias': None}, 'params/softmax/bias is missing'),
    ({'params/softmax/bias': np.zeros(7, np.float16)}, 'is (7,), not (6,)'),
    ({'params/softmax/bias': np.zeros(6, np.int32)}, 'is of int32'),
    ({'params/softmax/bias': np.full(6, np.nan)}, 'holds what is no number'),
    ({'params/more': np.zeros(3)}, 'params/more is (3,), not of the model'),
    ({'params': np.zeros(3)}, 'params is (3,), not of the model'),
    ({'statistics/mean': np.array([None] * D)}, 'Python objects'),
  ],
)
def test_arrays_that_are_not_the_models(sound, tmp_path, changes, message):
  path = tmp_path / 'm.npz'
  arrays = {x: y for x, y in {**sound, **changes}.items() if y is not None}
  np.savez(path, **arrays)
  assert message in refused(path)


def test_what_is_packed_to_fill_the_memory_is_refused(sound, tmp_path):
  """A file of 100 KB that would be 100 MB: told by the archive's directory."""
  path = tmp_path / 'm.npz'
  huge = np.zeros((100 << 20) // 2 // D * D, np.float16).reshape(-1, D)
  np.savez_compressed(path, **{**sound, 'norm_features': huge})
  del huge
  assert path.stat().st_size < 200_000
  tracemalloc.start()
  assert 'would become 10' in refused(path)
  assert tracemalloc.get_traced_memory()[1] < 10 << 20
  tracemalloc.stop()


def test_an_array_that_claims_more_than_is_there(sound, tmp_path):
  path = tmp_path / 'm.npz'
  np.savez(path, **sound)
  name = 'norm_features.npy'
  header = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    header, {'descr': '<f2', 'fortran_order': False, 'shape': (2**40, D)}
  )
  changed = io.BytesIO()
  with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, 'w') as new:
    for entry in old.namelist():
      new.writestr(
        entry, header.getvalue() if entry == name else old.read(entry)
      )
  path.write_bytes(changed.getvalue())
  assert 'is cut off' in refused(path)


def test_words_may_be_long_and_of_any_language(sound, tmp_path):
  words = [*json.loads(str(sound['description']))['vocabulary'][:4]]
  words += ['a' * 3000, 'h\xf8st\u732b']
  path = tmp_path / 'm.npz'
  np.savez(path, **described(sound, vocabulary=words))
  assert list(mrnn_jax.load(path).vocabulary.words) == words
  words[-1] = 'a\ud800'
  np.savez(path, **described(sound, vocabulary=words))
  assert 'in its vocabulary' in refused(path)


def test_a_folder_of_that_name(tmp_path):
  (tmp_path / 'm.npz').mkdir()
  refused(tmp_path / 'm.npz')


def test_a_workdir_whose_model_is_not_described(tmp_path):
  with checkpoint_lib.Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(tiny_run.checkpoint(3), 5.0)
  with pytest.raises(InputError, match='in .* lacks "dataset.feature_size"'):
    stored_model.read(tmp_path)
