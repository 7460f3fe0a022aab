"""What makes a trained model: a workdir's best checkpoint, or one file."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import io
import json
from typing import Any

from etils import epath
from flax import traverse_util
import jax
import numpy as np

from mrnn_jax import model_description, models, stored_calibration
from mrnn_jax.runtime import files, json_files, messages, npz
from mrnn_jax.runtime.errors import InputError, printable

SUFFIX = '.npz'
_VERSION = 1
# Parameters hardly pack: beyond this a file that packs well is no model.
_SMALL_BYTES = 2**24
# Of a trained encoder's blocks, among the names of arrays.
_ENCODER = 'encoder/'


@dataclasses.dataclass(frozen=True)
class StoredModel:
  """What makes a trained model.

  Attributes:
    description: what ``describe`` returns, with 'step'.
    variables: 'params' and 'statistics', float32, and 'encoder', the blocks of
      the encoder that were trained with it, if any were.
    norm_features: [K, D] features of training images, to estimate P(w) from.
  """

  description: Mapping[str, Any]
  variables: Mapping[str, Any]
  norm_features: np.ndarray


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
  arrays: dict[str, Any] = {
    'norm_features': _half('norm_features', stored.norm_features)
  }
  for name, value in _flat(stored.variables).items():
    params = name.startswith(('params/', _ENCODER))
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


def _check_arrays(
  description: Mapping[str, Any],
  arrays: Mapping[str, tuple[Sequence[int], np.dtype]],
  source: str,
) -> None:
  """Raise InputError where arrays are not those of the model described.

  Args:
    description: that ``model_description.check`` has found sound.
    arrays: shape and dtype of the variables by name, and of 'norm_features'.
    source: where they are from.
  """
  D = description['dataset']['feature_size']
  try:
    model = model_description.create(description, source)
    wanted = _shapes(model)
  except InputError:
    raise
  except Exception as error:  # Sizes beyond all bounds.
    raise InputError(
      f'the model in {source} cannot be made ({messages.first_line(error)}): '
      'it is damaged.'
    ) from error
  # Of free sizes the number of axes: tables are as large as they are.
  free = model.free_sizes
  norm_features = tuple(arrays.get('norm_features', ((), None))[0])
  found: dict[str, Any] = {
    name: len(shape) if free and name in wanted else tuple(shape)
    for name, (shape, _) in arrays.items()
    if name != 'norm_features'
  }
  shapes: dict[str, Any] = {
    name: len(shape) if free else shape for name, (shape, _) in wanted.items()
  }
  encoder = {n: found.pop(n) for n in list(found) if n.startswith(_ENCODER)}
  different = [
    f'{printable(name[:50])} is {found.get(name, "missing")}, not '
    f'{shapes.get(name, "of the model")}'
    for name in sorted({*shapes, *found})
    if shapes.get(name) != found.get(name)
  ]
  if len(norm_features) != 2 or norm_features[1] != D:
    different.append(f'norm_features is {norm_features}, not [K, {D}]')
  if encoder:
    # Here, as most models have none.
    from mrnn_jax.encoders import fine_tuning

    blocks = {n.removeprefix(_ENCODER): arrays[n] for n in encoder}
    name = description['dataset']['encoder']['name']
    if wrong := fine_tuning.misfit(name, blocks):
      different.append(wrong)
  different += [
    f'{name} is of {dtype}'
    for name, (_, dtype) in arrays.items()
    if name not in encoder
    and not np.issubdtype(dtype, wanted.get(name, (None, np.floating))[1])
  ]
  if different:
    raise InputError(
      f'the arrays in {source} are not those of the model that it describes '
      f'({different[0]}): it is damaged.'
    )


@functools.lru_cache
def _shapes(model: models.Model) -> dict[str, tuple[tuple, type]]:
  """Return shapes and kinds of a model's variables, without making them."""
  made = jax.eval_shape(lambda: models.init_variables(model, jax.random.key(0)))
  return {name: (x.shape, _kind(x.dtype)) for name, x in _flat(made).items()}


def _kind(dtype: np.dtype) -> type:
  return np.integer if np.issubdtype(dtype, np.integer) else np.floating


def _read_file(path: epath.Path) -> StoredModel:
  if not path.exists():
    raise InputError(f'there is no model file {path}.')
  try:
    with path.open('rb') as file:
      reader = npz.Reader(file, small=_SMALL_BYTES)
      description = _read_description(reader)
      if description.pop('version', None) != _VERSION:
        raise InputError(
          f'{path} was written by another version of this program.'
        )
      model_description.check(description, str(path))
      if 'step' not in description:
        raise ValueError('its description lacks "step"')
      names = [name for name in reader.names if name != 'description']
      headers = {name: reader.header(name) for name in names}
      _check_arrays(description, headers, str(path))
      arrays = {name: reader.read(name) for name in headers}
      for name, value in arrays.items():
        if not np.isfinite(value).all():
          raise ValueError(f'{name} holds what is no number')
  except InputError:
    raise
  except Exception as error:  # Broken archives raise nearly anything.
    raise InputError(
      f'{path} is not a model file, or it is damaged '
      f'({messages.first_line(error)}): write it again by --task=export.'
    ) from error
  norm_features = arrays.pop('norm_features')
  variables = traverse_util.unflatten_dict(
    {name: _single(value) for name, value in arrays.items()}, sep='/'
  )
  _check_tables(description, variables, str(path))
  return StoredModel(description, variables, norm_features)


def _check_tables(
  description: Mapping[str, Any], variables: Mapping[str, Any], source: str
) -> None:
  """Raise InputError where the tables of free sizes lead nowhere."""
  model = model_description.create(description, source)
  if not model.free_sizes:
    return
  if wrong := model.misfit(variables['params']):
    raise InputError(f'the model in {source} is damaged: {wrong}.')


def _read_description(reader: npz.Reader) -> dict[str, Any]:
  """Return the JSON object that a model's file holds.

  Raises:
    KeyError: there is none.
    ValueError: it is of another kind.
  """
  shape, dtype = reader.header('description')
  if shape or dtype.kind != 'U':
    raise ValueError('its description is no text')
  description = json_files.parse(str(reader.read('description')))
  if not isinstance(description, dict):
    raise ValueError('its description is no JSON object')
  return description


def _read_workdir(workdir: epath.Path) -> StoredModel:
  # Here, as a model's file does without Orbax.
  from mrnn_jax.runtime import checkpoint as checkpoint_lib

  with checkpoint_lib.Checkpoints(workdir) as checkpoints:
    step = checkpoints.best_step()
    if step is None:
      raise InputError(
        f'there is no trained model in {workdir}: train one there by '
        f'--task=train, or name another --workdir.'
      )
    checkpoint = checkpoints.restore(step)
  source = f'the checkpoint of step {step} in {workdir}'
  model_description.check(checkpoint.description, source)
  state = checkpoint.state  # A run may keep an average of its parameters.
  params = dict(state.get('average', state['params']))
  encoder = params.pop('encoder', None)
  variables = {
    'params': params,
    'statistics': checkpoint.model['statistics'],
    **({'encoder': encoder} if encoder else {}),
  }
  norm_features = checkpoint.model['norm_features']
  arrays = {**_flat(variables), 'norm_features': norm_features}
  _check_arrays(
    checkpoint.description,
    {name: (x.shape, x.dtype) for name, x in arrays.items()},
    source,
  )
  _check_tables(checkpoint.description, variables, source)
  description = {**checkpoint.description, 'step': step}
  if calibration := stored_calibration.read(workdir):
    description['calibration'] = calibration
  return StoredModel(description, variables, norm_features)


def _flat(variables: Mapping[str, Any]) -> dict[str, Any]:
  return traverse_util.flatten_dict(dict(variables), sep='/')


def _single(value: np.ndarray) -> np.ndarray:
  return value.astype(np.float32) if value.dtype.kind == 'f' else value


def _half(name: str, value: Any) -> np.ndarray:
  value = np.asarray(value)
  if value.dtype.kind != 'f':  # Whole numbers, of tables.
    return value
  with np.errstate(over='ignore'):
    half = value.astype(np.float16)
  if not np.isfinite(half).all():
    raise InputError(f'{name} holds numbers beyond half precision.')
  return half
