"""The compiler told not to optimise, where compiling is what tests wait for.

What must be equal to the bit is compiled as it is for users.
"""

import contextlib
import functools

import jax
import pytest

COMPILER_OPTIONS = {'xla_backend_optimization_level': 0}
if jax.__version_info__ < (0, 11):
  # Three times as quick; later ones have no such option.
  COMPILER_OPTIONS['xla_cpu_use_fusion_emitters'] = False
jit = functools.partial(jax.jit, compiler_options=COMPILER_OPTIONS)
# The same for a process of its own, as XLA_FLAGS.
FLAGS = ' '.join(f'--{k}={int(v)}' for k, v in COMPILER_OPTIONS.items())


@contextlib.contextmanager
def compiler():
  """Compile everything so, in the program too."""
  # Not public: where it is another in a later JAX, tests only take longer.
  private = pytest.importorskip('jax._src.compiler')
  as_for_users = getattr(private, 'get_compile_options', None)

  def get_compile_options(*args, env_options_overrides=None, **options):
    overrides = {**COMPILER_OPTIONS, **(env_options_overrides or {})}
    return as_for_users(*args, env_options_overrides=overrides, **options)

  with pytest.MonkeyPatch.context() as patch:
    if as_for_users:
      patch.setattr(private, 'get_compile_options', get_compile_options)
    yield
  # No other test shall run what was compiled here.
  jax.clear_caches()
