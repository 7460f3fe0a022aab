"""Memory of ranking: the best of each query, never the matrix or a copy."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest

# Ranks the files named, and says after each how much memory it took at most:
# the peak without the pages of the mapped file, which the system takes back
# when it needs them.
_RANK = """
import sys

import jax
import numpy as np

from mrnn_jax import models
from mrnn_jax.data.vocabulary import END, START
from mrnn_jax.ranking import ranker as ranker_lib
from mrnn_jax.runtime import parallel

network = models.MRNN(
  vocab_size=16, feature_size=256,
  embedding_size=4, recurrent_size=4, multimodal_size=4,
)
variables = models.init_variables(network, jax.random.key(0))
ranker = ranker_lib.Ranker(
  network, variables, parallel.local_devices(1),
  image_block=2000, tile_rows=20_000,
)
rng = np.random.default_rng(0)
sentences = [[START, *rng.integers(4, 16, 3), END] for _ in range(200)]
for path in sys.argv[1:]:
  features = np.load(path, mmap_mode='r')
  ranking = ranker.rank(sentences, features, top=10)
  assert ranking.images.max() < len(features)
  lines = open('/proc/self/status').read().splitlines()
  status = dict(line.split(':', 1) for line in lines)
  peak, mapped = (int(status[x].split()[0]) for x in ('VmHWM', 'RssFile'))
  print((peak - mapped) / 1024)
"""


def write_features(path, num_images):
  features = np.lib.format.open_memmap(
    path, 'w+', np.float32, (num_images, 256)
  )
  rng = np.random.default_rng(1)
  for start in range(0, num_images, 10_000):
    features[start : start + 10_000] = rng.normal(size=(10_000, 256))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_ten_times_the_images_need_the_memory_of_their_best(tmp_path):
  paths = [tmp_path / 'small.npy', tmp_path / 'large.npy']
  for path, num_images in zip(paths, (20_000, 200_000), strict=True):
    write_features(path, num_images)
  result = subprocess.run(
    [sys.executable, '-c', _RANK, *map(str, paths)],
    capture_output=True,
    text=True,
    cwd=pathlib.Path(__file__).parents[2],
  )
  assert result.returncode == 0, result.stderr
  small, large = map(float, result.stdout.split())
  print(f'20,000 images: {small:.0f} MB; 200,000: {large:.0f} MB')
  # The features have 184 MB more, the matrix 137 MB, the best of each 21 MB.
  assert large - small < 100
