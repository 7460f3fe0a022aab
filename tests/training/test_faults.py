"""Faults of data, disk and input: each a sentence or a correct result."""

import errno
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
import small_models
import tiny_run

from mrnn_jax import models, tasks
from mrnn_jax.data import datasets, image_features, input_pipeline
from mrnn_jax.data.vocabulary import PAD, Vocabulary
from mrnn_jax.evaluation import perplexity
from mrnn_jax.models import losses
from mrnn_jax.runtime import cli, parallel, stopping
from mrnn_jax.runtime.errors import InputError

SHARD = 'caption_features-train.array_record-00000-of-00001'


@pytest.fixture
def data_dir(tiny_data_dir, tmp_path):
  """A copy of the dataset, to be damaged."""
  shutil.copytree(
    tiny_data_dir / 'caption_features', tmp_path / 'd/caption_features'
  )
  return tmp_path / 'd'


def shard_of(data_dir):
  return next(data_dir.rglob(SHARD))


def flip(path, position):
  content = bytearray(path.read_bytes())
  content[position] ^= 0x10
  path.write_bytes(content)


@pytest.mark.parametrize(
  'damage',
  [
    lambda path: path.unlink(),
    lambda path: path.write_bytes(b''),
    lambda path: path.write_bytes(path.read_bytes()[:70_000]),
    # A record in the middle, and the index at the end.
    lambda path: flip(path, 1310),
    lambda path: flip(path, 65_536),
  ],
  ids=['missing', 'empty', 'cut', 'record', 'index'],
)
def test_a_damaged_shard_is_named(data_dir, tmp_path, damage):
  damage(shard_of(data_dir))
  with pytest.raises(InputError) as error:
    tasks.run(tiny_run.given(tiny_run.config(tmp_path / 'W', data_dir)))
  for part in ('train split', SHARD, 'data_prep.build --dataset=tiny'):
    assert part in str(error.value)


def test_a_shard_damaged_during_training_is_named(
  data_dir, tmp_path, monkeypatch
):
  """Features that have no other place are read again at every step."""

  def full(*unused):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(image_features, 'FeatureSpool', full)
  original = input_pipeline.TrainingBatches.batch

  def damaged(self, step):
    if step == 5:
      raise_as_the_reader(self._split)
    return original(self, step)

  def raise_as_the_reader(split):
    source = split.features._source

    class Broken:
      def __getitem__(self, index):
        raise RuntimeError('chunk data hash mismatch')

    source._source = Broken()

  monkeypatch.setattr(input_pipeline.TrainingBatches, 'batch', damaged)
  config = tiny_run.config(tmp_path / 'W', data_dir, feature_cache_mb=0)
  with pytest.raises(InputError, match=f'{SHARD} .*hash mismatch'):
    tasks.run(tiny_run.given(config))
  # What was saved before stays.
  monkeypatch.setattr(input_pipeline.TrainingBatches, 'batch', original)
  tasks.run(tiny_run.given(config))
  assert tiny_run.last_state(tmp_path / 'W')[0] == 16


def end_of(error):
  """What a command line makes of an error: exit code."""

  def main():
    raise error

  with pytest.raises(SystemExit) as end:
    cli.run(main, '', {}, ['command'])
  return end.value.code


def test_what_is_stopped_is_unfinished(capsys):
  assert end_of(stopping.Stopped('step 5 is saved.')) == 75
  assert capsys.readouterr().err == 'stopped: step 5 is saved.\n'
  assert end_of(KeyboardInterrupt()) == 75
  assert capsys.readouterr().err == f'stopped: {cli.STOPPED}\n'


@pytest.mark.parametrize(
  ('number', 'advice'),
  [
    (errno.ENOSPC, 'free some space'),
    (errno.EROFS, 'name a folder that can be written'),
    (errno.EACCES, 'name a folder that you may read and write'),
    (errno.EIO, 'check the path and the disk'),
  ],
)
def test_what_the_system_refuses_is_a_sentence(number, advice, capsys):
  assert end_of(OSError(number, 'no', '/where/it/was')) == 1
  said = capsys.readouterr().err
  assert said.startswith('error: /where/it/was: no: ') and advice in said
  assert said.count('\n') == 1


@pytest.mark.slow
def test_a_full_disk_while_training(tiny_data_dir, tmp_path):
  """A limit on the size of files stands in for the disk's."""
  command = [sys.executable, '-m', 'mrnn_jax.main']
  command += tiny_run.flags(tmp_path, tiny_data_dir, multimodal_size=500)
  # Blocks of 512 bytes.
  result = subprocess.run(
    ['sh', '-c', 'ulimit -f 100; exec "$@"', 'sh', *command],
    capture_output=True,
    text=True,
    timeout=300,
  )
  assert result.returncode == 1
  errors = [x for x in result.stderr.splitlines() if x.startswith('error: ')]
  assert len(errors) == 1 and str(tmp_path) in errors[0]
  assert 'Traceback' not in result.stderr


def test_a_workdir_that_is_a_file(tiny_data_dir, tmp_path, capsys):
  (tmp_path / 'W').write_text('')
  config = tiny_run.config(tmp_path / 'W', tiny_data_dir)
  with pytest.raises(OSError) as error:
    tasks.run(tiny_run.given(config))
  assert end_of(error.value) == 1
  assert str(tmp_path / 'W') in capsys.readouterr().err


def test_an_empty_split(vocab):
  with pytest.raises(InputError, match='validation split is empty'):
    datasets.make_split('validation', [], vocab)


def test_a_batch_larger_than_the_data(tiny_data_dir, tmp_path):
  config = tiny_run.config(
    tmp_path, tiny_data_dir, batch_size=1000, eval_batch_size=1000
  )
  tasks.run(tiny_run.given(config))
  assert tiny_run.last_state(tmp_path)[0] == 4


def one_by_one(model, variables, split, caption):
  ids = split.caption_tokens(caption)
  feature = split.features[split.owner[caption]]
  # Padded behind, to few lengths: what comes later changes nothing before.
  given = np.full((1, 8 if len(ids) < 9 else 304), PAD)
  given[0, : len(ids) - 1] = ids[:-1]
  logits = small_models.apply(model, variables, given, feature[None, None])
  logits = np.float64(logits[0, : len(ids) - 1])
  log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
  return log_probs[np.arange(len(ids) - 1), ids[1:]].sum() / np.log(2)


@pytest.mark.parametrize(
  ('words', 'texts', 'devices'),
  [
    # More devices than captions.
    (['a', 'dog', 'runs'], ['A dog runs .'], 4),
    # 300 words, beside a short one.
    (['a', 'dog'], ['A dog .', 'a dog ' * 150], 1),
    # One word known, and none.
    (['dog'], ['Dog dog .', 'A cat .'], 2),
    ([], ['Dog .', 'A cat .'], 1),
  ],
  ids=['devices', 'long', 'one word', 'no word'],
)
def test_odd_captions_are_scored_right(words, texts, devices):
  vocabulary = Vocabulary.from_counts(dict.fromkeys(words, 1), 1)
  records = [
    {'image_id': str(i), 'feature': np.full(3, i, np.float32), 'captions': [t]}
    for i, t in enumerate(texts)
  ]
  split = datasets.make_split('train', records, vocabulary)
  model = models.create_model(
    'm-rnn',
    len(vocabulary),
    3,
    {'embedding_size': 4, 'recurrent_size': 5, 'multimodal_size': 6},
  )
  variables = small_models.init(model, jax.random.key(0))
  chosen = parallel.local_devices(devices)
  scores = perplexity.TeacherForcing(model, chosen).log2_probs(
    parallel.replicate(variables, chosen), split, 2
  )
  for c in range(len(split.owner)):
    expected = one_by_one(model, variables, split, c)
    np.testing.assert_allclose(scores['log2_prob'][c], expected, rtol=1e-4)
  batches = input_pipeline.TrainingBatches(
    split, 100, 2, 4, 0, row_multiple=devices
  )
  targets = np.concatenate(
    [
      np.ravel(b['targets'])
      for b in batches.iterate(0, batches.steps_per_epoch)
    ]
  )
  assert (targets != PAD).sum() == split.lengths.sum()


@pytest.mark.parametrize('scaling', ['none', 'l2', 'standardize'])
def test_a_feature_of_zeros_gives_numbers(scaling):
  """All images alike, and all zero: deviation and norm are zero."""
  records = [
    {'image_id': str(i), 'feature': np.zeros(3, np.float32), 'captions': ['a']}
    for i in range(2)
  ]
  vocabulary = Vocabulary.from_counts({'a': 1}, 1)
  split = datasets.make_split('train', records, vocabulary)
  model = models.create_model(
    'm-rnn',
    len(vocabulary),
    3,
    {
      'embedding_size': 4,
      'recurrent_size': 5,
      'multimodal_size': 6,
      'feature_scaling': scaling,
    },
  )
  variables = small_models.init(model, jax.random.key(0))
  variables['statistics'] = image_features.feature_statistics(split.features)
  assert np.isfinite(one_by_one(model, variables, split, 0))
  ids = split.caption_tokens(0)

  def cost(params):
    logits = model.apply(
      {**variables, 'params': params},
      ids[None, :-1],
      split.features[np.zeros((1, 1), int)],
    )
    return -losses.log2_probabilities(logits, ids[None, 1:]).sum()

  gradient = jax.jit(jax.grad(cost))(variables['params'])
  for leaf in jax.tree.leaves(gradient):
    assert np.isfinite(leaf).all()
