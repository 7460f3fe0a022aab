"""A readout and its log-probabilities in one kernel, for GPUs.

Where the logits hidden W + b [n, V] go to memory and come back, that takes a
GPU longer than their product does.  Here a program has some rows, goes through
the vocabulary in tiles, and keeps of each row what a log-probability needs: the
largest logit so far, the sum of exponentials beside it, and the logit of the
row's word.  The gradient computes the tiles anew, from the normaliser that was
kept, once for hidden and once for W and b: five products instead of three, and
[n, V] never in memory.

Written in Pallas for Triton.  On other devices the same kernels are
interpreted, which is slow, and for checking numbers.  The plain forms are
``losses.log_probs`` and ``losses.chosen_log_probs``.

Letters: n rows, H hidden, V vocabulary.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from mrnn_jax.models.fused_readout.grid import Blocks, Form
from mrnn_jax.models.losses import LastLayer
from mrnn_jax.runtime.errors import InputError

__all__ = [
  'SETTINGS',
  'Blocks',
  'Form',
  'chosen_logits',
  'is_used',
  'log_normalizer',
  'log_probs',
]

Array = jax.Array
SETTINGS = ('auto', 'on', 'off')


def is_used(setting: str, device: jax.Device, ends_in_product: bool) -> bool:
  """Say whether log-probabilities come from the kernels.

  Args:
    setting: 'auto': on GPUs where a trial agrees with the plain form (see
      ``trial``), of models that end in a product; 'on' or 'off'.
    device: where to compute.
    ends_in_product: of the model.

  Raises:
    InputError: they cannot, and shall.
  """
  if setting == 'auto':
    if device.platform != 'gpu' or not ends_in_product:
      return False
    # Here, as it imports Pallas.
    from mrnn_jax.models.fused_readout import trial

    return trial.works_on(device)
  if setting == 'on' and not ends_in_product:
    raise InputError(
      '--fused_readout=on: the logits of this model are not one product, for '
      'which the kernel is made; leave it out.'
    )
  if setting == 'on' and device.platform not in ('gpu', 'cpu'):
    raise InputError(
      f'--fused_readout=on: the kernel is made for GPUs, not for '
      f'{device.platform}; leave it out.'
    )
  return setting == 'on'


def log_normalizer(last: LastLayer, form: Form) -> Array:
  """Return log sum_v exp logit_v [...] of rows, float32; it has no gradient.

  Args:
    last: of the rows [..., H].
    form: how to compute.
  """
  # Importing Pallas takes a second, and not everybody needs it.
  from mrnn_jax.models.fused_readout import kernels

  shape = last.hidden.shape[:-1]
  hidden, kernel, bias = _as_matrices(last, form)
  hidden, kernel = hidden.astype(form.dtype), kernel.astype(form.dtype)
  words = jnp.zeros(len(hidden), jnp.int32)
  normalizer, _ = kernels.normalize(hidden, kernel, bias, words, form)
  return normalizer.reshape(shape)


def chosen_logits(
  last: LastLayer, rows: Array, words: Array, dtype: str
) -> Array:
  """Return the logits [..., m] of some words of some rows, float32.

  Args:
    last: of rows [..., n, H].
    rows: [m] which of the n rows.
    words: [m] which word of it.
    dtype: of the operands, as of ``Form``.
  """
  # Columns of W are gathered once, [m, H].  Rows of hidden go to no memory:
  # hence products and sums, not a matrix product.
  columns = jax.lax.optimization_barrier(last.kernel.T[words].astype(dtype))
  hidden = last.hidden.astype(dtype)[..., rows, :].astype(jnp.float32)
  logits = (hidden * columns.astype(jnp.float32)).sum(-1)
  return logits if last.bias is None else logits + last.bias[words]


def log_probs(last: LastLayer, words: Array, form: Form) -> Array:
  """Return log P of a word of each row, natural logarithms, [...] float32.

  Has a gradient by hidden, W and b.

  Args:
    last: of the rows [..., H].
    words: [...] word ids.
    form: how to compute.
  """
  flat = words.reshape(-1).astype(jnp.int32)
  return _log_probs(*_as_matrices(last, form), flat, form).reshape(words.shape)


def _as_matrices(last: LastLayer, form: Form) -> tuple[Array, Array, Array]:
  """Return hidden [n, H'], W [H', V] and b [V], H' as the kernels want it."""
  H, V = last.kernel.shape
  more = -H % form.multiple
  hidden = jnp.pad(last.hidden.reshape(-1, H), [(0, 0), (0, more)])
  kernel = jnp.pad(last.kernel, [(0, more), (0, 0)])
  return hidden, kernel, jnp.zeros(V) if last.bias is None else last.bias


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def _log_probs(
  hidden: Array, kernel: Array, bias: Array, words: Array, form: Form
) -> Array:
  return _log_probs_and_kept(hidden, kernel, bias, words, form)[0]


def _log_probs_and_kept(hidden, kernel, bias, words, form):
  from mrnn_jax.models.fused_readout import kernels

  hidden, kernel = hidden.astype(form.dtype), kernel.astype(form.dtype)
  normalizer, chosen = kernels.normalize(hidden, kernel, bias, words, form)
  kept = hidden, kernel, bias, words, normalizer
  return chosen - normalizer, kept


def _gradient(form: Form, kept: Any, weights: Array):
  from mrnn_jax.models.fused_readout import kernels

  hidden, kernel, bias, words, normalizer = kept
  found = kernels.gradients(
    hidden, kernel, bias, words, normalizer, weights, form
  )
  return *found, None


_log_probs.defvjp(_log_probs_and_kept, _gradient)
