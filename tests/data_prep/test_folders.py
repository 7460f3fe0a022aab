"""Folders with equal file names: their images are told apart everywhere."""

import json

import numpy as np
import pytest
import raw_data
import tensorflow_datasets as tfds

from data_prep import checks, inspect
from data_prep.readers import READERS, raw_files
from mrnn_jax import config as config_lib
from mrnn_jax import tasks
from mrnn_jax.data import feature_files
from mrnn_jax.runtime import errors

D = 6
PETS = [f'{pet}/{i}.jpg' for pet in ('cats', 'dogs') for i in range(1, 5)]
# By file name: 1 and 2 are for training, 3 to validate, 4 to test.
SPLITS = {'1': 'train', '2': 'train', '3': 'validation', '4': 'test'}


def caption_of(name):
  return f'A {name.split("/")[-2][:-1]} number {name[-5]}'


def write_captions(path, names=PETS):
  rows = [f'{x},{caption_of(x)},{SPLITS[x[-5]]}\n' for x in names]
  path.write_text('image_id,caption,split\n' + ''.join(rows))


def write_features(path, names=PETS, **others):
  """Write for each name a feature of its place in the list."""
  values = np.arange(len(names) * D, dtype=np.float32).reshape(-1, D) / 50
  np.savez(path, ids=names, features=values, **others)
  return values


def run_build(capsys, folder, *args):
  return raw_data.run_build(
    capsys,
    '--dataset=custom',
    f'--captions={folder / "captions.csv"}',
    f'--features={folder / "f.npz"}',
    f'--data_dir={folder / "data"}',
    *args,
  )


def read_back(folder):
  """Return image id -> feature and captions, of all splits."""
  path = folder / 'data' / 'caption_features' / 'custom' / '1.0.0'
  builder = tfds.builder_from_directory(path)
  found = {}
  for split in builder.info.splits:
    for record in builder.as_data_source(split):
      name = record['image_id'].decode()
      assert name not in found
      captions = [x.decode() for x in record['captions']]
      found[name] = record['feature'], captions
  return found


@pytest.mark.parametrize(
  'spell',
  [
    lambda name: name,
    lambda name: name.removesuffix('.jpg'),
    lambda name: f'/home/me/photos/{name}',
    lambda name: f'.\\{name}'.replace('/', '\\'),
  ],
)
def test_two_folders_are_built_whatever_begins_their_paths(
  capsys, tmp_path, spell
):
  write_captions(tmp_path / 'captions.csv')
  values = write_features(tmp_path / 'f.npz', [spell(x) for x in PETS])
  code, out, err = run_build(capsys, tmp_path)
  assert code == 0, err
  assert '!' not in out
  found = read_back(tmp_path)
  assert [*sorted(found)] == PETS
  for name, value in zip(PETS, values, strict=True):
    np.testing.assert_array_equal(found[name][0], value)
    assert found[name][1] == [caption_of(name)]


def test_long_paths_of_captions_find_short_ones_of_features(capsys, tmp_path):
  long = [f'/data/pets/{x}' for x in PETS]
  write_captions(tmp_path / 'captions.csv', long)
  values = write_features(tmp_path / 'f.npz')
  code, _, err = run_build(capsys, tmp_path)
  assert code == 0, err
  found = read_back(tmp_path)
  for name, value in zip(long, values, strict=True):
    np.testing.assert_array_equal(found[name][0], value)


def test_file_names_alone_will_do_while_they_differ(capsys, tmp_path):
  names = [f'{x[:4]}/{x[:3]}_{x[5:]}' for x in PETS]
  write_captions(tmp_path / 'captions.csv', names)
  values = write_features(tmp_path / 'f.npz', [x[5:] for x in names])
  code, _, err = run_build(capsys, tmp_path)
  assert code == 0, err
  found = read_back(tmp_path)
  for name, value in zip(names, values, strict=True):
    np.testing.assert_array_equal(found[name][0], value)


def test_captions_by_file_name_do_not_choose_a_folder(capsys, tmp_path):
  (tmp_path / 'captions.csv').write_text(
    'image_id,caption,split\n1.jpg,A pet,train\n'
    'cats/3.jpg,A cat,validation\n4.jpg,A pet,test\n'
  )
  write_features(tmp_path / 'f.npz', [*PETS, 'dogs/40.jpg'])
  code, _, err = run_build(capsys, tmp_path)
  assert code == 1
  assert err == (
    'error: 1 images of the train split have names that fit several features'
    ' (1.jpg could be cats/1.jpg or dogs/1.jpg); 1 images of the test split'
    ' have names that fit several features (4.jpg could be cats/4.jpg or'
    ' dogs/4.jpg): name images with their folders everywhere.\n'
  )
  assert not (tmp_path / 'data').exists()


def test_two_images_never_share_the_feature_of_a_file_name(capsys, tmp_path):
  write_captions(tmp_path / 'captions.csv')
  write_features(tmp_path / 'f.npz', ['1.jpg', '2.jpg', '3.jpg', '4.jpg'])
  code, _, err = run_build(capsys, tmp_path)
  assert code == 1
  assert err.startswith(
    'error: 4 features would be of two images (cats/1.jpg and dogs/1.jpg would'
    ' both be 1.jpg; cats/2.jpg and '
  )
  assert err.endswith('; ...): name the features with their folders.\n')


def test_another_folder_is_another_image(capsys, tmp_path):
  write_captions(tmp_path / 'captions.csv', PETS[:4])
  write_features(tmp_path / 'f.npz', PETS[4:])
  code, _, err = run_build(capsys, tmp_path)
  assert code == 1
  assert '2 images of the train split have no feature (cats/1.jpg, cats/' in err
  assert (
    '4 images without a feature have the file name of one in another folder'
    ' (cats/1.jpg, dogs/1.jpg; ' in err
  )


def test_what_no_split_needs_is_left_out_and_told(capsys, tmp_path):
  write_captions(tmp_path / 'captions.csv')
  with (tmp_path / 'captions.csv').open('a') as file:
    file.write('7.jpg,A bird,train\n')
  (tmp_path / 'train.txt').write_text('cats/1\ndogs\\2.jpg\n')
  write_features(tmp_path / 'f.npz', [*PETS, 'cats/7.jpg', 'dogs/7.jpg'])
  code, out, err = run_build(
    capsys, tmp_path, f'--train_list={tmp_path / "train.txt"}'
  )
  assert code == 0, err
  for line in (
    'images in no split (left out): 2 (cats/2.jpg, dogs/1.jpg)',
    'captions of images whose name fits several features (left out): 1 (7.jpg)',
    'features without captions (left out): 2 (cats/7.jpg, dogs/7.jpg)',
  ):
    assert f'! {line}\n' in f'{out}\n'


TOKENS = ''.join(f'{x}#{k}\tA pet {k} .\n' for x in PETS for k in range(2))


@pytest.mark.parametrize(
  ('listed', 'message'),
  [
    ('cats/1.jpg\n1.jpg\n', r'train\.txt, 1.jpg could be cats/1.jpg or dogs/1'),
    ('dogs/1\n/my/photos/dogs/2.jpg\n./dogs/1.png\n', None),
  ],
)
def test_lists_name_images_of_folders(tmp_path, listed, message):
  (tmp_path / 'captions.token').write_text(TOKENS)
  (tmp_path / 'train.txt').write_text(listed)
  (tmp_path / 'val.txt').write_text('cats/3')
  (tmp_path / 'test.txt').write_text('dogs/3')
  raw = raw_files.RawFiles(str(tmp_path))
  if message:
    with pytest.raises(errors.InputError, match=message):
      READERS['token'](raw)
    return
  found = READERS['token'](raw)
  assert list(found.captions) == PETS
  assert found.splits == {
    'train': ['dogs/1.jpg', 'dogs/2.jpg'],
    'validation': ['cats/3.jpg'],
    'test': ['dogs/3.jpg'],
  }
  assert [str(x) for x in found.oddities] == [
    'repeated names in the train list (used once): 1 (./dogs/1.png)'
  ]


def test_lists_of_two_folders_do_not_meet_in_one_image(tmp_path):
  (tmp_path / 'captions.token').write_text('1.jpg#0\tx\n2.jpg#0\ty\n')
  (tmp_path / 'train.txt').write_text('cats/1.jpg\ncats/2.jpg')
  (tmp_path / 'test.txt').write_text('dogs/1.jpg')
  with pytest.raises(
    errors.InputError, match='cats/1.jpg and dogs/1.jpg would both be 1.jpg'
  ):
    READERS['token'](raw_files.RawFiles(str(tmp_path)))


def test_captions_of_two_folders_are_not_joined(tmp_path):
  lines = [{'image_id': x, 'caption': caption_of(x)} for x in PETS]
  text = '\n'.join(map(json.dumps, lines))
  (tmp_path / 'captions.jsonl').write_text(text)
  found = READERS['jsonl'](raw_files.RawFiles(str(tmp_path)))
  assert found.captions == {x: [caption_of(x)] for x in PETS}
  assert found.oddities == []


def karpathy(folder, with_paths):
  images = [
    {
      'filename': x.split('/')[1],
      **({'filepath': x.split('/')[0]} if with_paths else {}),
      'imgid': i,
      'split': SPLITS[x[-5]],
      'sentences': [{'raw': caption_of(x)}],
    }
    for i, x in enumerate(PETS)
  ]
  images.append({**images[0], 'filename': '9.jpg', 'imgid': 8})
  (folder / 'dataset.json').write_text(json.dumps({'images': images}))


def test_karpathys_file_with_equal_names_in_two_folders(tmp_path):
  karpathy(tmp_path, with_paths=True)
  found = READERS['karpathy'](raw_files.RawFiles(str(tmp_path)))
  # Where one folder has it, the file's name is enough, as it always was.
  assert list(found.captions) == [*PETS, '9.jpg']
  assert found.captions['dogs/2.jpg'] == ['A dog number 2']
  # Features by position have their names from the same file.
  values = np.arange(9 * D, dtype=np.float32).reshape(-1, D)
  np.save(tmp_path / 'f.npy', values)
  table = feature_files.load(tmp_path / 'f.npy', str(tmp_path / 'dataset.json'))
  assert table.ids == [*PETS, '9.jpg']
  checked = checks.check_captions('pets', found)
  checks.check_features(checked, found, table).refuse()
  np.testing.assert_array_equal(table.get('dogs/1.jpg'), values[4])


def test_iapr_features_by_long_paths_and_numbers(tmp_path):
  for name in ('00/25', '01/26', '01/27', '02/28'):
    path = tmp_path / 'annotations' / f'{name}.eng'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<DESCRIPTION>a house {name}</DESCRIPTION>')
  (tmp_path / 'train.txt').write_text('images/00/25.jpg\n01/26\n')
  (tmp_path / 'val.txt').write_text('C:\\iapr\\images\\01\\27.jpg')
  (tmp_path / 'test.txt').write_text('annotations/02/28.eng')
  raw = READERS['iaprtc12'](raw_files.RawFiles(str(tmp_path)))
  assert raw.splits == {
    'train': ['00/25', '01/26'],
    'validation': ['01/27'],
    'test': ['02/28'],
  }
  checked = checks.check_captions('iaprtc12', raw)
  values = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
  for names in (
    ['images/00/25.jpg', 'images/01/26.jpg', '01/27', '/x/images/02/28.jpg'],
    ['25', '26.jpg', '27', '28'],
  ):
    table = feature_files.FeatureTable(names, values, 'f.npz')
    checks.check_features(checked, raw, table).refuse()
    np.testing.assert_array_equal(table.get('01/26'), values[1])


WORDS = ['a', 'cat', 'dog', 'number']


@pytest.fixture(scope='module')
def pets(tmp_path_factory, write_toy_model):
  """A model, a dataset of two folders, and its features."""
  folder = tmp_path_factory.mktemp('pets')
  write_toy_model(folder / 'model.npz', WORDS, D)
  write_captions(folder / 'captions.csv')
  write_features(folder / 'f.npz', encoder='toynet', weights='abc')
  yield folder


@pytest.fixture
def built(pets, capsys):
  code, _, err = run_build(capsys, pets)
  assert code == 0, err
  return pets


def run(folder, **options):
  model = str(folder / 'model.npz')
  tasks.run(
    config_lib.Given({'model_file': model, 'num_devices': 1, **options})
  )


def score(folder, output, image_ids, **options):
  """Score the same sentence with each image; return scores and rejects."""
  lines = [json.dumps({'image_id': x, 'sentence': 'a cat'}) for x in image_ids]
  (folder / 'r.jsonl').write_text('\n'.join(lines))
  run(
    folder,
    task='score',
    score_input=str(folder / 'r.jsonl'),
    output=str(output),
    max_bad_records=1,
    **options,
  )

  def read(pattern):
    return [
      json.loads(line)
      for path in output.glob(pattern)
      for line in path.read_text().splitlines()
    ]

  return read('scores-*'), read('rejects-*')


@pytest.mark.parametrize('source', ['dataset', 'features'])
def test_pairs_are_scored_by_path(built, tmp_path, source):
  options = {'features': str(built / 'f.npz')}
  if source == 'dataset':
    options = {'data_dir': str(built / 'data')}
  names = ['cats/1.jpg', 'dogs/1.jpg', '1.jpg', '/home/me/dogs/1', 'dogs/4.jpg']
  scores, rejects = score(built, tmp_path / 'out', names, **options)
  assert [x['image_id'] for x in scores] == [x for x in names if x != '1.jpg']
  cat, dog, same_dog, other = (x['log_prob'] for x in scores)
  assert dog == same_dog
  assert len({cat, dog, other}) == 3
  assert [(x['line'], x['reason']) for x in rejects] == [
    (3, "names '1.jpg', which could be cats/1.jpg or dogs/1.jpg")
  ]


def test_pairs_of_two_folders_do_not_share_a_feature(pets, tmp_path):
  path = tmp_path / 'flat.npz'
  write_features(path, ['1.jpg', '2.jpg'], encoder='toynet', weights='abc')
  names = ['cats/1.jpg', '2.jpg', 'dogs/2.jpg', 'dogs/1.jpg']
  with pytest.raises(
    errors.InputError, match='cats/1.jpg and dogs/1.jpg would both be 1.jpg'
  ):
    score(pets, tmp_path / 'out', names, features=str(path))


def test_captions_and_the_look_at_a_dataset_tell_the_folders(
  built, tmp_path, capsys
):
  output = tmp_path / 'captions.jsonl'
  run(
    built,
    task='caption',
    beam_size=1,
    max_words=2,
    features=str(built / 'f.npz'),
    output=str(output),
  )
  lines = [json.loads(x) for x in output.read_text().splitlines()]
  assert [x['image_id'] for x in lines] == PETS
  capsys.readouterr()
  inspect.inspect(str(built / 'data'), '', '', 8, 0)
  shown = capsys.readouterr().out
  assert '\ncats/1.jpg (train)\n  A cat number 1\n' in shown
