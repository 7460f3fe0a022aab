"""What confidence is computed from, as it is stored with a model.

In the description of a model's file; of a workdir's model, which may be
calibrated long after its training, in a file beside the checkpoints.
``evaluation.confidence`` makes it and uses it.
"""

from collections.abc import Mapping
import sys
from typing import Any

from etils import epath

from mrnn_jax.config import FIELDS
from mrnn_jax.runtime import files, json_files, json_forms
from mrnn_jax.runtime.errors import InputError

# What the chances are computed from, in this order.
EVIDENCE = ('log_prob_per_word', 'pmi', 'share', 'distance')
FORM = {
  'evidence': [str],
  'mean': [json_forms.NUMBER],
  'scale': [json_forms.NUMBER],
  'weights': [json_forms.NUMBER],
  'bias': json_forms.NUMBER,
  'threshold': json_forms.NUMBER,
  'search': {'*': json_forms.NUMBER},
  'norm_images': int,
  'unfamiliar': json_forms.NUMBER,
  'model?': str,
}
FILE = 'calibration.json'


def write(
  workdir: epath.PathLike, calibration: Mapping[str, Any], identity: str
) -> epath.Path:
  """Store a calibration of a workdir's model; return the file's path.

  Args:
    workdir: of the model.
    calibration: JSON of the form ``FORM``.
    identity: of the model that it is of.
  """
  path = epath.Path(workdir).expanduser() / FILE
  files.write_json(path, {**calibration, 'model': identity})
  return path


def read(workdir: epath.Path) -> dict[str, Any] | None:
  """Return the calibration in a workdir, None where there is none.

  Raises:
    InputError: it is damaged.
  """
  path = workdir / FILE
  if not path.exists():
    return None
  remedy = 'make it again by --task=calibrate, or delete it'
  calibration = json_files.read_object(path, remedy)
  if wrong := misfit(calibration):
    raise InputError(f'{path} {wrong}: {remedy}.')
  return calibration


def of_model(
  description: Mapping[str, Any], identity: str
) -> Mapping[str, Any] | None:
  """Return the calibration that is stored with a model, None without one.

  One of a workdir's former model is not this one's, and told of.

  Args:
    description: of the model.
    identity: of the model.
  """
  calibration = description.get('calibration')
  if calibration and calibration.get('model', identity) != identity:
    print(
      f'note: {FILE} is of another model than this one: no '
      'confidence is given until --task=calibrate is run again.',
      file=sys.stderr,
    )
    return None
  return calibration


def carried(
  calibration: Mapping[str, Any] | None, norm_images: int
) -> dict[str, Any]:
  """Return what a file's description says of a calibration.

  Args:
    calibration: of the model, if it has one.
    norm_images: training images that go into the file.
  """
  if not calibration:
    return {}
  if norm_images < calibration['norm_images']:
    print(
      'note: the calibration of the confidence is left out: it needs '
      f'--norm_images={calibration["norm_images"]}.',
      file=sys.stderr,
    )
    return {}
  # What it is of, the file itself says.
  return {'calibration': {n: x for n, x in calibration.items() if n != 'model'}}


def misfit(calibration: Any) -> str:
  """Return what is wrong with a calibration, or ''."""
  if wrong := json_forms.misfit(calibration, FORM):
    return wrong
  if calibration['evidence'] != list(EVIDENCE):
    return 'has a calibration by evidence that this program does not know'
  names = ('evidence', 'mean', 'scale', 'weights')
  if len({len(calibration[name]) for name in names}) > 1:
    return 'has a calibration of lists that differ in length'
  if not all(scale > 0 for scale in calibration['scale']):
    return 'has a calibration with a scale that is not above 0'
  if not set(calibration['search']) <= set(FIELDS):
    return 'has a calibration for a search that this program does not know'
  if calibration['norm_images'] < 1:
    return 'has a calibration without training images'
  return ''
