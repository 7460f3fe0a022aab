"""Features by image id, as a scoring job finds them."""

import types

import numpy as np

from mrnn_jax.scoring.images import ImageLookup


def test_any_other_feature_is_another_source(tmp_path):
  path = tmp_path / 'features.npz'
  features = np.ones((300, 3), np.float32)
  model = types.SimpleNamespace(
    dataset={'feature_size': 3}, check_encoder=lambda *unused: None
  )
  config = types.SimpleNamespace(features=str(path), encoder='')

  def identity():
    np.savez(path, ids=np.arange(300).astype(str), features=features)
    return ImageLookup.open(model, config).identity

  seen = {identity()}
  assert identity() in seen
  for row in (0, 1, 2, 3, 150, 298, 299):
    features[row, 1] += 1
    seen.add(identity())
  assert len(seen) == 8
