"""What a teacher says: asked, kept, beside its words, of unread captions."""

import json
import shutil

import jax
import numpy as np
import pytest
import small_models
import tiny_run

from mrnn_jax import config as config_lib
from mrnn_jax import models, stored_model
from mrnn_jax.data import datasets, folds, input_pipeline
from mrnn_jax.data.vocabulary import PAD
from mrnn_jax.runtime import checkpoint as checkpoint_lib
from mrnn_jax.runtime import stopping
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import loop, teacher


def probabilities(workdir, split, caption, size):
  """What a trained model says of a caption, by its own forward pass."""
  stored = stored_model.read(workdir)
  network = models.create_model('m-rnn', size, 8, stored.description['config'])
  tokens = split.caption_tokens(caption)[None, :-1]
  image = np.full((1, 1), split.owner[caption])
  logits = small_models.apply(
    network, stored.variables, tokens, split.features[image]
  )
  return np.asarray(jax.nn.softmax(logits[0]))


def training_split(data_dir):
  dataset = datasets.open_dataset('tiny', str(data_dir))
  vocabulary = dataset.vocabulary(1)
  return datasets.load_split(dataset, 'train', vocabulary), len(vocabulary)


def test_the_teacher_stands_beside_its_words(split):
  """Each target finds what was said of it, however captions are packed."""
  said = np.repeat(np.arange(split.lengths.sum())[:, None], 2, axis=1)
  taught = teacher.Teacher(split, said, said / 1e4, 30)
  batches = input_pipeline.TrainingBatches(split, 6, 3, 2, seed=0)
  first = np.cumsum(split.lengths) - split.lengths
  for number in range(3):
    batch = batches.batch(number)
    found = taught.prepare(None, None, batch)
    for b, captions in enumerate(batch['captions']):
      expected = [
        first[c] + n
        for c in captions
        if c >= 0
        for n in range(split.lengths[c])
      ]
      targets = batch['targets'][b] != PAD
      np.testing.assert_array_equal(
        found['teacher_words'][b][targets, 0], expected
      )
  assert found['teacher_rest'][0, PAD] < 1e-5 < found['teacher_rest'][0, 4]


def test_a_student_that_is_stopped_goes_on_to_the_same(
  tiny_workdir, tiny_data_dir, tmp_path, monkeypatch
):
  options = {
    'teacher': str(tiny_workdir),
    'teacher_words': 3,
    'average_decay': 0.9,
    'token_dropout': 0.1,
    'num_epochs': 2.0,
  }
  whole, stopped = (
    tiny_run.config(tmp_path / name, tiny_data_dir, **options)
    for name in ('whole', 'stopped')
  )
  loop.train(whole)
  # What the teacher says of the first caption, by its own forward pass.
  said = np.load(tmp_path / 'whole' / teacher.FILE)
  split, size = training_split(tiny_data_dir)
  probs = probabilities(tiny_workdir, split, 0, size)
  best = np.argsort(-probs, axis=-1)[:, :3]
  length = split.lengths[0]
  np.testing.assert_array_equal(said['words'][:length], best)
  np.testing.assert_allclose(
    said['probs'][:length], np.take_along_axis(probs, best, 1), rtol=2e-3
  )

  asked = []
  monkeypatch.setattr(
    stopping, 'requested', lambda: asked.append(0) or len(asked) == 6
  )
  with pytest.raises(stopping.Stopped):
    loop.train(stopped)
  monkeypatch.undo()
  monkeypatch.setattr(teacher, '_ask', None)  # It is not asked again.
  loop.train(stopped)
  assert tiny_run.last_state(tmp_path / 'whole') == tiny_run.last_state(
    tmp_path / 'stopped'
  )
  with checkpoint_lib.Checkpoints(tmp_path / 'whole') as checkpoints:
    state = checkpoints.restore(checkpoints.best_step()).state
  used = stored_model.read(tmp_path / 'whole').variables['params']
  np.testing.assert_array_equal(
    used['recurrent'], state['average']['recurrent']
  )
  assert (used['recurrent'] != state['params']['recurrent']).any()


def test_a_teacher_of_other_words_is_refused(
  tiny_workdir, tiny_data_dir, tmp_path
):
  config = tiny_run.config(
    tmp_path, tiny_data_dir, min_word_count=15, teacher=str(tiny_workdir)
  )
  with pytest.raises(InputError, match='a teacher has the same words'):
    loop.train(config)


@pytest.fixture(scope='module')
def fold_models(tiny_data_dir, tmp_path_factory):
  """Two models, each of which has not read one half."""
  paths = []
  for fold in ('1/2', '2/2'):
    paths.append(tmp_path_factory.mktemp('fold') / 'w')
    loop.train(
      tiny_run.config(
        paths[-1], tiny_data_dir, num_epochs=1.0, held_out_fold=fold
      )
    )
  return paths


def test_a_fold_is_held_out_of_training(fold_models, tiny_data_dir):
  split, _ = training_split(tiny_data_dir)
  for path, fold in zip(fold_models, ('1/2', '2/2'), strict=True):
    kept = ~folds.is_in(split.image_ids, fold)
    captions = kept[split.owner].sum()
    assert 0 < captions < len(split.owner)
    summary = json.loads((path / 'summary.json').read_text())
    assert summary[-1]['last_step'] == -(-captions // 20)
    stored = stored_model.read(path)
    features = split.features.all()[kept]
    np.testing.assert_allclose(
      stored.variables['statistics']['mean'], features.mean(0), rtol=1e-5
    )
    np.testing.assert_array_equal(
      np.sort(stored.norm_features, axis=0), np.sort(features, axis=0)
    )


def test_each_image_is_asked_of_who_has_not_read_it(
  fold_models, tiny_data_dir, tmp_path
):
  config = tiny_run.config(
    tmp_path / 'student',
    tiny_data_dir,
    teacher=','.join(map(str, fold_models)),
    teacher_words=4,
    num_epochs=0.2,
  )
  loop.train(config)
  said = np.load(tmp_path / 'student' / teacher.FILE)
  split, size = training_split(tiny_data_dir)
  first = np.cumsum(split.lengths) - split.lengths
  in_first = folds.is_in(split.image_ids, '1/2')
  for c in (0, len(split.owner) // 2, len(split.owner) - 1):
    asked = fold_models[0 if in_first[split.owner[c]] else 1]
    probs = probabilities(asked, split, c, size)
    best = np.argsort(-probs, axis=-1)[:, :4]
    own = slice(first[c], first[c] + split.lengths[c])
    np.testing.assert_array_equal(said['words'][own], best)
    np.testing.assert_allclose(
      said['probs'][own], np.take_along_axis(probs, best, 1), rtol=2e-3
    )


def test_teachers_that_do_not_go_together_are_refused(
  fold_models, tiny_workdir, tiny_data_dir, tmp_path
):
  first, second = fold_models
  for given, message in (
    ((first, tiny_workdir), f'{tiny_workdir} has read all training images'),
    ((first,), 'all of them have read .*: give models of all parts'),
  ):
    config = tiny_run.config(
      tmp_path, tiny_data_dir, teacher=','.join(map(str, given))
    )
    with pytest.raises(InputError, match=message):
      loop.train(config)


def test_a_student_of_a_fold_is_taught_about_its_images(
  fold_models, tiny_data_dir, tmp_path
):
  """What was said of other images, in the same workdir, is not taken."""
  split, size = training_split(tiny_data_dir)
  for fold, asked in (('1/2', 1), ('2/2', 0)):
    workdir = tmp_path / 'student'
    shutil.rmtree(workdir / checkpoint_lib.FOLDER, ignore_errors=True)
    config = tiny_run.config(
      workdir,
      tiny_data_dir,
      teacher=','.join(map(str, fold_models)),
      teacher_words=2,
      num_epochs=0.1,
      held_out_fold=fold,
    )
    loop.train(config)
    said = np.load(workdir / teacher.FILE)
    own = folds.without(split, fold)
    assert len(said['words']) == own.lengths.sum()
    probs = probabilities(fold_models[asked], own, 0, size)
    np.testing.assert_array_equal(
      said['words'][: own.lengths[0]], np.argsort(-probs, axis=-1)[:, :2]
    )


def test_a_start_that_has_read_the_fold_is_refused(
  fold_models, tiny_data_dir, tmp_path
):
  config = tiny_run.config(
    tmp_path, tiny_data_dir, init_from=str(fold_models[0]), held_out_fold='2/2'
  )
  with pytest.raises(InputError, match='has read that part of the training'):
    loop.train(config)


def test_what_is_fitted_leaves_a_fold_out_too(tiny_data_dir, tmp_path, capsys):
  split, _ = training_split(tiny_data_dir)
  loop.train(
    config_lib.Config(
      task='train',
      dataset='tiny',
      data_dir=str(tiny_data_dir),
      workdir=str(tmp_path),
      min_word_count=1,
      model='ngram',
      held_out_fold='1/2',
    )
  )
  count = len(folds.without(split, '1/2').owner)
  assert f'fitted to {count} captions' in capsys.readouterr().out
