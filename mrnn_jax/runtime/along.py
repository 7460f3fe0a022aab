"""What comes along with the program: its model, its version, its flag files.

The flag files lie at the top of a checkout; an installed package has them in
the folder for shared data of its environment.
"""

import os
import pathlib

_PACKAGE = pathlib.Path(__file__).parents[1]
_SHARED = 'share/mrnn_jax'

PRETRAINED = str(_PACKAGE / 'pretrained' / 'model.npz')
# What flags call it.
PRETRAINED_NAME = 'pretrained'


def model_path(name: str) -> str:
  """Return the workdir or file that a flag names, or the pretrained model's."""
  return PRETRAINED if name == PRETRAINED_NAME else name


def flag_files() -> dict[str, str]:
  """Return the flag files that come along: name -> path."""
  top = _PACKAGE.parent
  if (top / 'pyproject.toml').is_file():
    return {path.name: str(path) for path in top.glob('*.flags')}
  import importlib.metadata  # Late: it is slow to import.

  try:
    files = importlib.metadata.files('mrnn-jax') or ()
  except importlib.metadata.PackageNotFoundError:
    return {}
  return {
    file.name: str(file.locate())
    for file in files
    if file.suffix == '.flags' and file.parent.as_posix().endswith(_SHARED)
  }


def find_flag_file(name: str) -> str:
  """Return the path of a flag file: the user's own, or one that comes along."""
  path = os.path.expanduser(name)
  if os.path.exists(path) or os.path.basename(name) != name:
    return name
  return flag_files().get(name, name)
