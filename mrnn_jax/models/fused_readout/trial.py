"""Whether the kernels work on a device: they are tried there, once."""

import functools
import sys

import jax
import numpy as np

from mrnn_jax.models import losses
from mrnn_jax.models.fused_readout.grid import Form
from mrnn_jax.models.losses import LastLayer

# No multiple of the blocks, and several of them.
_ROWS, _HIDDEN, _WORDS = 150, 96, 700
# What products of TF32 or of bfloat16 may differ by.
_TOLERANCE = 0.02


@functools.cache
def works_on(device: jax.Device) -> bool:
  """Say whether the kernels do what the plain form does, with a note if not.

  Compilers and drivers of GPUs are many, and a run shall not end by one: where
  the kernels cannot be compiled, or give something else, the plain form is
  taken.
  """
  wrong = misfit(device)
  if wrong:
    print(
      f'note: --fused_readout is left out on this {device.device_kind}: '
      f'{wrong}.',
      file=sys.stderr,
    )
  return not wrong


def misfit(device: jax.Device, form: Form | None = None) -> str:
  """Return what is wrong with the kernels on a device, or ''.

  Args:
    device: which.
    form: how to compute.
  """
  from mrnn_jax.models import fused_readout

  form = form or Form()
  rng = np.random.default_rng(0)
  arrays = (
    rng.normal(size=(_ROWS, _HIDDEN)),
    rng.normal(size=(_HIDDEN, _WORDS)) / 8,
    rng.normal(size=_WORDS),
  )
  last = LastLayer(*jax.device_put([np.float32(x) for x in arrays], device))
  words = jax.device_put(rng.integers(0, _WORDS, _ROWS, np.int32), device)

  def by_kernels(last: LastLayer):
    return fused_readout.log_probs(last, words, form)

  def plainly(last: LastLayer):
    return losses.log_probs(last, words, form.dtype, form.precision)

  def all_of(log_probs):
    def total(last: LastLayer):
      found = log_probs(last)
      return found.sum(), found

    gradient, found = jax.jit(jax.grad(total, has_aux=True))(last)
    return [found, *gradient]

  try:
    found = all_of(by_kernels)
  # A compiler may raise anything.
  except Exception as error:
    lines = str(error).strip().splitlines() or ['']
    return f'it cannot be compiled ({type(error).__name__}: {lines[0][:200]})'
  # By NumPy: XLA's maximum on CPUs passes over what is no number.
  pairs = jax.device_get((found, all_of(plainly)))
  for mine, want in zip(*pairs, strict=True):
    if not np.abs(mine - want).max() <= _TOLERANCE * np.abs(want).max():
      return 'it gives other numbers than the plain form'
  return ''
