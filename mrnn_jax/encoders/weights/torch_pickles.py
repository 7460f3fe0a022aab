"""What PyTorch's pickles name: tensors, and the storages that they view."""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

from mrnn_jax.encoders.weights.arrays import UnusableError
from mrnn_jax.runtime import pickles
from mrnn_jax.runtime.pickles import expect

# Beyond any network: one tensor takes about 30 steps.
_MAX_STEPS = 5_000_000
# NumPy's; and so the product of a shape is soon computed.
_MAX_DIMENSIONS = 32
_MAX_NUMBER = 2**63 - 1

# torch's name of a storage -> numpy's of its values; bfloat16 as its bits.
STORAGES = {
  'torch.DoubleStorage': '<f8',
  'torch.FloatStorage': '<f4',
  'torch.HalfStorage': '<f2',
  'torch.BFloat16Storage': '<u2',
  'torch.LongStorage': '<i8',
  'torch.IntStorage': '<i4',
  'torch.ShortStorage': '<i2',
  'torch.CharStorage': 'i1',
  'torch.ByteStorage': 'u1',
  'torch.BoolStorage': '?',
}


@dataclasses.dataclass(frozen=True)
class Storage:
  """Values that lie elsewhere in the file.

  Attributes:
    kind: a name of ``STORAGES``.
    key: under which the file has them.
    size: how many there are.
  """

  kind: str
  key: str
  size: int


@dataclasses.dataclass(frozen=True)
class Tensor(pickles.StandIn):
  """A view of a storage: offset and strides in elements."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def read(
  data: bytes, begin: int = 0, storages: dict[str, Storage] | None = None
) -> tuple[Any, int]:
  """Read one pickle.

  Args:
    data: holds it.
    begin: where it begins.
    storages: gets every storage that is referred to, by its key.

  Returns:
    What it holds: plain containers, numbers, texts and ``Tensor``; and where
    it ends.

  Raises:
    UnusableError: it asks for anything else.
    ValueError: it is broken.
  """
  known = {} if storages is None else storages
  table = pickles.Table(
    calls=_CALLS,
    tags=STORAGES,
    refer=functools.partial(_refer, known),
    python_2='latin-1',
    max_steps=_MAX_STEPS,
  )
  try:
    return pickles.read(data, table, begin)
  except pickles.RefusedError as error:
    raise UnusableError(
      f'{error}: refused, and nothing of it was run'
    ) from error


def _refer(known: dict[str, Storage], reference: Any) -> Storage:
  """Return the storage that a tensor refers to."""
  kind, name, key, _, size, *view = expect(reference, tuple)
  if kind != 'storage' or any(part is not None for part in view):
    raise pickles.RefusedError('refers to its values as newer files do not')
  name = expect(name, pickles.Name).name
  if name not in STORAGES:
    raise pickles.RefusedError(f'refers to values of kind {name}')
  storage = Storage(name, expect(key, str), expect(size, int))
  if known.setdefault(key, storage) != storage:
    raise ValueError(f'two kinds of values under the key {key!r}')
  return storage


def _tensor(storage, offset, shape, strides, *_) -> Tensor:
  """Return what torch._utils._rebuild_tensor and _v2 stand for."""
  shape, strides = expect(shape, tuple), expect(strides, tuple)
  for number in (offset, *shape, *strides):
    if not 0 <= expect(number, int) <= _MAX_NUMBER:
      raise ValueError('a size, stride or offset that none can be')
  if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS:
    raise ValueError(f'{len(strides)} strides for {len(shape)} dimensions')
  return Tensor(expect(storage, Storage), offset, shape, strides)


def _parameter(tensor, *_) -> Tensor:
  """Return what a parameter stands for: its tensor."""
  return expect(tensor, Tensor)


# Name -> what stands for a call of it.
_CALLS: dict[str, Callable[..., Any]] = {
  **pickles.CONTAINERS,
  'torch.Size': lambda sizes: expect(sizes, tuple),
  'torch._utils._rebuild_parameter': _parameter,
  'torch._utils._rebuild_tensor': _tensor,
  'torch._utils._rebuild_tensor_v2': _tensor,
  'torch.nn.parameter.Parameter': _parameter,
}
