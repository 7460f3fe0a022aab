"""Encoders that were trained further: put together, and told from others."""

import numpy as np
import pytest
import tiny_cnn

from mrnn_jax.data.feature_files.table import Encoder
from mrnn_jax.encoders import fine_tuning
from mrnn_jax.runtime.errors import InputError


@pytest.fixture
def network(monkeypatch):
  return tiny_cnn.install(monkeypatch)


def test_weights_that_nobody_knows_or_that_are_the_same(network):
  for weights in ('', tiny_cnn.CHECKSUM):
    loaded, resize = fine_tuning.load(Encoder(tiny_cnn.NAME, weights))
    assert (loaded.weights, resize) == (tiny_cnn.CHECKSUM, 'squash')
    assert not loaded.tuned


@pytest.mark.parametrize('which', ['none', 'head'])
def test_weights_of_another_file_are_refused(network, which):
  """Also where none of them were trained: features would be another's."""
  blocks = {'head': network.params['head']} if which == 'head' else None
  with pytest.raises(InputError, match='another file.*--encoder_weights'):
    fine_tuning.load(Encoder(tiny_cnn.NAME, 'ab' * 32), blocks)


def test_blocks_take_the_place_of_those_of_the_file(network):
  doubled = {n: 2 * x for n, x in network.params['head'].items()}
  encoder = Encoder(f'{tiny_cnn.NAME}, fine-tuned', 'ab' * 32)
  loaded, _ = fine_tuning.load(encoder, {'head': doubled})
  assert loaded.tuned
  assert loaded.weights == fine_tuning.checksum({'head': doubled})
  assert loaded.weights != fine_tuning.checksum(
    {'head': network.params['head']}
  )
  for name, block in network.params.items():
    want = doubled if name == 'head' else block
    np.testing.assert_array_equal(
      tiny_cnn.leaves(loaded.params[name]), tiny_cnn.leaves(want)
    )
