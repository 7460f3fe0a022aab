"""How the kernels of the readout are cut: programs, and the tiles of each."""

import dataclasses
from typing import NamedTuple

from jax import lax

# As many programs as a large GPU has room for at a time, or some more.
_PROGRAMS = 256
# Sums that a program of 8 warps keeps in registers, half of those there are.
_SUMS = 64 * 512


@dataclasses.dataclass(frozen=True)
class Blocks:
  """What a program of the kernel takes at a time; powers of 2, 16 or more.

  Attributes:
    rows: rows.
    words: of the vocabulary.
    inner: of H, in the product for the logits.
    outer: of H, in the sums of the gradient.
    warps: of 32 threads.
  """

  rows: int
  words: int
  inner: int = 32
  outer: int = 128
  warps: int = 8

  def fitting(self, axis: str, H: int) -> 'Blocks':
    """Return blocks whose sums [block, H] stay in registers.

    Args:
      axis: 'rows' or 'words', of the block that is made smaller.
      H: hidden.
    """
    block = getattr(self, axis)
    while block > 16 and block * H > _SUMS:
      block //= 2
    return dataclasses.replace(self, **{axis: block})


@dataclasses.dataclass(frozen=True)
class Form:
  """How the kernels compute.

  Attributes:
    dtype: of the operands of products, 'float32' or 'bfloat16'; sums are
      float32.
    precision: of products of float32, one of ``layers.PRECISIONS``.
    forward: what a program of the normaliser takes.
    of_hidden, of_kernel: and those of the gradients, whose sums [rows, H] and
      [H, words] have to stay in registers.
  """

  dtype: str = 'float32'
  precision: str = 'highest'
  forward: Blocks = Blocks(128, 128)
  of_hidden: Blocks = Blocks(64, 64)
  of_kernel: Blocks = Blocks(64, 64)

  @property
  def product_precision(self) -> lax.Precision | None:
    """What products ask for."""
    if self.dtype != 'float32':
      return None
    return lax.Precision(self.precision)

  @property
  def stages(self) -> int:
    """Loads that are under way at a time: what shared memory has room for."""
    return 2 if self.dtype == 'float32' else 3

  @property
  def multiple(self) -> int:
    """What H is made a multiple of."""
    blocks = self.forward, self.of_hidden, self.of_kernel
    return max(max(b.inner, b.outer) for b in blocks)


class Grid(NamedTuple):
  """Programs: one for each block of an axis and each part of another.

  Attributes:
    blocks: of the axis whose results they write.
    parts: of the axis that they go through.
    tiles: of a part.
  """

  blocks: int
  parts: int
  tiles: int

  @classmethod
  def cut(
    cls, size: int, block: int, through: int, tile: int, most: int | None = None
  ) -> 'Grid':
    """Cut the work so that there is some for all of a GPU.

    Args:
      size: of the axis of the results.
      block: of it.
      through: size of the other axis.
      tile: of it.
      most: parts of it at most.
    """
    blocks, tiles = -(-size // block), -(-through // tile)
    parts = min(-(-_PROGRAMS // blocks), tiles)
    if most is not None:
      parts = max(1, min(parts, most))
    of_part = -(-tiles // parts)
    return cls(blocks, -(-tiles // of_part), of_part)
