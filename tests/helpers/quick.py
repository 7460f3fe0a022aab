"""The compiler told not to optimise, where compiling is what tests wait for.

The whole suite and its children are compiled so, by XLA_FLAGS that
``conftest.py`` sets.  What must be equal to the bit is compiled as it is for
users: ``users_compiler``.
"""

import contextlib
from importlib import metadata
import os

OPTIONS = {'xla_backend_optimization_level': 0}
# What users have.
_DEFAULTS = {'xla_backend_optimization_level': 3}
if tuple(map(int, metadata.version('jaxlib').split('.')[:2])) < (0, 11):
  # Later ones have no such options.
  OPTIONS['xla_cpu_use_fusion_emitters'] = False
  OPTIONS['xla_cpu_parallel_codegen_split_count'] = 1
  _DEFAULTS['xla_cpu_use_fusion_emitters'] = True
  _DEFAULTS['xla_cpu_parallel_codegen_split_count'] = 32
_FLAGS = [f'--{name}={int(value)}' for name, value in OPTIONS.items()]


def install() -> None:
  """Have this process, before it imports JAX, and its children compile so."""
  there = os.environ.get('XLA_FLAGS', '').split()
  os.environ['XLA_FLAGS'] = ' '.join(dict.fromkeys([*there, *_FLAGS]))


def users_flags() -> str:
  """Return the XLA_FLAGS of a child that compiles as users do."""
  there = os.environ.get('XLA_FLAGS', '').split()
  return ' '.join(flag for flag in there if flag not in _FLAGS)


@contextlib.contextmanager
def users_compiler():
  """Compile as users do, in this process."""
  import jax
  import pytest

  # Not public: where it is another in a later JAX, these tests are left out.
  private = pytest.importorskip('jax._src.compiler')
  quick = getattr(private, 'get_compile_options', None)
  if quick is None:
    pytest.skip('this JAX does not let tests choose how it compiles')

  def get_compile_options(*args, env_options_overrides=None, **options):
    overrides = {**_DEFAULTS, **(env_options_overrides or {})}
    return quick(*args, env_options_overrides=overrides, **options)

  # What was compiled otherwise is used neither here nor afterwards.
  jax.clear_caches()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(private, 'get_compile_options', get_compile_options)
    yield
  jax.clear_caches()
