"""What makes a trained model: a workdir's best checkpoint, or one file."""

from collections.abc import Mapping, Sequence
import dataclasses
import io
import json
from typing import Any
import zipfile

from etils import epath
from flax import traverse_util
import numpy as np

from mrnn_jax.runtime import checkpoint as checkpoint_lib
from mrnn_jax.runtime import files
from mrnn_jax.runtime.errors import InputError

SUFFIX = '.npz'
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class StoredModel:
  """What makes a trained model.

  Attributes:
    description: what ``describe`` returns, with 'step'.
    variables: 'params' and 'statistics', float32.
    norm_features: [K, D] features of training images, to estimate P(w) from.
  """

  description: Mapping[str, Any]
  variables: Mapping[str, Any]
  norm_features: np.ndarray


def describe(
  config: Mapping[str, Any],
  remembered: Mapping[str, Any],
  words: Sequence[str],
  dataset: Mapping[str, Any],
  **more: Any,
) -> dict[str, Any]:
  """Return a description, as JSON values: of a checkpoint, or of a file.

  Args:
    config: ``Config.fixed()``.
    remembered: ``Config.remembered()``, or what of it holds elsewhere too.
    words: by id.
    dataset: what it was trained on: name, fingerprint, feature_size, encoder.
    **more: 'step', where the place of the description does not tell it.
  """
  return {
    'config': dict(config),
    'remembered': dict(remembered),
    'vocabulary': list(words),
    'dataset': dict(dataset),
    **more,
  }


def write(path: epath.PathLike, stored: StoredModel) -> None:
  """Write a model, whole or not at all.

  Parameters and features go to float16, the features' statistics stay float32.

  Raises:
    InputError: the path does not end in ``.npz``, or a number is beyond
      float16.
  """
  path = epath.Path(path)
  if path.suffix != SUFFIX:
    raise InputError(f'{path}: the name of a model file ends in {SUFFIX}.')
  arrays = {'norm_features': _half('norm_features', stored.norm_features)}
  for name, value in _flat(stored.variables).items():
    params = name.startswith('params/')
    arrays[name] = _half(name, value) if params else np.asarray(value)
  description = {'version': _VERSION, **stored.description}
  arrays['description'] = np.asarray(json.dumps(description))
  buffer = io.BytesIO()
  np.savez_compressed(buffer, **arrays)
  files.write_bytes(path, buffer.getvalue())


def read(path: epath.PathLike) -> StoredModel:
  """Read a model: a file that ``write`` wrote, or a workdir's best one.

  Raises:
    InputError: there is none, or it cannot be read.
  """
  path = epath.Path(path).expanduser()
  return _read_file(path) if path.suffix == SUFFIX else _read_workdir(path)


def _read_file(path: epath.Path) -> StoredModel:
  if not path.exists():
    raise InputError(f'there is no model file {path}.')
  try:
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
      arrays = dict(file)
    description = json.loads(str(arrays.pop('description')))
    if description.pop('version') != _VERSION:
      raise InputError(
        f'{path} was written by another version of this program.'
      )
    norm_features = arrays.pop('norm_features')
  except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
    raise InputError(
      f'{path} is not a model file, or it is damaged: write it again by '
      '--task=export.'
    ) from error
  return StoredModel(
    description=description,
    variables=traverse_util.unflatten_dict(
      {name: value.astype(np.float32) for name, value in arrays.items()},
      sep='/',
    ),
    norm_features=norm_features,
  )


def _read_workdir(workdir: epath.Path) -> StoredModel:
  with checkpoint_lib.Checkpoints(workdir) as checkpoints:
    step = checkpoints.best_step()
    if step is None:
      raise InputError(
        f'there is no trained model in {workdir}: train one there by '
        f'--task=train, or name another --workdir.'
      )
    checkpoint = checkpoints.restore(step)
  return StoredModel(
    description={**checkpoint.description, 'step': step},
    variables={
      'params': checkpoint.state['params'],
      'statistics': checkpoint.model['statistics'],
    },
    norm_features=checkpoint.model['norm_features'],
  )


def _flat(variables: Mapping[str, Any]) -> dict[str, Any]:
  return traverse_util.flatten_dict(dict(variables), sep='/')


def _half(name: str, value: Any) -> np.ndarray:
  value = np.asarray(value)
  with np.errstate(over='ignore'):
    half = value.astype(np.float16)
  if not np.isfinite(half).all():
    raise InputError(f'{name} holds numbers beyond half precision.')
  return half
