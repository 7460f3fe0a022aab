"""Devices: as many as are asked for, or a sentence."""

import jax
import pytest

from mrnn_jax.runtime import parallel
from mrnn_jax.runtime.errors import InputError


def test_the_devices_that_are_asked_for():
  assert parallel.local_devices(3) == jax.local_devices()[:3]
  assert parallel.local_devices() == jax.local_devices()


def test_more_devices_than_there_are():
  there = len(jax.local_devices())
  with pytest.raises(
    InputError, match=rf'--num_devices={there + 1}, but .* sees {there} \(cpu\)'
  ):
    parallel.local_devices(there + 1)
