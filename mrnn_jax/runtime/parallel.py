"""The one place that knows about devices and processes.

A function is mapped with ``jax.pmap`` over the devices of this process, or of
all of them; what is added across devices is added by ``add``.  One device is
the same path.
"""

from collections.abc import Callable, Iterable, Iterator
import functools
import itertools
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils
import jax.numpy as jnp
import numpy as np

from mrnn_jax.runtime import stopping
from mrnn_jax.runtime.errors import InputError

AXIS = 'devices'
T = TypeVar('T')


def local_devices(num_devices: int = 0) -> list[jax.Device]:
  """Return the first ``num_devices`` local devices; all of them for 0.

  Raises:
    InputError: there are fewer.
  """
  devices = jax.local_devices()
  if num_devices > len(devices):
    raise InputError(
      f'--num_devices={num_devices}, but this process sees {len(devices)} '
      f'({devices[0].platform}): ask for at most so many, or for all by 0.'
    )
  return devices[: num_devices or len(devices)]


def is_first() -> bool:
  """Say whether this process is the one that writes and tells."""
  return jax.process_index() == 0


def pmap(
  fn: Callable[..., Any],
  devices: list[jax.Device],
  in_axes: Any = 0,
  donate_argnums: tuple[int, ...] = (),
  everywhere: bool = False,
) -> Callable[..., Any]:
  """Compile ``fn`` and map it over devices, whose axis is called ``AXIS``.

  Args:
    fn: what each device runs.
    devices: local ones.
    in_axes: as of ``jax.pmap``.
    donate_argnums: arguments whose memory may be reused.
    everywhere: over as many devices of every process, in the processes' order;
      all call it at the same time, each with the rows of its own devices.
  """
  chosen = list(devices)
  if everywhere and jax.process_count() > 1:
    chosen = [
      device
      for process in range(jax.process_count())
      for device in jax.local_devices(process_index=process)[: len(devices)]
    ]
  return jax.pmap(
    fn,
    axis_name=AXIS,
    in_axes=in_axes,
    devices=chosen,
    donate_argnums=donate_argnums,
  )


def gather(values: np.ndarray) -> np.ndarray:
  """Return the processes' values [...] --> [processes, ...], bit for bit.

  All processes call it at the same time, with one shape and dtype.
  """
  values = np.asarray(values)
  if jax.process_count() == 1:
    return values[None]
  # As bytes, for JAX makes 32 bits of 64.
  raw = np.frombuffer(values.tobytes(), np.uint8)
  gathered = np.asarray(multihost_utils.process_allgather(raw))
  return gathered.view(values.dtype).reshape(-1, *values.shape)


def of_first(values: np.ndarray) -> np.ndarray:
  """Return process 0's values; all call it as they do ``gather``."""
  return gather(values)[0]


def wait_for_all() -> None:
  """Return once all processes have called this."""
  gather(np.zeros(1, np.uint8))


def own_rows(num_rows: int) -> np.ndarray:
  """Return the numbers of the rows that fall to this process, in turn."""
  return np.arange(jax.process_index(), num_rows, jax.process_count())


def gather_rows(tree: Any, num_rows: int) -> Any:
  """Return all rows, host arrays, from what each process has of its own.

  All processes call it at the same time.

  Args:
    tree: [rows of ``own_rows``, ...].
    num_rows: of all processes.
  """
  share = -(-num_rows // jax.process_count())

  def whole(x):
    # [processes, share, ...] --> [share * processes, ...]
    rows = gather(pad_rows(x, share)).swapaxes(0, 1)
    return rows.reshape(-1, *x.shape[1:])[:num_rows]

  return jax.tree.map(whole, tree)


def map_in_turns(
  work: Callable[[T], np.ndarray],
  items: Iterable[T],
  shape_of: Callable[[T], tuple[int, ...]],
  largest: tuple[int, ...],
) -> Iterator[tuple[T, np.ndarray]]:
  """Yield each item and what ``work`` makes of it, everywhere and in order.

  The processes take an item each, then tell each other what they have.  All
  call it at the same time.

  Args:
    work: item -> float32 array.
    items: the same in all processes.
    shape_of: item -> the shape of its array.
    largest: no array is larger than that along any axis.
  """
  index, count = jax.process_index(), jax.process_count()
  items = iter(items)
  while turn := list(itertools.islice(items, count)):
    if count == 1:
      yield turn[0], work(turn[0])
      continue
    mine = np.zeros(largest, np.float32)
    if index < len(turn):
      values = work(turn[index])
      mine[tuple(map(slice, values.shape))] = values
    for item, values in zip(turn, gather(mine), strict=False):
      yield item, values[tuple(map(slice, shape_of(item)))]


def share(items: Iterable[T]) -> Iterator[T | None]:
  """Yield this process's share, equally many for each: None where one lacks."""
  index, count = jax.process_index(), jax.process_count()
  items = iter(items)
  while turn := list(itertools.islice(items, count)):
    yield turn[index] if index < len(turn) else None


def add(tree: Any) -> Any:
  """Add a tree over all devices; only inside a mapped function."""
  return jax.lax.psum(tree, AXIS)


def row_numbers(num_rows: int) -> jax.Array:
  """Return the global numbers [num_rows] of the rows of this device.

  Only inside a mapped function.
  """
  return jax.lax.axis_index(AXIS) * num_rows + jnp.arange(num_rows)


def replicate(
  tree: Any, devices: list[jax.Device], everywhere: bool = False
) -> Any:
  """Copy a tree to every device: leaves get a leading [devices] axis.

  Args:
    tree: of arrays.
    devices: local ones.
    everywhere: for what is mapped over the devices of all processes; they hold
      the same tree.
  """
  if not jax.tree.leaves(tree):  # Between processes JAX wants at least one.
    return tree
  places = np.zeros(len(devices))
  return _copier(tuple(devices), everywhere)(places, tree)


@functools.cache
def _copier(devices: tuple[jax.Device, ...], everywhere: bool):
  # Kept, since a new function would be compiled again.
  return pmap(
    lambda _, x: x, list(devices), in_axes=(0, None), everywhere=everywhere
  )


def unreplicate(tree: Any) -> Any:
  """Return the first device's copy of a replicated tree."""
  return jax.tree.map(lambda x: x.addressable_data(0)[0], tree)


def local_copies(tree: Any, devices: list[jax.Device]) -> Any:
  """Take a tree replicated everywhere for use by this process alone."""
  if jax.process_count() == 1:
    return tree
  return replicate(unreplicate(tree), devices)


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
      self._sum = pmap(add, devices, everywhere=True)
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
