"""The dataset is there as a whole or not at all."""

import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import checks, inspect, records
from data_prep.writing import content as content_lib
from data_prep.writing import dataset
from mrnn_jax.data import datasets, feature_files
from mrnn_jax.runtime import errors


def content(num_train=5, dtype=np.float16, shift=0.0, table=None):
  names = [f'{i}.jpg' for i in range(num_train + 2)]
  raw = records.RawDataset(
    captions={
      n: [f'Caf\xe9 {n}', 'A dog'][: 1 + i % 2] for i, n in enumerate(names)
    },
    splits={
      'train': names[:num_train][::-1],
      'validation': names[num_train : num_train + 1],
      'test': names[num_train + 1 :],
    },
  )
  rows = np.arange(4 * len(names)).reshape(-1, 4) + shift
  table = table or feature_files.FeatureTable(
    names,
    rows.astype(dtype),
    'f.npz',
    feature_files.Encoder('vgg', '12ab'),
  )
  checked = checks.check_captions('custom', raw)
  checked = checks.check_features(checked, raw, table)
  digest = content_lib.digest_features(checked, table)
  fingerprint = content_lib.fingerprint(checked, None, table.encoder, digest)
  return content_lib.Content(
    'custom', checked, content_lib.Images.of_features(table), fingerprint
  )


@pytest.mark.parametrize('dtype', [np.float16, np.float32])
def test_tfds_opens_what_was_written(tmp_path, dtype):
  path = dataset.write(content(dtype=dtype), tmp_path)
  assert path == tmp_path / 'caption_features' / 'custom' / '1.0.0'
  builder = tfds.builder_from_directory(path)
  source = builder.as_data_source(split='train')
  assert [r['image_id'].decode() for r in source] == [
    f'{i}.jpg' for i in (4, 3, 2, 1, 0)
  ]
  record = source[1]
  assert record['feature'].dtype == dtype
  np.testing.assert_array_equal(record['feature'], [12, 13, 14, 15])
  assert [c.decode() for c in record['captions']] == ['Caf\xe9 3.jpg', 'A dog']
  assert builder.info.splits['test'].num_examples == 1
  by_name = tfds.builder('caption_features/custom', data_dir=str(tmp_path))
  assert len(by_name.as_data_source(split='validation')) == 1


def test_metadata(tmp_path):
  made = content()
  path = dataset.write(made, tmp_path)
  metadata = json.loads((path / 'metadata.json').read_text())
  assert metadata['fingerprint'] == made.fingerprint
  assert metadata['encoder'] == {'name': 'vgg', 'weights': '12ab'}
  assert metadata['feature_size'] == 4
  assert metadata['num_captions'] == {'train': 7, 'validation': 2, 'test': 1}
  assert metadata['num_words']['train'] == 14
  counts = metadata['word_counts']
  assert list(counts)[:3] == ['cafe', 'a', 'dog']
  assert '5jpg' not in counts  # Validation words are not counted.


def test_same_input_is_there_and_other_input_is_refused(tmp_path):
  made, other = content(), content(shift=1)
  assert made.fingerprint != other.fingerprint

  def is_there(wanted, overwrite=False):
    return dataset.is_there(tmp_path, 'custom', wanted.fingerprint, overwrite)

  assert not is_there(made)
  dataset.write(made, tmp_path)
  assert is_there(made)
  assert is_there(made, overwrite=True)
  with pytest.raises(errors.InputError, match='--overwrite'):
    is_there(other)
  assert not is_there(other, overwrite=True)
  path = dataset.write(other, tmp_path)
  assert is_there(other)
  assert [p.name for p in path.parent.iterdir()] == ['1.0.0']


@pytest.mark.parametrize('file', ['*-test.*', 'dataset_info.json'])
@pytest.mark.parametrize('overwrite', [False, True])
def test_a_damaged_dataset_is_written_again(tmp_path, file, overwrite):
  made = content()
  path = dataset.write(made, tmp_path)
  (damaged,) = path.glob(file)
  damaged.write_bytes(damaged.read_bytes()[:50])

  def is_there():
    return dataset.is_there(tmp_path, 'custom', made.fingerprint, overwrite)

  assert not is_there()
  dataset.write(made, tmp_path)
  assert is_there()


def test_fingerprint_sees_every_input():
  base = content().fingerprint
  assert content().fingerprint == base
  assert content(num_train=6).fingerprint != base
  assert content(dtype=np.float32).fingerprint != base


class Broken(feature_files.FeatureTable):
  """Fails in the middle of a build, as a full disk or Ctrl-C would."""

  armed = False

  def get(self, image_id):
    if self.armed and image_id == '1.jpg':
      raise KeyboardInterrupt
    return super().get(image_id)


@pytest.mark.parametrize('old', [False, True])
def test_interrupted_build_leaves_no_half_dataset(tmp_path, old):
  if old:
    dataset.write(content(shift=1), tmp_path)
  rows = np.arange(28, dtype=np.float16).reshape(7, 4)
  table = Broken([f'{i}.jpg' for i in range(7)], rows, 'f.npz')
  made = content(table=table)
  table.armed = True
  with pytest.raises(KeyboardInterrupt):
    dataset.write(made, tmp_path)
  path = dataset.dataset_path(tmp_path, 'custom')
  assert [p.name for p in path.parent.iterdir()] == ['1.0.0'] * old
  if old:
    source = tfds.builder_from_directory(path).as_data_source(split='train')
    np.testing.assert_array_equal(source[4]['feature'], [1, 2, 3, 4])


def test_kill_between_the_two_moves_is_mended(tmp_path):
  made = content()
  path = dataset.write(made, tmp_path)
  path.rename(path.parent / '1.0.0.replaced')
  assert dataset.is_there(tmp_path, 'custom', made.fingerprint, overwrite=False)
  assert [p.name for p in path.parent.iterdir()] == ['1.0.0']


def test_what_a_killed_build_left_is_removed(tmp_path):
  made = content()
  path = dataset.write(made, tmp_path)
  left = path.parent / '1.0.0.incomplete-12345678'
  left.mkdir()
  (left / 'half').write_text('')
  assert dataset.is_there(tmp_path, 'custom', made.fingerprint, overwrite=False)
  assert [p.name for p in path.parent.iterdir()] == ['1.0.0']


@pytest.mark.parametrize(
  'left', ['1.0.0.incomplete-12345678', '1.0.0.replaced', '1.0.0.old', 'a.b.c']
)
def test_what_lies_beside_a_dataset_is_none(tmp_path, left):
  path = dataset.write(content(), tmp_path)
  beside = path.parent / left
  shutil.copytree(path, beside)
  metadata = json.loads((beside / 'metadata.json').read_text())
  metadata['fingerprint'] = 'old'
  (beside / 'metadata.json').write_text(json.dumps(metadata))
  for spoil in (lambda: None, (beside / 'dataset_info.json').unlink):
    spoil()
    opened = datasets.open_dataset('custom', str(tmp_path))
    assert opened.path == path
    assert opened.fingerprint == content().fingerprint
    assert inspect.find(str(tmp_path)) == path
  shutil.rmtree(path)
  with pytest.raises(errors.InputError, match='there is no dataset "custom"'):
    datasets.open_dataset('custom', str(tmp_path))


def test_versions_are_compared_by_number(tmp_path):
  path = dataset.write(content(), tmp_path)
  for name in ('1.9.0', '1.10.0', '1.2.11'):
    shutil.copytree(path, path.with_name(name))
  assert datasets.open_dataset('custom', str(tmp_path)).path.name == '1.10.0'
  assert inspect.find(str(tmp_path)).name == '1.10.0'


@pytest.mark.parametrize(
  ('name', 'text', 'message'),
  [
    ('metadata.json', '[]', 'metadata.json is no JSON object'),
    ('metadata.json', '{}', 'tell fingerprint, feature_size, encoder, word'),
    ('metadata.json', '[' * 5000, 'nested too deeply'),
    ('dataset_info.json', '{"splits": 3}', 'cannot be opened'),
    ('dataset_info.json', '\xff', 'cannot be opened'),
    ('features.json', '[]', 'cannot be opened'),
  ],
)
def test_a_damaged_dataset_is_told_by_one_sentence(
  tmp_path, name, text, message
):
  path = dataset.write(content(), tmp_path)
  (path / name).write_bytes(text.encode('latin-1'))
  with pytest.raises(errors.InputError, match=message) as error:
    datasets.open_dataset('custom', str(tmp_path))
  assert '\n' not in str(error.value)
  assert '--dataset=custom --overwrite' in str(error.value)


def test_names_from_data_stay_names(tmp_path):
  """An image may be called anything; no file is called after it."""
  names = ['../../x.jpg', '/etc/passwd', '..\\y.png', 'a/../../../z', '..']
  raw = records.RawDataset(
    captions={name: ['A dog'] for name in names},
    splits={
      'train': names[:3],
      'validation': names[3:4],
      'test': names[4:],
    },
  )
  rows = np.eye(5, dtype=np.float32)
  table = feature_files.FeatureTable(names, rows, 'f.npz')
  checked = checks.check_captions('custom', raw)
  checked = checks.check_features(checked, raw, table)
  made = content_lib.Content(
    'custom', checked, content_lib.Images.of_features(table), 'f'
  )
  root = tmp_path / 'in' / 'here'
  path = dataset.write(made, root)
  folders = {p.parent for p in tmp_path.rglob('*') if p.is_file()}
  assert [str(folder) for folder in folders] == [str(path)]
  source = tfds.builder_from_directory(path).as_data_source(split='train')
  assert [r['image_id'].decode() for r in source] == names[:3]
