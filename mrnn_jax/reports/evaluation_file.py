"""``evaluation.json`` as reports read it."""

from typing import Any

from etils import epath

from mrnn_jax.runtime import json_files, json_forms
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.json_forms import NUMBER, OrNull

_PLAIN = OrNull((str, bool, *NUMBER))
_RANKS = {'*': NUMBER}
# Of the table that has them all.
_ALL_RANKS = dict.fromkeys(('r@1', 'r@5', 'r@10', 'median_rank'), NUMBER)
_DIRECTIONS = {
  'image_to_text?': _RANKS,
  'image_to_text_perplexity?': _RANKS,
  'text_to_image?': _RANKS,
}
_CURVE = {'percent': [NUMBER], 'true_items': [NUMBER], 'share': [NUMBER]}
# What is read of it without asking, and what may be there.
_FORM = {
  'dataset': str,
  'model': str,
  'split': str,
  'step': int,
  'convention': {'encoder?': {'*': _PLAIN}, '*': _PLAIN},
  'perplexity?': {'*': NUMBER},
  'bleu?': {'cumulative?': [NUMBER]},
  'cider_d?': NUMBER,
  'rouge_l?': NUMBER,
  'captions?': {
    'distinct?': int,
    'copied_from_training?': OrNull(NUMBER),
    '*': NUMBER,
  },
  'confidence?': {'*': OrNull(NUMBER)},
  'retrieval?': OrNull(
    {
      **_DIRECTIONS,
      'norm_images?': {'*': _ALL_RANKS},
      'recall_curve?': {'image_to_text': _CURVE, 'text_to_image': _CURVE},
    }
  ),
  'chance?': OrNull(_DIRECTIONS),
}


def read(path: epath.Path, command: str) -> dict[str, Any]:
  """Read an evaluation.

  Args:
    path: the file, which is there.
    command: what makes it again.

  Raises:
    InputError: it is broken.
  """
  remedy = f'make it again by "{command}"'
  result = json_files.read_object(path, remedy)
  wrong = (
    json_forms.misfit(result, _FORM)
    or json_forms.odd_text(result)
    or _wrong_curves(result)
  )
  if wrong:
    raise InputError(f'{path} is not an evaluation, it {wrong}: {remedy}.')
  return result


def _wrong_curves(result: dict[str, Any]) -> str:
  """Return what is wrong with curves that have the right form."""
  retrieval = result.get('retrieval') or {}
  for direction, curve in retrieval.get('recall_curve', {}).items():
    percent = curve['percent']
    if len({len(values) for values in curve.values()}) > 1 or not percent:
      return f'has no curve as "{direction}"'
    # The last point is the whole list.
    if percent[-1] <= 0:
      return f'has a curve as "{direction}" that ends at {percent[-1]}'
  return ''
