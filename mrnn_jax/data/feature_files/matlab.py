"""Features as MATLAB saves them: NeuralTalk's ``vgg_feats.mat``.

The variable ``feats`` holds [dimension, images]; column i belongs to the image
with ``imgid`` i in ``dataset.json``, or to line i of ``tasks.txt``.  Format
7.3 is HDF5.
"""

from etils import epath

from mrnn_jax.data.feature_files import hdf5, matlab5, names
from mrnn_jax.data.feature_files.table import FeatureTable
from mrnn_jax.runtime import errors, messages

_VARIABLES = ('feats', 'features', 'fc7', 'feat')
_LISTS = ('tasks.txt', 'dataset.json')
_HDF5_SIGNATURE = b'\x89HDF\r\n\x1a\n'
# MATLAB puts a text of its own before the HDF5 part.
_USER_BLOCK = 512


def load(path: epath.Path, ids_path: epath.Path | None) -> FeatureTable:
  """Read the features of a ``.mat`` file of either format.

  Args:
    path: the file.
    ids_path: the list of names; by default the file's own name with ``.txt``,
      ``tasks.txt`` or ``dataset.json`` beside it.

  Raises:
    InputError: no variable could be the features, or there is no list.
  """
  ids = names.find(path, ids_path, _LISTS)
  with path.open('rb') as file:
    head = file.read(_USER_BLOCK + len(_HDF5_SIGNATURE))
  # Stored by columns, MATLAB's [D, N] is [N, D] to everybody else.
  if head.startswith(_HDF5_SIGNATURE) or head.endswith(_HDF5_SIGNATURE):
    with hdf5.open_file(path) as file:
      found = hdf5.datasets(file)
      shapes = {name: data.shape for name, data in found.items()}
      features = hdf5.read(path, found[_choose(path, shapes)])
  else:
    variables = {x.name: x for x in matlab5.variables(path)}
    shapes = {name: x.shape for name, x in variables.items()}
    features = matlab5.read(path, variables[_choose(path, shapes)])
  features = names.images_first(features, len(ids))
  return FeatureTable(ids, features, str(path))


def _choose(path: epath.Path, shapes: dict[str, tuple[int, ...]]) -> str:
  """Return the variable of the features: by its name, or the only matrix."""
  for name in _VARIABLES:
    if name in shapes:
      return name
  matrices = [x for x, shape in shapes.items() if len(shape) == 2]
  if len(matrices) == 1:
    return matrices[0]
  raise errors.InputError(
    f'{path} holds {messages.listed(shapes)}: save the features as "feats"'
    ' [dimension, images].'
  )
