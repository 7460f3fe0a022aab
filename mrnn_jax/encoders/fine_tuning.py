"""Encoders whose weights were trained further, wholly or in part.

Their parameters are blocks, from the image to the feature.  A model carries
those that may differ from the weights file; the others come from that file.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import hashlib
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from mrnn_jax import encoders
from mrnn_jax.data.feature_files.table import TUNED, Encoder
from mrnn_jax.encoders import encode
from mrnn_jax.encoders.network import Network, nested
from mrnn_jax.runtime.errors import InputError, printable

Blocks = Mapping[str, Any]

ALL, LAST, NONE = 'all', 'last', 'none'
WHICH = (NONE, LAST, ALL)


def chosen(network: Network, which: str, num_last: int) -> tuple[str, ...]:
  """Return the names of the blocks that are to be trained.

  Args:
    network: the encoder.
    which: one of ``WHICH``.
    num_last: how many from the end, of ``LAST``.

  Raises:
    InputError: it cannot be trained, or has fewer blocks.
  """
  if which == NONE:
    return ()
  module_of(network)
  if which == ALL:
    return network.blocks
  if num_last > len(network.blocks):
    raise InputError(
      f'--train_encoder_blocks={num_last}, but {network.name} has '
      f'{len(network.blocks)}: ask for at most so many.'
    )
  return network.blocks[-num_last:]


def module_of(network: Network) -> nn.Module:
  """Return a network as a Flax module.

  Raises:
    InputError: it can be applied alone.
  """
  if network.module is None:
    raise InputError(f'{network.name} cannot be trained: it can be used alone.')
  return network.module


def tuned(network: Network, blocks: Blocks) -> Network:
  """Return a network with some of its blocks replaced."""
  return dataclasses.replace(
    network,
    params={**(network.params or {}), **blocks},
    weights=checksum(blocks),
    tuned=True,
  )


def checksum(blocks: Blocks) -> str:
  """Return 64 hexadecimal digits of blocks at half precision.

  So that a model has one encoder, whether its file has kept all digits or not.
  """
  digest = hashlib.sha256()
  for name in sorted(blocks):
    for path, leaf in jax.tree_util.tree_leaves_with_path(blocks[name]):
      digest.update(f'{name}{jax.tree_util.keystr(path)}'.encode())
      digest.update(np.asarray(leaf).astype(np.float16).tobytes())
  return digest.hexdigest()


def load(
  encoder: Encoder, blocks: Blocks | None = None, weights: str = ''
) -> tuple[Network, str]:
  """Return the network that makes features as they were made, and its resize.

  Args:
    encoder: what made them; with blocks, what these are changed from.
    blocks: those that are changed, if any.
    weights: the weights file, where no pip package brings it; none is needed
      where all blocks are given.

  Raises:
    InputError: the encoder is not one of ours, or its weights are others.
  """
  if blocks:
    encoder = base_of(encoder)
  name, resize = encode.parse_description(encoder.name)
  if not name:
    raise InputError(
      f'the model was trained on features of {printable(encoder.name)!r}, '
      'which this program cannot make: give them by --features=FILE.'
    )
  blank = encoders.without_weights(name) if blocks else None
  if blocks and blank is not None and set(blank.blocks) == set(blocks):
    return tuned(blank, blocks), resize
  network = encoders.load(name, weights or None)
  if encoder.weights not in ('', network.weights):
    has = 'has trained a part of' if blocks else 'was trained on features of'
    raise InputError(
      f'the model {has} {name} whose weights are those of another file, '
      f'{encoder.weights[:12]}, and these are {network.weights[:12]}: give '
      'that file by --encoder_weights.'
    )
  return (tuned(network, blocks) if blocks else network), resize


def base_of(encoder: Encoder) -> Encoder:
  """Return what an encoder was before it was trained further."""
  if not encoder.name.endswith(TUNED):
    return encoder
  return Encoder(encoder.name.removesuffix(TUNED))


def by_encoder(
  encoder: Encoder, carried: Mapping[str, Any] | None
) -> list[Blocks | None]:
  """Return the blocks of each of the encoders of a model, often one.

  Args:
    encoder: what made its features, before anything was trained further.
    carried: what the model carries of them: the blocks, or of features of
      several encoders the blocks by ``slot``.
  """
  count = len(encoder.parts)
  if count == 1:
    return [carried or None]
  return [(carried or {}).get(slot(i)) for i in range(count)]


def slot(number: int) -> str:
  """Return what the blocks of one of several encoders stand under."""
  return f'encoder_{number}'


def changed(encoder: Encoder, carried: Mapping[str, Any]) -> Encoder:
  """Return what an encoder is with blocks that were trained further.

  Args:
    encoder: what it was before, perhaps of several together.
    carried: see ``by_encoder``.
  """
  found = [
    Encoder(base_of(part).name + TUNED, checksum(blocks)) if blocks else part
    for part, blocks in zip(
      encoder.parts, by_encoder(encoder, carried), strict=True
    )
  ]
  return Encoder.joined(found)


def misfit(
  encoder: str, arrays: Mapping[str, tuple[Sequence[int], np.dtype]]
) -> str:
  """Return what is wrong with the arrays of changed blocks, or ''.

  Args:
    encoder: the name of the ``Encoder`` that they are changed from.
    arrays: shape and dtype by 'block/layer/array', of one of several encoders
      by 'slot/block/layer/array'.
  """
  parts = Encoder(encoder).parts
  if len(parts) == 1:
    return _misfit(parts[0], arrays)
  slots = {slot(i): part for i, part in enumerate(parts)}
  own: dict[str, dict] = {}
  for path, array in arrays.items():
    first, _, rest = path.partition('/')
    if first not in slots:
      return f'encoder/{printable(path[:50])} is of none of its encoders'
    own.setdefault(first, {})[rest] = array
  wrongs = (_misfit(slots[name], found) for name, found in own.items())
  return next((wrong for wrong in wrongs if wrong), '')


def _misfit(
  encoder: Encoder, arrays: Mapping[str, tuple[Sequence[int], np.dtype]]
) -> str:
  name, _ = encode.parse_description(base_of(encoder).name)
  network = encoders.without_weights(name) if name else None
  if network is None or network.module is None:
    return f'it carries an encoder, of {printable(encoder.name[:80])}'
  wanted = shapes(network)
  blocks = {path.partition('/')[0] for path in arrays}
  for path in sorted({*wanted, *arrays}):
    if path in wanted and path.partition('/')[0] not in blocks:
      continue
    shape, dtype = arrays.get(path, ('missing', np.float32))
    found = tuple(shape) if path in arrays else shape
    if found != wanted.get(path, 'of the encoder'):
      return (
        f'encoder/{printable(path[:50])} is {found}, not '
        f'{wanted.get(path, "of the encoder")}'
      )
    if not np.issubdtype(dtype, np.floating):
      return f'encoder/{path} is of {dtype}'
  return ''


def zeros(network: Network, names: Sequence[str]) -> dict[str, Any]:
  """Return blocks of zeros, as a template of what is to be read."""
  found = {
    path: np.zeros(shape, np.float32)
    for path, shape in shapes(network).items()
    if path.partition('/')[0] in names
  }
  return nested(found)


def shapes(network: Network) -> dict[str, tuple[int, ...]]:
  """Return the shapes of a network's arrays by 'block/layer/array'."""
  side = network.image_size
  module = module_of(network)
  made = jax.eval_shape(
    lambda: module.init(
      jax.random.key(0), np.zeros((1, side, side, 3), np.uint8)
    )
  )
  return {
    '/'.join(str(key.key) for key in path): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(made['params'])
  }
