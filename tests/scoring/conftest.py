"""A model file, features and records for scoring jobs."""

import numpy as np
import pytest
from scoring_jobs import IDS, WORDS, D, sentences_of, write


@pytest.fixture(scope='module')
def folder(tmp_path_factory, write_toy_model):
  """A model file, features of its kind, and records in every format."""
  folder = tmp_path_factory.mktemp('scoring')
  write_toy_model(folder / 'model.npz', WORDS, D)
  rng = np.random.default_rng(0)
  features = rng.normal(size=(len(IDS), D)).astype(np.float32)
  features[4, 0] = np.nan
  np.savez(
    folder / 'features.npz',
    ids=np.asarray(IDS),
    features=features,
    encoder='toynet',
    weights='abc',
  )
  records = [
    {'n': n, 'image_id': IDS[n % 4], **sentences_of(rng, n)} for n in range(60)
  ]
  write(folder / 'r.jsonl', records)
  return folder
