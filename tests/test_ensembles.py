"""Ensembles the whole way: several files or files as one model."""

import functools
import json
import shutil

import jax
import numpy as np
import pytest
import small_models

from data_prep import build
import mrnn_jax
from mrnn_jax import config as config_lib
from mrnn_jax import (
  model_description,
  models,
  stored_ensemble,
  stored_model,
  tasks,
)
from mrnn_jax.data import datasets, image_features
from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import run_record

D, OTHER_D = 8, 5
SENTENCES = ['A dog runs in the park .', 'The cat sits .']


@pytest.fixture(scope='module')
def other_data_dir(tiny_data_dir, tmp_path_factory):
  """The same captions, with features of another encoder in another order."""
  folder = tmp_path_factory.mktemp('other')
  shutil.copy(tiny_data_dir / 'captions.csv', folder)
  archive = np.load(tiny_data_dir / 'f.npz')
  mixed = archive['features'] @ np.random.default_rng(0).normal(
    size=(D, OTHER_D)
  )
  np.savez(
    folder / 'g.npz',
    ids=archive['ids'][::-1],
    features=np.float32(mixed[::-1]),
    encoder=np.asarray('another network'),
    weights=np.asarray(''),
  )
  build.build(
    build.BuildConfig(
      dataset='tiny',
      captions=str(folder / 'captions.csv'),
      features=str(folder / 'g.npz'),
      data_dir=str(folder),
    )
  )
  return folder


def write_member(path, data_dir, seed=0, **options):
  """A model file as a run on the dataset would export it, but not trained."""
  dataset = datasets.open_dataset('tiny', str(data_dir))
  changes = {'min_word_count': 1, 'beam_size': 2, **options}
  sizes = {'embedding_size': 4, 'recurrent_size': 5}
  if models.options_of(options.get('model', 'm-rnn')) >= set(sizes):
    changes |= {**sizes, 'multimodal_size': 6}
  config = config_lib.Config(
    dataset='tiny', seed=seed, data_dir=str(data_dir), **changes
  )
  vocabulary = dataset.vocabulary(config.min_word_count)
  model = models.create_model(
    config.model, len(vocabulary), dataset.feature_size, config.fixed()
  )
  rng = np.random.default_rng(seed + len(options))
  variables = jax.tree.map(
    lambda x: np.float16(np.abs(rng.normal(size=x.shape)) * x.ndim),
    jax.eval_shape(
      functools.partial(models.init_variables, model), jax.random.key(0)
    ),
  )
  split = datasets.load_split(dataset, 'train', vocabulary)
  stored = stored_model.StoredModel(
    {**run_record.describe(config, dataset, vocabulary), 'step': 7},
    variables,
    run_record.norm_features(split, seed),
  )
  stored_model.write(path, stored)
  return path


@pytest.fixture(scope='module')
def files(tiny_data_dir, other_data_dir, tmp_path_factory):
  folder = tmp_path_factory.mktemp('members')
  return [
    write_member(folder / 'first.npz', tiny_data_dir),
    write_member(folder / 'second.npz', other_data_dir, cell='gru'),
  ]


def run(task, files, workdir, **given):
  values = {
    'task': task,
    'dataset': 'tiny',
    'model_file': ','.join(map(str, files)),
    'workdir': str(workdir),
    'num_devices': 1,
    'norm_images': 5,
    'beam_size': 2,
    **given,
  }
  used = {
    name: value
    for name, value in values.items()
    if task in config_lib.FIELDS[name].metadata['tasks']
  }
  tasks.run(config_lib.Given(used, frozenset({'model_file', *given})))


def features_of(*data_dirs, split='test'):
  """The images' ids, and what is in the datasets, side by side."""
  ids, parts = [], []
  for data_dir in data_dirs:
    records = datasets.open_dataset('tiny', str(data_dir)).records(split)
    by_id = {
      datasets.as_text(x['image_id']): x['feature']
      for x in map(records.__getitem__, range(len(records)))
    }
    ids = ids or sorted(by_id)
    parts.append(np.stack([by_id[name] for name in ids]))
  return ids, parts


def word_probabilities(model, feature, tokens):
  """[T] of the words of a caption, by the model's own forward pass."""
  # Padded behind: what comes later changes nothing before.
  given = np.full((1, 16), PAD)
  given[0, : len(tokens) - 1] = tokens[:-1]
  logits = small_models.apply(
    model.model, model.variables, given, feature[None, None]
  )[0, : len(tokens) - 1]
  logits = np.float64(logits)
  p = np.exp(logits - logits.max(-1, keepdims=True))
  p /= p.sum(-1, keepdims=True)
  return p[np.arange(len(p)), tokens[1:]]


def test_its_perplexity_is_that_of_the_mean_probabilities(
  files, tiny_data_dir, other_data_dir, tmp_path
):
  run('evaluate', files, tmp_path, ensemble_weights='1,3', first_caption_only=1)
  result = json.loads((tmp_path / 'evaluation.json').read_text())
  ids, parts = features_of(tiny_data_dir, other_data_dir)
  records = datasets.open_dataset('tiny', str(tiny_data_dir)).records('test')
  model, members = mrnn_jax.load(files), [mrnn_jax.load(x) for x in files]
  total, words = 0.0, 0
  for i in range(len(records)):
    row = ids.index(datasets.as_text(records[i]['image_id']))
    tokens = model.encode(datasets.as_text(records[i]['captions'][0]))
    one, two = (
      word_probabilities(member, part[row], tokens)
      for member, part in zip(members, parts, strict=True)
    )
    total += np.log2(one / 4 + two * 3 / 4).sum()
    words += len(tokens) - 1
  np.testing.assert_allclose(
    result['perplexity']['corpus'], 2 ** (-total / words), rtol=1e-4
  )
  assert result['model'] == 'ensemble of 2'
  told = result['convention']['ensemble']
  assert told['mean'] == 'arithmetic'
  assert [x['weight'] for x in told['members']] == [1, 3]
  assert result['convention']['encoder']['name'] == 'unknown + another network'
  # Its training captions are known: what was copied from them is told.
  assert 'trained_on' not in result['convention']
  assert result['convention']['norm_images'] == 5
  assert (tmp_path / 'retrieval.jsonl').exists()
  assert len((tmp_path / 'captions.jsonl').read_text().splitlines()) == 12


def test_one_file_holds_them_all(
  files, tiny_data_dir, other_data_dir, tmp_path
):
  path = tmp_path / 'both.npz'
  run('export', files, tmp_path, output=str(path), ensemble='geometric')
  whole = mrnn_jax.load(files, mean='geometric')
  loaded = mrnn_jax.load(path)
  assert loaded.ensemble['mean'] == 'geometric'
  _, parts = features_of(tiny_data_dir, other_data_dir)
  features = np.concatenate(parts, axis=1)
  np.testing.assert_allclose(
    loaded.log_prob(features, SENTENCES),
    whole.log_prob(features, SENTENCES),
    atol=0.02,
  )
  assert loaded.caption(features) == whole.caption(features)
  # The mean, the weights and the members make it what it is.
  others = [
    mrnn_jax.load(files),
    mrnn_jax.load(files, weights='1,2'),
    mrnn_jax.load(files[:1]),
  ]
  assert len({x.identity() for x in [whole, *others]}) == 4
  with pytest.raises(InputError, match='an ensemble already'):
    mrnn_jax.load([path, files[0]])
  beginning = {
    'task': 'train',
    'dataset': 'tiny',
    'data_dir': f'{tiny_data_dir},{other_data_dir}',
    'init_from': str(path),
    'workdir': str(tmp_path / 'run'),
  }
  with pytest.raises(InputError, match='begins from a single model'):
    tasks.run(config_lib.Given(beginning))


def test_features_for_p_of_w_are_of_the_same_images(
  files, tiny_data_dir, other_data_dir
):
  model = mrnn_jax.load(files)
  assert model.norm_features.shape == (40, D + OTHER_D)
  _, parts = features_of(tiny_data_dir, other_data_dir, split='train')
  places = [
    [np.flatnonzero((np.float16(part) == row).all(1)).item() for row in drawn]
    for part, drawn in zip(
      parts,
      (model.norm_features[:, :D], model.norm_features[:, D:]),
      strict=True,
    )
  ]
  assert places[0] == places[1]


@pytest.mark.parametrize('other', [{'seed': 1}, {'held_out_fold': '1/2'}])
def test_members_of_other_draws_have_no_p_of_w(
  files, other_data_dir, tmp_path, capsys, other
):
  other = write_member(tmp_path / 'other.npz', other_data_dir, **other)
  model = mrnn_jax.load([files[0], other])
  assert model.norm_features.shape == (0, D + OTHER_D)
  assert 'carry other training images' in capsys.readouterr().err
  # Of one encoder any draw will do.
  same = mrnn_jax.load([files[1], other])
  assert same.norm_features.shape == (40, OTHER_D)
  assert same.dataset['feature_size'] == OTHER_D


def test_features_of_several_files_are_put_together(
  files, tiny_data_dir, other_data_dir, tmp_path
):
  output = tmp_path / 'captions.jsonl'
  run(
    'caption',
    files,
    tmp_path,
    features=f'{tiny_data_dir / "f.npz"},{other_data_dir / "g.npz"}',
    output=str(output),
  )
  lines = [json.loads(x) for x in output.read_text().splitlines()]
  ids, parts = features_of(tiny_data_dir, other_data_dir)
  model = mrnn_jax.load(files)
  expected = model.caption(np.concatenate(parts, axis=1), beam_size=2)
  written = {line['image_id']: line['caption'] for line in lines}
  assert [written[name] for name in ids] == expected


def test_features_of_one_encoder_are_too_few(files, tiny_data_dir, tmp_path):
  with pytest.raises(InputError, match='features of its 2 encoders, their'):
    run('caption', files, tmp_path, features=str(tiny_data_dir / 'f.npz'))


def test_datasets_are_put_together_as_files_are(
  tiny_data_dir, other_data_dir, tmp_path
):
  joined = datasets.open_dataset('tiny', f'{tiny_data_dir},{other_data_dir}')
  build.build(
    build.BuildConfig(
      dataset='tiny',
      captions=str(tiny_data_dir / 'captions.csv'),
      features=f'{tiny_data_dir / "f.npz"},{other_data_dir / "g.npz"}',
      data_dir=str(tmp_path),
    )
  )
  built = datasets.open_dataset('tiny', str(tmp_path))
  assert joined.feature_size == built.feature_size == D + OTHER_D
  assert joined.metadata['encoder'] == built.metadata['encoder']
  expected = np.concatenate(
    features_of(tiny_data_dir, other_data_dir, split='train')[1], axis=1
  )
  ids, (found,) = features_of(tmp_path, split='train')
  np.testing.assert_array_equal(found, expected)
  split = datasets.load_split(joined, 'train', joined.vocabulary(1))
  assert sorted(split.image_ids) == ids
  np.testing.assert_allclose(
    image_features.feature_statistics(split.features)['mean'],
    expected.mean(0),
    rtol=1e-4,
    atol=1e-5,
  )


def test_datasets_of_other_captions_are_not_put_together(
  tiny_data_dir, other_data_dir, tmp_path
):
  lines = (tiny_data_dir / 'captions.csv').read_text().splitlines()
  # A test caption less: the training captions are the same.
  (tmp_path / 'captions.csv').write_text('\n'.join(lines[:-1]) + '\n')
  build.build(
    build.BuildConfig(
      dataset='tiny',
      captions=str(tmp_path / 'captions.csv'),
      features=str(other_data_dir / 'g.npz'),
      data_dir=str(tmp_path),
    )
  )
  joined = datasets.open_dataset('tiny', f'{tiny_data_dir},{tmp_path}')
  with pytest.raises(InputError, match='other captions of test_'):
    records = joined.records('test')
    for i in range(len(records)):
      records[i]


@pytest.mark.parametrize(
  ('weights', 'fault'),
  [('1', 'give 2 numbers'), ('1,-1', 'above 0'), ('1,x', 'give 2 numbers')],
)
def test_weights_that_are_none(weights, fault):
  with pytest.raises(InputError, match=fault):
    stored_ensemble.parse_weights(weights, 2)


def test_what_cannot_be_averaged_is_refused(files, tiny_data_dir, tmp_path):
  fewer = write_member(tmp_path / 'a.npz', tiny_data_dir, min_word_count=15)
  with pytest.raises(InputError, match='another vocabulary'):
    mrnn_jax.load([files[0], fewer])
  blind = write_member(tmp_path / 'b.npz', tiny_data_dir, model='rnn-base')
  with pytest.raises(InputError, match='no model of the ensemble sees'):
    mrnn_jax.load([blind, blind])
  ranks = write_member(tmp_path / 'c.npz', tiny_data_dir, model='devise')
  with pytest.raises(InputError, match='devise, which cannot be in an'):
    mrnn_jax.load([files[0], ranks])
  with pytest.raises(InputError, match='no effect with one model'):
    run('retrieve', files[:1], tmp_path, ensemble='geometric')


def test_features_that_do_not_say_what_made_them_are_no_others(
  files, tiny_data_dir, tmp_path
):
  """Of one size they could be taken for each other's."""
  archive = np.load(tiny_data_dir / 'f.npz')
  np.savez(
    tmp_path / 'f.npz', ids=archive['ids'], features=-archive['features']
  )
  build.build(
    build.BuildConfig(
      dataset='tiny',
      captions=str(tiny_data_dir / 'captions.csv'),
      features=str(tmp_path / 'f.npz'),
      data_dir=str(tmp_path),
    )
  )
  other = write_member(tmp_path / 'other.npz', tmp_path)
  model = mrnn_jax.load([files[0], other, files[0]])
  assert model.dataset['feature_size'] == 2 * D
  assert [x['first'] for x in model.ensemble['members']] == [0, D, 0]


def test_a_damaged_description_is_no_ensemble(files, tmp_path):
  stored = stored_ensemble.read(files)
  good = json.loads(json.dumps(stored.description))
  model_description.check(good, 'here')
  for change in (
    {'mean': 'harmonic'},
    {'members': []},
    {'members': [{**good['ensemble']['members'][0], 'weight': 0}]},
    {'members': good['ensemble']['members'][:1]},
  ):
    bad = {**good, 'ensemble': {**good['ensemble'], **change}}
    with pytest.raises(InputError, match='damaged'):
      model_description.check(bad, 'here')
