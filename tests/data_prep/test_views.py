"""Views from a feature file through a dataset into training and evaluation."""

import json

import numpy as np
import pytest
import tiny_run

from data_prep import build
from mrnn_jax import config as config_lib
from mrnn_jax import stored_model, tasks
from mrnn_jax.data import datasets
from mrnn_jax.runtime.errors import InputError

FLIPS = [False, True, False]


@pytest.fixture(scope='module')
def viewed(tmp_path_factory, record_maker):
  """A dataset whose images have three views, and the views by image."""
  folder = tmp_path_factory.mktemp('views')
  rng = np.random.default_rng(0)
  views, lines = {}, []
  for seed, split in enumerate(('train', 'validation', 'test')):
    for record in record_maker(20 if split == 'train' else 8, seed=seed):
      name = f'{split}_{record["image_id"]}'
      noise = rng.normal(size=(3, 8)) * [[0], [1], [1]]
      views[name] = (record['feature'] + noise).astype(np.float32)
      line = {'image_id': name, 'captions': record['captions'], 'split': split}
      lines.append(json.dumps(line))
  (folder / 'captions.jsonl').write_text('\n'.join(lines))
  stacked = np.stack(list(views.values()))
  np.savez(
    folder / 'f.npz',
    ids=list(views),
    features=stacked[:, 0],
    views=stacked[:, 1:],
    view_flips=FLIPS,
  )
  return folder, views


def make(folder, **changes):
  build.build(
    build.BuildConfig(
      dataset='tiny',
      captions=str(folder / 'captions.jsonl'),
      features=str(folder / 'f.npz'),
      data_dir=str(folder),
      **changes,
    )
  )


def test_a_dataset_keeps_views(viewed, capsys):
  folder, views = viewed
  make(folder)
  assert '36 images, 3 views of 8 numbers each' in capsys.readouterr().out
  dataset = datasets.open_dataset('tiny', str(folder))
  assert dataset.view_flips == FLIPS
  vocabulary = dataset.vocabulary(1)
  for how, wanted in (
    ('first', lambda x: x[0]),
    ('average', lambda x: x.mean(0)),
  ):
    split = datasets.load_split(dataset, 'test', vocabulary, views=how)
    np.testing.assert_allclose(
      split.features.all(),
      [wanted(views[name]) for name in split.image_ids],
      rtol=1e-6,
    )


def test_training_and_evaluation_say_which_views(viewed, tmp_path, capsys):
  folder, views = viewed
  make(folder)
  options = {'num_epochs': 2.0, 'eval_views': 'average'}
  config = tiny_run.config(tmp_path / 'w', folder, **options)
  tasks.run(tiny_run.given(config))
  stored = stored_model.read(tmp_path / 'w')
  train = np.stack([views[x] for x in sorted(views) if x.startswith('train')])
  # Of all views, as training draws from them; P(w) of their means.
  np.testing.assert_allclose(
    stored.variables['statistics']['mean'], train.mean((0, 1)), rtol=1e-4
  )
  means = train.mean(1)
  assert all(
    np.isclose(means, feature, rtol=1e-5).all(1).any()
    for feature in stored.norm_features
  )
  evaluate = {'task': 'evaluate', 'retrieval': False, 'max_words': 3}
  tasks.run(config_lib.Given({**evaluate, 'workdir': str(tmp_path / 'w')}))
  assert '--eval_views=average' in capsys.readouterr().err
  result = json.loads((tmp_path / 'w' / 'evaluation.json').read_text())
  assert result['convention']['views'] == 3
  assert result['convention']['eval_views'] == 'average'
  with pytest.raises(InputError, match='--train_views=5.* have 3 views'):
    more = tiny_run.config(tmp_path / 'w2', folder, train_views=5)
    tasks.run(tiny_run.given(more))
