"""Tiles of arrays within the kernels: loaded, stored, gone through."""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
import jax.numpy as jnp

from mrnn_jax.models.fused_readout.grid import Grid

Array = jax.Array


class Axis(NamedTuple):
  """A block of an axis.

  Attributes:
    start: where it begins.
    block: its length.
    size: of the axis; None: the block is within it, wherever it begins.
  """

  start: Any
  block: int
  size: int | None = None

  @classmethod
  def tile(cls, number: Any, block: int, size: int, count: int) -> 'Axis':
    """Return one of so many blocks."""
    return cls(number * block, block, None if count * block == size else size)

  @property
  def places(self) -> Array:
    """Which places it has."""
    return self.start + jnp.arange(self.block, dtype=jnp.int32)


def _place(axes: Sequence[Axis]) -> tuple[tuple[Any, ...], Array | None]:
  """Return the index of a block of some axes, and which of it is there."""
  masks = [
    jnp.expand_dims(
      axis.places < axis.size, [j for j in range(len(axes)) if j != i]
    )
    for i, axis in enumerate(axes)
    if axis.size is not None
  ]
  place = tuple(pl.ds(axis.start, axis.block) for axis in axes)
  if not masks:
    return place, None
  mask = functools.reduce(jnp.logical_and, masks)
  return place, jnp.broadcast_to(mask, [axis.block for axis in axes])


def load(ref: Any, *axes: Axis, other: float = 0) -> Array:
  """Load a block; ``other`` stands where there is nothing."""
  place, mask = _place(axes)
  if mask is None:
    return triton.load(ref.at[place])
  return triton.load(ref.at[place], mask=mask, other=other)


def store(ref: Any, value: Array, *axes: Axis) -> None:
  """Store a block in the part of a result that is this program's."""
  place, mask = _place(axes)
  triton.store(ref.at[(pl.program_id(1), *place)], value, mask=mask)


def own_block(grid: Grid, block: int, size: int) -> Axis:
  """Return the block of the axis of the results that is this program's."""
  return Axis.tile(pl.program_id(0), block, size, grid.blocks)


def through(
  grid: Grid,
  block: int,
  size: int,
  add: Callable[[Axis, Any], Any],
  zero: Any,
) -> Any:
  """Go through this program's part of the other axis, tile by tile."""
  first = pl.program_id(1) * grid.tiles

  def step(j, so_far):
    count = grid.parts * grid.tiles
    return add(Axis.tile(first + j, block, size, count), so_far)

  return lax.fori_loop(0, grid.tiles, step, zero)
