"""The one place that knows about devices and processes.

A function is mapped over the local devices with ``jax.pmap``; what is added
across devices is added by ``add``.  One device is the same path.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mrnn_jax import stopping

AXIS = 'devices'


def local_devices(num_devices: int = 0) -> list[jax.Device]:
  """Return the first ``num_devices`` local devices; all of them for 0."""
  devices = jax.local_devices()
  return devices[: num_devices or len(devices)]


def pmap(
  fn: Callable[..., Any],
  devices: list[jax.Device],
  in_axes: Any = 0,
  donate_argnums: tuple[int, ...] = (),
) -> Callable[..., Any]:
  """Compile ``fn`` and map it over devices, whose axis is called ``AXIS``."""
  # pmap counts devices of all processes where there are several.
  pinned = devices if jax.process_count() == 1 else None
  return jax.pmap(
    fn,
    axis_name=AXIS,
    in_axes=in_axes,
    devices=pinned,
    donate_argnums=donate_argnums,
  )


def add(tree: Any) -> Any:
  """Add a tree over all devices; only inside a mapped function."""
  return jax.lax.psum(tree, AXIS)


def row_numbers(num_rows: int) -> jax.Array:
  """Return the global numbers [num_rows] of the rows of this device.

  Only inside a mapped function.
  """
  return jax.lax.axis_index(AXIS) * num_rows + jnp.arange(num_rows)


def replicate(tree: Any, devices: list[jax.Device]) -> Any:
  """Copy a tree to every device: leaves get a leading [devices] axis."""
  places = np.zeros(len(devices))
  return pmap(lambda _, x: x, devices, in_axes=(0, None))(places, tree)


def unreplicate(tree: Any) -> Any:
  """Return the first device's copy of a replicated tree."""
  return jax.tree.map(lambda x: x.addressable_data(0)[0], tree)


def split_rows(tree: Any, num_devices: int) -> Any:
  """Reshape [rows, ...] --> [devices, rows / devices, ...]."""

  def split(x):
    return x.reshape(num_devices, len(x) // num_devices, *x.shape[1:])

  return jax.tree.map(split, tree)


def pad_rows(tree: Any, num_rows: int) -> Any:
  """Append rows of zeros, host arrays, until there are ``num_rows``."""

  def pad(x):
    return np.pad(x, [(0, num_rows - len(x))] + [(0, 0)] * (x.ndim - 1))

  return jax.tree.map(pad, tree)


class Agreement:
  """Has all processes stop at the same point once one of them wants to.

  Every process calls it equally often.  With several processes the question
  travels along with the steps, and is answered a call later.
  """

  def __init__(self, devices: list[jax.Device], asked: Callable[[], bool]):
    """Ask ``asked`` at every call.

    Args:
      devices: local ones.
      asked: whether this process wants to stop.
    """
    self._asked, self._num_devices = asked, len(devices)
    self._sum = None
    if jax.process_count() > 1:
      self._sum = pmap(add, devices)
    self._answer: jax.Array | None = None

  def __call__(self) -> None:
    """Take in the wish of this process.

    Raises:
      Stopped: some process wants to stop.
    """
    asked = self._asked()
    if self._sum is None:
      if asked:
        raise stopping.Stopped
      return
    answer = self._answer
    self._answer = self._sum(np.full(self._num_devices, float(asked)))
    if answer is not None and answer.addressable_data(0)[0] > 0:
      raise stopping.Stopped
