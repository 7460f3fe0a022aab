"""Photos in a dataset: found, checked, stored as they are or scaled."""

import io
import json

import drawn_photos
import numpy as np
from PIL import Image
import pytest

from data_prep import build, inspect
from mrnn_jax.data import datasets
from mrnn_jax.runtime.errors import InputError

SIDE = 16


@pytest.fixture
def raw(tmp_path):
  """Six photos: JPEG squares of SIDE, but one larger and one a PNG."""
  lines = []
  for i in range(6):
    name = f'{i}.png' if i == 4 else f'{i}.jpg'
    size = (40, 30) if i in (4, 5) else (SIDE, SIDE)
    drawn_photos.draw(tmp_path / 'photos' / 'deep' / name, i, size)
    split = ('train', 'train', 'train', 'validation', 'test', 'train')[i]
    line = {'image_id': f'deep/{name}', 'captions': ['A dog .'], 'split': split}
    lines.append(json.dumps(line))
  (tmp_path / 'captions.jsonl').write_text('\n'.join(lines))
  return tmp_path


def run(raw, *more):
  argv = ['build', '--dataset=p', f'--captions={raw / "captions.jsonl"}']
  try:
    build.run([*argv, f'--data_dir={raw}', *more])
  except SystemExit as end:
    return end.code or 0
  return 0


def photos_of(raw, split):
  dataset = datasets.open_dataset('p', str(raw))
  found = datasets.load_split(dataset, split, dataset.vocabulary(1))
  return found, found.photos


def test_squares_are_kept_and_others_scaled(raw, capsys):
  photos = f'--photos={raw / "photos"}'
  assert run(raw, photos, f'--photo_size={SIDE}') == 0
  out = capsys.readouterr().out
  assert f'Photos: 6, stored as {SIDE} x {SIDE} pixels.' in out
  split, found = photos_of(raw, 'train')
  assert not split.has_features
  with pytest.raises(InputError, match='train split has photos alone'):
    print(split.features)
  folder = raw / 'photos'
  for i, name in enumerate(split.image_ids[:3]):
    assert found[i] == (folder / name).read_bytes()
  for data, name in (
    (found[3], '5.jpg'),
    (photos_of(raw, 'test')[1][0], '4.png'),
  ):
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size) == ('JPEG', (SIDE, SIDE))
    want = Image.open(folder / 'deep' / name).convert('RGB')
    want = want.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    # JPEG halves the resolution of colours, all there is here.
    assert np.abs(np.asarray(image, float) - np.asarray(want)).mean() < 10
  dataset = datasets.open_dataset('p', str(raw))
  assert dataset.metadata['encoder']['name'] == (
    'efficientnet_lite0, squash to 224 x 224'
  )
  assert dataset.feature_size == 1280
  assert (dataset.has_features, dataset.photo_size) == (False, SIDE)
  assert run(raw, photos, f'--photo_size={SIDE}') == 0
  assert 'is there already' in capsys.readouterr().out
  # Other pixels of one photo are another dataset.
  drawn_photos.draw(folder / 'deep' / '0.jpg', 77, (SIDE, SIDE))
  assert run(raw, photos, f'--photo_size={SIDE}') == 1
  capsys.readouterr()
  inspect.run(['inspect', str(raw), '--dataset=p'])
  out = capsys.readouterr().out
  assert '16 x 16 pixels' in out and 'deviation' not in out


def test_photos_lie_beside_features(raw, capsys):
  lines = (raw / 'captions.jsonl').read_text().splitlines()
  features = np.random.default_rng(0).random((6, 1280), np.float32)
  np.savez(
    raw / 'f.npz',
    ids=[json.loads(line)['image_id'] for line in lines],
    features=features,
    encoder='efficientnet_lite0, squash to 224 x 224',
    weights='12ab',
  )
  photos = f'--photos={raw / "photos"}', f'--photo_size={SIDE}'
  assert run(raw, f'--features={raw / "f.npz"}', *photos) == 0
  split, found = photos_of(raw, 'validation')
  np.testing.assert_array_equal(split.features.all(), features[3:4])
  assert found[0] == (raw / 'photos' / 'deep' / '3.jpg').read_bytes()


def test_what_is_wrong_with_photos_is_named_before_anything_is_written(
  raw, capsys
):
  folder = raw / 'photos' / 'deep'
  (folder / '1.jpg').write_bytes((folder / '1.jpg').read_bytes()[:400])
  (folder / '3.jpg').unlink()
  assert run(raw, f'--photos={raw / "photos"}') == 1
  err = capsys.readouterr().err
  assert '1 images of the train split have a photo that cannot be read' in err
  assert 'deep/1.jpg (broken: ' in err
  assert '1 images of the validation split have no photo (deep/3.jpg)' in err
  assert not (raw / 'caption_features').exists()


@pytest.mark.parametrize(
  ('args', 'message'),
  [
    (['--photo_size=64'], 'give their file with --features'),
    (['--features=f.npz', '--photo_size=64'], 'is of photos'),
    (['--photos={}', '--photo_size=4'], '--photo_size=4: give pixels'),
    (['--photos={}', '--encoder=resnet'], '"resnet" is none of ours'),
    (['--photos=none'], 'there is no none'),
  ],
)
def test_mistakes_are_told_in_a_sentence(raw, capsys, args, message):
  args = [arg.format(raw / 'photos') for arg in args]
  assert run(raw, *args) == 1
  assert message in capsys.readouterr().err
