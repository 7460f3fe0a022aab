"""Photos in training: whose rows they are, and what is changed by chance."""

import collections
import concurrent.futures
import io
import json
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
from PIL import Image
import pytest

from data_prep import build
from mrnn_jax.data import augmentation, datasets, photo_batches
from mrnn_jax.data.vocabulary import START

HERE = pathlib.Path(__file__).parent
SIDE = 16
PLAIN = augmentation.Augmentation(area=1.0, flip=False, color=0.0)
ALL = augmentation.Augmentation(area=0.5, flip=True, color=0.3)
TEXTS = ['a dog runs', 'a cat on the left', 'one man', 'a bird in water']


def pixels_of(i):
  """A picture of its own, smooth: JPEG keeps it nearly."""
  y, x = np.mgrid[:SIDE, :SIDE] / SIDE
  colour = np.stack([x * (i + 1) / 12, y, 0 * x + i / 12], axis=-1)
  return (255 * colour).astype(np.uint8)


def make(folder, num_train=12):
  lines = []
  (folder / 'photos').mkdir()
  for i in range(num_train + 2):
    name = f'{i}.jpg'
    Image.fromarray(pixels_of(i)).save(folder / 'photos' / name, quality=95)
    split = 'train' if i < num_train else ('test', 'validation')[i % 2]
    # The last one has more captions than a row takes.
    count = 19 if i == num_train - 1 else 1 + i % 3
    captions = [TEXTS[(i + j) % 4] for j in range(count)]
    line = {'image_id': name, 'captions': captions, 'split': split}
    lines.append(json.dumps(line))
  (folder / 'captions.jsonl').write_text('\n'.join(lines))
  build.build(
    build.BuildConfig(
      dataset='p',
      captions=str(folder / 'captions.jsonl'),
      photos=str(folder / 'photos'),
      photo_size=SIDE,
      data_dir=str(folder),
    )
  )
  return folder


@pytest.fixture(scope='module')
def split(tmp_path_factory):
  folder = make(tmp_path_factory.mktemp('p'))
  dataset = datasets.open_dataset('p', str(folder))
  return datasets.load_split(dataset, 'train', dataset.vocabulary(1))


def batches(split, how=PLAIN, **changes):
  options = {'batch_size': 8, 'num_buckets': 3, 'seed': 0, **changes}
  return photo_batches.PhotoBatches(split, SIDE, how, **options)


def test_a_row_is_an_image_with_its_captions(split):
  made = batches(split, row_multiple=4)
  seen, passes = [], collections.Counter()
  for step in range(made.steps_per_epoch):
    batch = made.batch(step)
    assert batch['photos'].shape == (made.num_rows, SIDE, SIDE, 3)
    assert made.num_rows % 4 == 0
    for tokens, targets, captions, photo in zip(
      batch['tokens'],
      batch['targets'],
      batch['captions'],
      batch['photos'],
      strict=True,
    ):
      captions = captions[captions >= 0]
      if not len(captions):
        assert not photo.any() and not tokens.any()
        continue
      seen += captions.tolist()
      (image,) = set(split.owner[captions])
      passes[image] += 1
      assert np.abs(photo.astype(int) - pixels_of(image)).mean() < 6
      starts = np.flatnonzero(tokens == START)
      assert len(starts) == len(captions)
      for start, caption in zip(starts, captions, strict=True):
        ids = split.caption_tokens(caption)
        assert (
          targets[start : start + len(ids) - 1].tolist() == ids[1:].tolist()
        )
  assert sorted(seen) == list(range(len(split.owner)))
  # One pass of all its captions; three of the one that has 19.
  assert [passes[i] for i in range(12)] == [1] * 11 + [3]


def test_what_is_drawn_is_of_seed_step_and_row_alone(split):
  whole = batches(split, ALL, row_multiple=4)
  again, other = (batches(split, ALL, row_multiple=4, seed=s) for s in (0, 1))
  halves = [batches(split, ALL, row_multiple=4, shard=(i, 2)) for i in (0, 1)]
  plain = batches(split, row_multiple=4)
  for step in (5, 1):
    photos = whole.batch(step)['photos']
    np.testing.assert_array_equal(photos, again.batch(step)['photos'])
    parts = [half.batch(step)['photos'] for half in halves]
    np.testing.assert_array_equal(photos, np.concatenate(parts))
    assert (photos != plain.batch(step)['photos']).any()
    assert (photos != other.batch(step)['photos']).any()
  first, *_ = whole.iterate(5, 7, num_threads=1)
  np.testing.assert_array_equal(first['photos'], whole.batch(5)['photos'])


def stored(pixels):
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, 'JPEG', quality=100, subsampling=0)
  return file.getvalue()


def test_flips_are_half_of_all_and_none_where_sides_are_told():
  data = stored(pixels_of(3))
  plain = augmentation.decode(data, SIDE)
  flip = augmentation.Augmentation(1.0, True, 0.0)
  mirrored = 0
  for seed in range(200):
    photo = augmentation.augmented(
      data, SIDE, flip, np.random.default_rng(seed), False
    )
    is_mirrored = (photo == plain[:, ::-1]).all()
    assert is_mirrored or (photo == plain).all()
    mirrored += is_mirrored
    sided = augmentation.augmented(
      data, SIDE, flip, np.random.default_rng(seed), True
    )
    np.testing.assert_array_equal(sided, plain)
  assert 75 < mirrored < 125  # 100, standard deviation 7.


def test_colours_change_within_their_limits():
  data = stored(np.full((SIDE, SIDE, 3), 100, np.uint8))
  tint = augmentation.Augmentation(1.0, False, 0.3)
  means = [
    augmentation.augmented(
      data, SIDE, tint, np.random.default_rng(seed), False
    ).mean()
    for seed in range(100)
  ]
  # Of an even grey brightness alone is seen: 70 to 130.
  assert 69 <= min(means) < 78 and 122 < max(means) <= 131


def test_crops_show_a_part():
  x = np.repeat(np.arange(SIDE, dtype=np.uint8) * 8, 3).reshape(1, SIDE, 3)
  data = stored(np.ascontiguousarray(np.broadcast_to(x, (SIDE, SIDE, 3))))
  crop = augmentation.Augmentation(0.3, False, 0.0)
  widths = []
  for seed in range(100):
    photo = augmentation.augmented(
      data, SIDE, crop, np.random.default_rng(seed), False
    )
    row = photo[SIDE // 2, :, 0].astype(float)
    # Greys rise by 8 a pixel: how far they go says how wide the part was.
    widths.append((row[-2] - row[1]) / (SIDE - 3) / 8)
  assert 0.45 < min(widths) < 0.6 and 0.9 < max(widths) < 1.1


def test_one_of_many_threads_opens_the_dataset(split, monkeypatch):
  """Two that import TFDS at once may wait for each other, for ever."""
  photos = pickle.loads(pickle.dumps(split.photos))  # As a worker has it.
  original, opened = datasets.open_folder, []

  def slow(path):
    opened.append(path)
    time.sleep(0.2)
    return original(path)

  monkeypatch.setattr(datasets, 'open_folder', slow)
  with concurrent.futures.ThreadPoolExecutor(4) as threads:
    found = list(threads.map(photos.__getitem__, range(4)))
  assert len(opened) == 1
  assert found == [split.photos[i] for i in range(4)]


@pytest.mark.slow
def test_worker_processes_give_the_same_and_end_with_their_parent(
  split, tmp_path
):
  made = batches(split, ALL, num_workers=2)
  found = made.iterate(2, 7)
  for step, batch in enumerate(found, start=2):
    for name, value in made.batch(step).items():
      np.testing.assert_array_equal(batch[name], value)
  found.close()
  make(tmp_path)
  script = tmp_path / 'run.py'
  script.write_text(
    'import sys, time\n'
    f'sys.path += {[str(HERE), str(HERE.parents[1])]}\n'
    'import multiprocessing\n'
    'import test_photo_batches as t\n'
    'def main():\n'
    '  from mrnn_jax.config import flags\n'
    '  from mrnn_jax.data import datasets\n'
    '  flags.settle()\n'
    f'  dataset = datasets.open_dataset("p", {str(tmp_path)!r})\n'
    '  split = datasets.load_split(dataset, "train", dataset.vocabulary(1))\n'
    '  found = t.batches(split, num_workers=2).iterate(0, 999, 1)\n'
    '  next(found)\n'
    '  children = multiprocessing.active_children()\n'
    '  print(*(child.pid for child in children), flush=True)\n'
    '  time.sleep(60)\n'
    'if __name__ == "__main__":\n'
    '  main()\n'
  )
  command = [sys.executable, script]
  with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
    workers = [int(pid) for pid in child.stdout.readline().split()]
    # Ctrl-C of a terminal comes to all: workers leave it to their parent.
    for pid in workers:
      os.kill(pid, signal.SIGINT)
    time.sleep(0.5)
    there = [pathlib.Path(f'/proc/{pid}').exists() for pid in workers]
    child.kill()
  assert there == [True, True]
  deadline = time.monotonic() + 20
  while any(pathlib.Path(f'/proc/{pid}').exists() for pid in workers):
    assert time.monotonic() < deadline, 'workers outlive their parent'
    time.sleep(0.1)
