"""How commands set up JAX before it computes."""

import os

import jax

from mrnn_jax.runtime import determinism, files


def apply(compilation_cache: bool, deterministic: bool) -> None:
  """Set JAX up.

  Args:
    compilation_cache: whether compiled programs are kept between runs; where
      JAX has been told a folder, it is that.
    deterministic: whether GPUs are to give the same bits in every run.
  """
  if deterministic:
    determinism.be_deterministic()
  there = jax.config.values['jax_compilation_cache_dir']
  if compilation_cache and not there:
    jax.config.update('jax_compilation_cache_dir', compilation_cache_dir())
    # Many small programs take as long as a few large ones.
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)


def compilation_cache_dir() -> str:
  """Return where compiled programs are kept between runs."""
  return os.fspath(files.user_cache() / 'compiled')
