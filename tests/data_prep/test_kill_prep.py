"""``kill -9`` at any moment of a build or an extraction costs only time."""

import random
import signal
import time

import killing
import numpy as np
from PIL import Image
import pytest


@pytest.fixture(scope='module')
def commands(tmp_path_factory):
  """The arguments of two commands but for where they write."""
  folder = tmp_path_factory.mktemp('raw')
  rng = np.random.default_rng(0)
  num = 2000
  lines = ['image,caption', *(f'{i}.jpg,Dog number {i}' for i in range(num))]
  (folder / 'captions.csv').write_text('\n'.join(lines))
  for name in ('f', 'g'):
    np.savez(
      folder / f'{name}.npz',
      ids=[f'{i}.jpg' for i in range(num)],
      features=rng.normal(size=(num, 8)).astype(np.float32),
    )
  photos = folder / 'photos'
  photos.mkdir()
  for i in range(20):
    path = photos / f'{i:02}.png'
    Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8)).save(path)
  (photos / '07.png').write_bytes(b'no photo')
  build = ['--dataset=mine', f'--captions={folder / "captions.csv"}']

  def build_args(place, name='f'):
    features = f'--features={folder / name}.npz'
    return [*build, features, f'--data_dir={place}', '--overwrite']

  def extract_args(place, name='f'):
    return [f'--images={photos}', f'--output={place / name}.npz']

  def extract_mapped_args(place, name='f'):
    return [f'--images={photos}', f'--output={place / name}.npy']

  return {
    'build': (killing.build, build_args),
    'extract': (killing.extract, extract_args),
    'extract .npy': (killing.extract, extract_mapped_args),
  }


@pytest.mark.slow
@pytest.mark.parametrize('command', ['build', 'extract', 'extract .npy'])
@pytest.mark.parametrize('how', ['every file operation', '25 random moments'])
def test_killed_runs_end_as_others_do(commands, tmp_path, command, how):
  work, args = commands[command]
  whole = tmp_path / 'whole'
  whole.mkdir()
  killing.run(work, args(tmp_path / 'first'))  # Starts the server.
  start = time.monotonic()
  code, operations = killing.run(work, args(whole))
  seconds = time.monotonic() - start
  assert code == 0
  wanted = killing.contents(whole)
  rng = random.Random(0)
  if how == 'every file operation':
    moments = [{'operation': i + 1} for i in range(operations)]
  else:
    moments = [{'seconds': rng.uniform(0, seconds)} for _ in range(25)]
  kills = 0
  for number, moment in enumerate(moments):
    place = tmp_path / str(number)
    place.mkdir()
    if command == 'build' and number % 2:
      # Over an older dataset, which stays until the new one is there.
      code, _ = killing.run(work, args(place, 'g'))
      assert code == 0
    code, _ = killing.run(work, args(place), **moment)
    assert code in (0, -signal.SIGKILL), moment
    kills += code == -signal.SIGKILL
    # Once more, sometimes, at another moment.
    if number % 3 == 0:
      later = {'operation': rng.randint(1, operations)}
      killing.run(work, args(place), **later)
    code, _ = killing.run(work, args(place))
    assert code == 0, moment
    assert killing.contents(place) == wanted, moment
  print(f'{command}: {kills} kills, {operations} file operations')
  assert kills >= 10
