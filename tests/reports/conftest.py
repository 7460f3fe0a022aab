"""A workdir with all results, its photos, and its page."""

import json

from made_results import (
  NUM_IMAGES,
  image_id,
  make_captions,
  make_evaluation,
  make_queries,
  write_lines,
)
from PIL import Image
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax import tasks


@pytest.fixture(scope='session')
def photos(tmp_path_factory):
  """Thirty photos but two; one is broken, one lies on its side."""
  folder = tmp_path_factory.mktemp('pho tos')
  for i in range(NUM_IMAGES - 2):
    image = Image.new('RGB', (60, 30), (8 * i, 100, 200 - 6 * i))
    exif = Image.Exif()
    if i == 2:
      exif[0x0112] = 6  # Turn it by a quarter.
    image.save(folder / image_id(i), exif=exif)
  (folder / image_id(4)).write_bytes(b'\xff\xd8 no photo')
  return folder


@pytest.fixture(scope='session')
def full(tmp_path_factory):
  """A workdir with everything, without a dataset."""
  folder = tmp_path_factory.mktemp('work dir')
  write_lines(folder / 'captions.jsonl', make_captions())
  write_lines(folder / 'retrieval.jsonl', make_queries())
  (folder / 'evaluation.json').write_text(json.dumps(make_evaluation()))
  write_lines(
    folder / 'log.jsonl',
    [
      {'step': n, 'epoch': n / 10, 'train_perplexity': 90 / n, 'cost': 9 / n}
      for n in range(1, 9)
    ]
    + [{'step': 9, 'epoch': 0.9, 'validation_perplexity': 20.0}],
  )
  return folder


@pytest.fixture(scope='session')
def full_page(full, photos):
  given = {'task': 'report', 'workdir': str(full), 'photos': str(photos)}
  tasks.run(config_lib.Given({**given, 'data_dir': '/nowhere'}))
  return full / 'report.html'
