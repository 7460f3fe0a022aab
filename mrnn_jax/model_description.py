"""What is said of a model, as JSON, and the model that it is said of."""

from collections.abc import Mapping, Sequence
from typing import Any

from mrnn_jax import models, stored_calibration
from mrnn_jax.config import FIELDS, Given, complete
from mrnn_jax.data.vocabulary import Vocabulary
from mrnn_jax.runtime import json_forms, messages
from mrnn_jax.runtime.errors import InputError, printable


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
    **more: 'step', where the place of the description does not tell it;
      'start', what training began from; 'calibration', see
      ``stored_calibration``.
  """
  return {
    'config': dict(config),
    'remembered': dict(remembered),
    'vocabulary': list(words),
    'dataset': dict(dataset),
    **more,
  }


def check(description: Any, source: str) -> None:
  """Raise InputError where a description is not what is read of it later.

  Args:
    description: JSON values, which ``describe`` should have returned.
    source: where they are from.
  """
  wrong = json_forms.misfit(description, _form())
  if not wrong and 'calibration' in description:
    wrong = stored_calibration.misfit(description['calibration'])
  if not wrong and 'ensemble' in description:
    wrong = _ensemble_misfit(description)
  if not wrong:
    # Words may be long.
    words = tuple(description['vocabulary'])
    wrong = json_forms.odd_text({**description, 'vocabulary': []})
    if odd := [word for word in words if not word.isprintable()]:
      wrong = f'has {printable(messages.shorten(odd[0]))} in its vocabulary'
  if not wrong:
    try:
      Vocabulary(words)
    except ValueError as error:
      wrong = f'has no vocabulary ({messages.first_line(error)})'
  if wrong:
    raise InputError(
      f'the description of the model in {source} {wrong}: it is damaged, or '
      'was not written by this program.'
    )


def create(description: Mapping[str, Any], source: str) -> models.Model:
  """Return the model that a description, found sound, is of.

  Args:
    description: see ``describe``; that of an ensemble has 'ensemble': its
      'mean', and of each of 'members' config, dataset, step, 'weight' and where
      its feature is 'first' in that of all.
    source: where it is from.

  Raises:
    InputError: it is no model that this program knows.
  """

  def single(part: Mapping[str, Any]) -> models.Model:
    config = complete(Given(), {'config': part['config']}, source)
    return models.create_model(
      config.model,
      len(description['vocabulary']),
      part['dataset']['feature_size'],
      config.fixed(),
    )

  ensemble = description.get('ensemble')
  if not ensemble:
    return single(description)
  members = [
    models.Member(single(part), part['weight'], part['first'])
    for part in ensemble['members']
  ]
  return models.Ensemble.make(members, ensemble['mean'])


def _ensemble_misfit(description: Mapping[str, Any]) -> str:
  """Return what is wrong with the description of an ensemble, or ''."""
  mean, members = (description['ensemble'][x] for x in ('mean', 'members'))
  if mean not in models.MEANS:
    return f'has a mean {printable(mean)} that this program does not know'
  if not members:
    return 'has an ensemble without members'
  ends = []
  for member in members:
    size, first = member['dataset']['feature_size'], member['first']
    if not member['weight'] > 0 or first < 0 or size < 1:
      return 'has an ensemble whose members cannot be'
    kind = models.MODELS.get(
      member['config'].get('model', FIELDS['model'].default)
    )
    if kind is None or kind.free_sizes or not kind.writes:
      return 'has an ensemble with a model that cannot be in one'
    ends.append(first + size)
  if max(ends) != description['dataset']['feature_size']:
    return 'has an ensemble whose features are of another size'
  return ''


def _form() -> dict[str, Any]:
  fields = {
    f'{name}?': json_forms.NUMBER if field.type is float else field.type
    for name, field in FIELDS.items()
  }
  dataset = {
    'feature_size': int,
    'encoder': {'name': str, 'weights': str},
  }
  return {
    'config': fields,
    'remembered?': fields,
    'vocabulary': [str],
    'dataset': dataset,
    'step?': int,
    'calibration?': stored_calibration.FORM,
    'start?': {
      'identity': str,
      'dataset': str,
      'step': int,
      'new_words': int,
      'blocks?': [str],
    },
    'ensemble?': {
      'mean': str,
      'members': [
        {
          'config': fields,
          'dataset': dataset,
          'step': int,
          'weight': json_forms.NUMBER,
          'first': int,
        }
      ],
    },
  }
