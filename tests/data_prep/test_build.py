"""The command: what it prints, and its one sentence for every mistake."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import numpy as np
import pytest
import raw_data
from raw_data import run_build as run
from raw_data import save_features as save
import tensorflow_datasets as tfds

from data_prep import checks
from mrnn_jax.data import vocabulary

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def inputs(tmp_path):
  return raw_data.write(tmp_path)


def test_build_twice_and_overwrite(capsys, tmp_path, inputs):
  code, out, _ = run(capsys, *inputs)
  assert code == 0
  path = tmp_path / 'data' / 'caption_features' / 'flickr8k' / '1.0.0'
  assert f'Wrote {path} in ' in out
  assert out.splitlines()[1].split() == ['train', '3', '6', '24', '4.0']
  assert (
    'Next: python -m mrnn_jax.main --flagfile=flickr8k.flags'
    f' --data_dir={tmp_path / "data"}' in out
  )
  code, out, _ = run(capsys, *inputs)
  assert code == 0
  assert 'is there already, made from the same input' in out
  save(tmp_path / 'f.npz', 2 * np.eye(5))
  code, _, err = run(capsys, *inputs)
  assert code == 1
  assert 'made from other input' in err
  code, _, _ = run(capsys, *inputs, '--overwrite')
  assert code == 0
  source = tfds.builder_from_directory(path).as_data_source(split='test')
  np.testing.assert_array_equal(source[0]['feature'], 2 * np.eye(5)[4])


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    ([], 'Say what to build with --dataset: flickr8k'),
    (['--dataset=../x'], '--dataset=../x is no name'),
    (['--dataset=mine'], 'mine needs the features'),
    (['--dataset=mine', '--features=f', '--format=xml'], '--format=xml'),
    (['--dataset=mine', '--features=f', '--test_share=2'], '--test_share=2'),
    (['--dataset=scenes', '--test_share=0.2'], 'leave out --test_share'),
    (['--dataset=flickr8k'], 'give their file with --features'),
    (['--dataset=flickr8k', '--features=f.npz'], '--raw_dir'),
    (['--dataset=scenes', '--raw_dir=x'], 'leave out --raw_dir'),
    (['--dataset=scenes', '--num_scenes=7'], 'too few'),
    (['--dataset=scenes', '--num_scenes=many'], '--num_scenes=many'),
    (['--dataset=flickr8k', '--num_scenes=99'], 'for --dataset=scenes alone'),
    (['--datasets=flickr8k'], 'did you mean --dataset?'),
    (['flickr8k'], '"flickr8k" is not a flag'),
  ],
)
def test_mistakes_get_one_sentence(
  capsys, tmp_path, monkeypatch, args, message
):
  monkeypatch.chdir(tmp_path)
  code, _, err = run(capsys, *args)
  assert code == 1
  assert err.startswith('error: ')
  assert message in err
  assert len(err.strip().splitlines()) == 1
  assert list(tmp_path.iterdir()) == []


def test_own_data_with_one_command(capsys, tmp_path):
  lines = ['image,caption', *(f'{i}.png,A dog number {i}' for i in range(20))]
  (tmp_path / 'captions.txt').write_text('\n'.join(lines))
  save(tmp_path / 'f.npz', np.eye(20))
  code, out, err = run(
    capsys,
    '--dataset=my_photos',
    f'--raw_dir={tmp_path}',
    f'--features={tmp_path / "f.npz"}',
    f'--data_dir={tmp_path / "data"}',
    '--test_share=0.25',
  )
  assert code == 0, err
  assert 'WARNING' not in err
  assert out.startswith('Captions in the format csv.\nmy_photos ')
  assert '2 validation images and 5 test images were drawn from train' in out
  assert '--flagfile=flickr8k.flags --dataset=my_photos' in out
  builder = tfds.builder(
    'caption_features/my_photos', data_dir=str(tmp_path / 'data')
  )
  sizes = {k: v.num_examples for k, v in builder.info.splits.items()}
  assert sizes == {'train': 13, 'validation': 2, 'test': 5}


def test_encoder_where_the_file_does_not_say(capsys, tmp_path, inputs):
  code, _, _ = run(capsys, *inputs, '--encoder=a network')
  assert code == 0
  path = tmp_path / 'data' / 'caption_features' / 'flickr8k' / '1.0.0'
  metadata = json.loads((path / 'metadata.json').read_text())
  assert metadata['encoder']['name'] == 'a network'
  features = tmp_path / 'f.npz'
  with np.load(features) as archive:
    np.savez(features, **archive, encoder='alexnet', weights='')
  code, _, err = run(capsys, *inputs, '--encoder=a network', '--overwrite')
  assert code == 1
  assert 'made by "alexnet"' in err


def test_the_next_command_can_be_pasted(capsys, tmp_path, inputs):
  folder = tmp_path / 'a b'
  code, out, _ = run(capsys, *inputs[:-1], f'--data_dir={folder}')
  assert code == 0
  (line,) = [x for x in out.splitlines() if x.startswith('Next: ')]
  assert f'--data_dir={folder}' in shlex.split(line)


def test_nothing_is_written_when_a_check_fails(capsys, tmp_path, inputs):
  save(tmp_path / 'f.npz', np.eye(4))
  code, _, err = run(capsys, *inputs)
  assert code == 1
  assert '1 images of the test split have no feature (4.jpg)' in err
  assert not (tmp_path / 'data').exists()


def test_the_report_and_all_faults_are_told(capsys, tmp_path, inputs):
  save(tmp_path / 'f.npz', np.diag([1, np.nan, 1, 1, 1]))
  with np.load(tmp_path / 'f.npz') as archive:
    rows = [0, 1, 3]
    np.savez(tmp_path / 'f.npz', **{k: v[rows] for k, v in archive.items()})
  with (tmp_path / 'raw' / 'Flickr_8k.devImages.txt').open('a') as file:
    file.write('5.jpg\n')
  code, out, err = run(capsys, *inputs)
  assert code == 1
  lines = out.splitlines()
  assert lines[1].split() == ['train', '3', '6', '24', '4.0']
  assert lines[2].split() == ['validation', '2', '2', '8', '4.0']
  assert 'Features: 3 images, 5 numbers each' in lines[4]
  assert err == (
    'error: 1 images of the validation split have no caption with a word in it'
    ' (5.jpg): complete the captions or take the images out of the list.'
    ' 1 images of the train split have no feature (2.jpg);'
    ' 1 images of the validation split have no feature (5.jpg);'
    ' 1 images of the test split have no feature (4.jpg);'
    ' 1 images of the train split have a feature that is not finite (1.jpg):'
    ' complete the features or take the images out of the list.\n'
  )
  assert not (tmp_path / 'data').exists()


def test_features_that_cannot_be_read_hide_nothing(capsys, tmp_path, inputs):
  folder = tmp_path / 'features'
  folder.mkdir()
  for i in range(5):
    np.save(folder / f'{i}.npy', np.ones(3 + (i == 4), np.float32))
  with (tmp_path / 'raw' / 'Flickr_8k.testImages.txt').open('a') as file:
    file.write('5.jpg\n')
  code, out, err = run(capsys, *inputs, f'--features={folder}')
  assert code == 1
  assert out.splitlines()[1].split() == ['train', '3', '6', '24', '4.0']
  assert '(5.jpg): complete the captions or take' in err
  assert '4.npy holds 4 numbers of float32 where 0.npy holds 3' in err
  assert not (tmp_path / 'data').exists()


def test_scenes_with_faults_are_refused(capsys, tmp_path, monkeypatch):
  fault = checks.Fault('It rains', 'wait')
  found = checks.Checked({}, {}, [], 'The report', [fault])
  monkeypatch.setattr(checks, 'check_captions', lambda *unused: found)
  args = ('--dataset=scenes', '--num_scenes=40', f'--data_dir={tmp_path}')
  code, out, err = run(capsys, *args)
  assert (code, out) == (1, 'The report\n')
  assert err == 'error: It rains: wait.\n'
  assert list(tmp_path.iterdir()) == []


def test_help_is_grouped(capsys):
  code, out, _ = run(capsys, '--help')
  assert code == 0
  for text in ('What to build', '--validation_list', 'Where to write'):
    assert text in out


def test_command_line(tmp_path):
  result = subprocess.run(
    [sys.executable, '-m', 'data_prep.build'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 1
  assert result.stderr.startswith('error: Say what to build')
  assert result.stdout == ''


def test_scenes_from_pixels_to_dataset(capsys, scenes_data_dir):
  path = scenes_data_dir / 'caption_features' / 'scenes' / '1.0.0'
  builder = tfds.builder_from_directory(path)
  record = builder.as_data_source(split='train')[0]
  assert record['feature'].shape == (1280,)
  assert len(record['captions']) == 5
  assert builder.info.splits['test'].num_examples == 5
  encoder = builder.info.metadata['encoder']['name']
  assert encoder == 'efficientnet_lite0, squash to 224 x 224'
  assert '--flagfile=demo.flags' in (scenes_data_dir / 'said.txt').read_text()
  code, out, err = run(
    capsys,
    '--dataset=scenes',
    '--num_scenes=40',
    f'--data_dir={scenes_data_dir}',
  )
  assert code == 0, err
  assert 'is there already' in out
  assert 'encode' not in err


@pytest.mark.slow
@pytest.mark.skipif('MRNN_DATA' not in os.environ, reason='needs $MRNN_DATA')
def test_flickr8k(capsys, tmp_path):
  raw = pathlib.Path(os.environ['MRNN_DATA']) / 'flickr8k'
  features = raw / 'features' / 'flickr8k_squeezenet_dc_227.npz'
  code, out, err = run(
    capsys,
    '--dataset=flickr8k',
    f'--raw_dir={raw}',
    f'--features={features}',
    f'--data_dir={tmp_path}',
  )
  assert code == 0, err
  assert 'images in no split (left out): 91' in out
  builder = tfds.builder('caption_features/flickr8k', data_dir=str(tmp_path))
  sizes = {k: v.num_examples for k, v in builder.info.splits.items()}
  assert sizes == {'train': 6000, 'validation': 1000, 'test': 1000}
  metadata = builder.info.metadata
  assert metadata['num_captions'] == {
    'train': 30000,
    'validation': 5000,
    'test': 5000,
  }
  # Each caption has one end sign to predict beside its words.
  assert metadata['num_words']['train'] + 30000 == 354454
  words = vocabulary.Vocabulary.from_counts(metadata['word_counts'], 5)
  assert len(words) - len(vocabulary.SPECIAL_WORDS) == 2535
