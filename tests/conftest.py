"""Shared setup: four CPU devices, parsed flags, and tiny data."""

import atexit
import contextlib
import csv
import gc
import os
import pathlib
import tempfile

import numpy as np
import pytest
import quick
import shared

# What one test compiles, no other compiles again: neither in another worker of
# this run nor in a child.  Before anybody imports JAX, which reads this then.
if 'PYTEST_XDIST_WORKER' not in os.environ:
  _CACHE = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
  atexit.register(_CACHE.cleanup)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = _CACHE.name
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  quick.install()
  # Nor what Python compiles.
  os.environ.pop('PYTHONDONTWRITEBYTECODE', None)

NOUNS = ['dog', 'cat', 'man', 'girl', 'bird', 'horse']
VERBS = ['runs', 'sits', 'jumps', 'sleeps']
PLACES = ['park', 'street', 'house', 'water', 'grass']


def pytest_configure(config):
  if config.getoption('dist', 'no') != 'no':
    return  # The parent of the workers runs no test, and needs no JAX.
  from absl import flags
  import jax

  # Before JAX starts: tests compare one device with two and four.
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', 4)
  if not flags.FLAGS.is_parsed():
    flags.FLAGS(['tests'], known_only=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
  """A file's tests share what they set up: one worker runs them all."""
  from xdist.scheduler import LoadFileScheduling

  return LoadFileScheduling(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection():
  # One worker after the other: the second finds the files compiled.
  folder = pathlib.Path(os.environ['JAX_COMPILATION_CACHE_DIR'])
  with shared.alone(folder / 'collection.lock'):
    return (yield)


def pytest_collection_finish():
  # Thousands of tests, that the collector need not look through each time.
  gc.collect()
  gc.freeze()


def make_records(num_images: int, feature_size: int = 8, seed: int = 0):
  """Make images whose feature tells what their sentences say."""
  rng = np.random.default_rng(seed)
  world = np.random.default_rng(99).normal(size=(3, 8, feature_size))
  records = []
  for i in range(num_images):
    n, v, p = (int(rng.integers(len(x))) for x in (NOUNS, VERBS, PLACES))
    feature = world[0, n] + world[1, v] + world[2, p]
    feature += 0.1 * rng.normal(size=feature_size)
    texts = [
      f'A {NOUNS[n]} {VERBS[v]} in the {PLACES[p]} .',
      f'The {NOUNS[n]} {VERBS[v]} .',
      f'One {NOUNS[n]} that {VERBS[v]} near some {PLACES[p]} today .',
    ]
    records.append(
      {
        'image_id': f'{i:04d}.jpg',
        'feature': feature.astype(np.float32),
        'captions': texts[: 1 + i % 3],
      }
    )
  return records


@pytest.fixture(scope='session')
def vocab():
  from mrnn_jax.data import vocabulary

  words = NOUNS + VERBS + PLACES
  words += ['a', 'the', 'in', 'near', 'one', 'that', 'some', 'today']
  return vocabulary.Vocabulary.from_counts(dict.fromkeys(words, 9), 1)


@pytest.fixture(scope='session')
def split(vocab):
  from mrnn_jax.data import datasets

  return datasets.make_split('train', make_records(60), vocab)


@pytest.fixture(scope='session')
def record_maker():
  return make_records


@pytest.fixture(scope='session')
def tiny_data_dir(tmp_path_factory):
  """A prepared dataset 'tiny' of 40, 12 and 12 images; not to be changed."""
  return shared.made_once(tmp_path_factory, 'tiny', _make_tiny)


def _make_tiny(folder):
  from data_prep import build

  rows, ids, features = [], [], []
  for seed, split in enumerate(('train', 'validation', 'test')):
    for record in make_records(40 if split == 'train' else 12, seed=seed):
      ids.append(f'{split}_{record["image_id"]}')
      features.append(record['feature'])
      rows += [(ids[-1], text, split) for text in record['captions']]
  with (folder / 'captions.csv').open('w', newline='') as f:
    csv.writer(f).writerows([('image_id', 'caption', 'split'), *rows])
  np.savez(folder / 'f.npz', ids=np.asarray(ids), features=np.stack(features))
  build.build(
    build.BuildConfig(
      dataset='tiny',
      captions=str(folder / 'captions.csv'),
      features=str(folder / 'f.npz'),
      data_dir=str(folder),
    )
  )


@pytest.fixture(scope='session')
def tiny_workdir(tmp_path_factory, tiny_data_dir):
  """A training of ``tiny_run`` with all its checkpoints; not to be changed."""
  import tiny_run

  from mrnn_jax import tasks

  def make(folder):
    config = tiny_run.config(
      folder, tiny_data_dir, keep_checkpoints=9, log_every_steps=1
    )
    tasks.run(tiny_run.given(config))

  return shared.made_once(tmp_path_factory, 'tiny_workdir', make)


@pytest.fixture(scope='session')
def scenes_data_dir(tmp_path_factory):
  """Forty drawn scenes and their features; what building said in said.txt."""
  from data_prep import build

  def make(folder):
    with (folder / 'said.txt').open('w') as f, contextlib.redirect_stdout(f):
      build.build(
        build.BuildConfig('scenes', num_scenes=40, data_dir=str(folder))
      )

  return shared.made_once(tmp_path_factory, 'scenes', make)


@pytest.fixture(scope='session')
def write_toy_model():
  """Return what writes a small model file with random parameters."""
  import jax
  import small_models

  from mrnn_jax import config, models, stored_model
  from mrnn_jax.data import vocabulary

  def write(path, words, feature_size):
    vocab = [*vocabulary.SPECIAL_WORDS, *words]
    fixed = config.Config(
      dataset='custom', embedding_size=4, recurrent_size=5, multimodal_size=7
    ).fixed()
    network = models.create_model('m-rnn', len(vocab), feature_size, fixed)
    stored = stored_model.StoredModel(
      description={
        'config': fixed,
        'vocabulary': vocab,
        'dataset': {
          'name': 'toy',
          'feature_size': feature_size,
          'encoder': {'name': 'toynet', 'weights': 'abc'},
        },
        'step': 3,
      },
      variables=small_models.init(network, jax.random.key(0)),
      norm_features=np.random.default_rng(5).normal(size=(4, feature_size)),
    )
    stored_model.write(path, stored)

  return write
