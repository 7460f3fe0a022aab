import os

import jax
import pytest

from mrnn_jax.runtime import determinism, jax_private
from mrnn_jax.runtime.errors import InputError


def test_it_reaches_xla_in_time(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--xla_dump_to=d --xla_gpu_autotune_level=0')
  jax.devices()
  with pytest.raises(RuntimeError, match='after a backend'):
    determinism.be_deterministic()
  monkeypatch.setattr(jax_private, 'backends_are_initialized', lambda: False)
  determinism.be_deterministic()
  determinism.be_deterministic()
  assert os.environ['XLA_FLAGS'].split() == [
    '--xla_dump_to=d',
    '--xla_gpu_autotune_level=0',
    '--xla_gpu_deterministic_ops=true',
    '--xla_gpu_exclude_nondeterministic_ops=true',
  ]
  monkeypatch.setenv('XLA_FLAGS', '--xla_gpu_deterministic_ops=false')
  with pytest.raises(InputError, match='says the contrary'):
    determinism.be_deterministic()
