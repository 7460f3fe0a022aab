"""The same bits in every run, also on GPUs."""

import os

from mrnn_jax.runtime import jax_private
from mrnn_jax.runtime.errors import InputError

# XLA's: no atomic additions, and no choice of kernels by their time.
_FLAGS = (
  '--xla_gpu_deterministic_ops=true',
  '--xla_gpu_exclude_nondeterministic_ops=true',
)


def be_deterministic() -> None:
  """Have GPUs give the same bits in every run, by XLA_FLAGS.

  What stands there stays.

  Raises:
    InputError: it says the contrary.
    RuntimeError: too late, a backend has started and read them.
  """
  if jax_private.backends_are_initialized():
    raise RuntimeError('XLA_FLAGS are set after a backend has read them')
  there = os.environ.get('XLA_FLAGS', '').split()
  for flag in _FLAGS:
    name = flag.partition('=')[0]
    other = [x for x in there if x.partition('=')[0] == name]
    if any(x.partition('=')[2] not in ('', 'true', '1') for x in other):
      raise InputError(
        f'XLA_FLAGS has {other[-1]}, --deterministic says the contrary: take '
        'one of them away.'
      )
    if not other:
      there.append(flag)
  os.environ['XLA_FLAGS'] = ' '.join(there)
