"""Several trained models put together to one (see ``models.ensemble``).

What is stored of an ensemble is what is stored of a model, so that it is
loaded, used and exported as one.  Members of encoders that differ see features
put together; those of the same encoder share them.
"""

from collections.abc import Mapping, Sequence
import os
import sys
from typing import Any

from etils import epath
import numpy as np

from mrnn_jax import models, stored_model
from mrnn_jax.config import FIELDS
from mrnn_jax.data.feature_files.table import Encoder
from mrnn_jax.data.metadata import joined_fingerprint
from mrnn_jax.models import ensemble
from mrnn_jax.runtime import files, messages, parallel
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.stored_model import StoredModel


def read(
  paths: epath.PathLike | Sequence[epath.PathLike],
  mean: str = 'arithmetic',
  weights: str = '',
) -> StoredModel:
  """Read a model, or several as one.

  Args:
    paths: of a workdir or a file, or of several, as a list or separated by
      commas.
    mean: one of ``models.MEANS``, where there are several.
    weights: of each of them in the mean, separated by commas; '': all alike.

  Raises:
    InputError: one cannot be read, or they do not go together.
  """
  if not isinstance(paths, (list, tuple)):
    paths = files.split_paths(os.fspath(epath.Path(paths)))
  if len(paths) == 1:
    return stored_model.read(paths[0])
  stored = [stored_model.read(path) for path in paths]
  _check(stored, paths)
  return _join(stored, mean, parse_weights(weights, len(paths)))


def parse_weights(text: str, count: int) -> list[float]:
  """Read the weights of members, '1,1,2'.

  Raises:
    InputError: these are no weights of so many members.
  """
  if not text:
    return [1.0] * count
  try:
    weights = [float(part) for part in text.split(',')]
  except ValueError:
    weights = []
  if len(weights) != count or not all(0 < x < np.inf for x in weights):
    raise InputError(
      f'--ensemble_weights={text}: give {count} numbers above 0, one for each '
      'model, separated by commas.'
    )
  return weights


def _check(stored: Sequence[StoredModel], paths: Sequence[Any]) -> None:
  """Raise InputError where models cannot be averaged."""
  first, sees = stored[0].description['vocabulary'], False
  for model, path in zip(stored, paths, strict=True):
    description = model.description
    name = description['config'].get('model', FIELDS['model'].default)
    if 'ensemble' in description:
      raise InputError(
        f'{path} is an ensemble already: name its members instead.'
      )
    kind = models.MODELS[name]
    if not kind.writes or kind.free_sizes:
      raise InputError(
        f'{path} holds a model {name}, which cannot be in an ensemble: name '
        'models that are trained step by step and give words a probability.'
      )
    sees |= kind.sees_images
    words = description['vocabulary']
    if words != first:
      pairs = zip(first, words, strict=False)
      different = next((x for x in pairs if x[0] != x[1]), ('', ''))
      detail = f'{len(first):,} and {len(words):,} words'
      if len(first) == len(words):
        detail = f'"{different[0]}" there is "{different[1]}" here'
      raise InputError(
        f'{path} has another vocabulary than {paths[0]} ({detail}): an '
        'ensemble wants models of the same words, trained on the same captions '
        'with the same --min_word_count.'
      )
  if not sees:
    raise InputError(
      'no model of the ensemble sees the image: name at least one that does.'
    )


def _join(
  stored: Sequence[StoredModel], mean: str, weights: Sequence[float]
) -> StoredModel:
  """Put models together that ``_check`` has found to go together."""
  # The first model of each encoder, and where its feature begins.
  inputs: dict[tuple, tuple[StoredModel, int]] = {}
  size, parts = 0, []
  variables: dict[str, Any] = {}
  for i, (model, weight) in enumerate(zip(stored, weights, strict=True)):
    description = model.description
    dataset = description['dataset']
    key = _input(model)
    if key not in inputs:
      inputs[key] = model, size
      size += dataset['feature_size']
    parts.append(
      {
        'config': description['config'],
        'dataset': dataset,
        'step': description['step'],
        'weight': weight,
        'first': inputs[key][1],
      }
    )
    for kind, tree in model.variables.items():
      if kind != 'encoder':
        variables.setdefault(kind, {})[ensemble.name_of(i)] = tree
  first = [model for model, _ in inputs.values()]
  if blocks := _blocks(first):
    variables['encoder'] = blocks
  of = [model.description['dataset'] for model in first]
  head = {
    name: value
    for name, value in stored[0].description.items()
    if name not in ('calibration', 'start')
  }
  description = {
    **head,
    'remembered': {
      **head.get('remembered', {}),
      'data_dir': _data_dirs(first),
    },
    'dataset': {
      **of[0],
      'fingerprint': joined_fingerprint(_fingerprints(of)),
      'feature_size': size,
      'encoder': vars(Encoder.joined([Encoder(**x['encoder']) for x in of])),
    },
    'ensemble': {'mean': mean, 'members': parts},
  }
  return StoredModel(description, variables, _norm_features(first))


def _input(model: StoredModel) -> tuple:
  """Return what tells the features that a model sees from others.

  Features that do not say what made them are those of their dataset alone.
  """
  dataset = model.description['dataset']
  encoder = Encoder(**dataset['encoder'])
  if blocks := model.variables.get('encoder'):
    # Here, as most models have none.
    from mrnn_jax.encoders import fine_tuning

    encoder = fine_tuning.changed(encoder, blocks)
  own = '' if encoder.known else dataset.get('fingerprint', '')
  return encoder, dataset['feature_size'], own


def _blocks(first: Sequence[StoredModel]) -> dict[str, Any]:
  """Return the blocks of encoders that were trained with their models.

  Args:
    first: a model of each encoder.
  """
  carried = [model.variables.get('encoder') for model in first]
  if len(carried) == 1 or not any(carried):
    return dict(carried[0] or {})
  from mrnn_jax.encoders import fine_tuning

  return {
    fine_tuning.slot(i): blocks for i, blocks in enumerate(carried) if blocks
  }


def _data_dirs(first: Sequence[StoredModel]) -> str:
  """Return where the members' datasets are: those of all encoders.

  Of models with an encoder of their own it is one of photos, which all see.
  """
  remembered = [
    model.description.get('remembered', {}).get('data_dir', '')
    for model in first
  ]
  for model, data_dir in zip(first, remembered, strict=True):
    if 'encoder' in model.variables:
      return data_dir
  return ','.join(remembered)


def _fingerprints(of: Sequence[Mapping[str, Any]]) -> list[str]:
  """Return the fingerprints of datasets; one, where all are the same."""
  found = [dataset.get('fingerprint', '') for dataset in of]
  return found[:1] if len(set(found)) == 1 else found


def _norm_features(first: Sequence[StoredModel]) -> np.ndarray:
  """Return [K, D] features of training images, those of all encoders.

  The members draw the same images where dataset, vocabulary and seed are the
  same; where they are not, there is none, with a note.

  Args:
    first: a model of each encoder.
  """
  draws = {_draw(model.description) for model in first}
  if len(draws) > 1:
    if parallel.is_first():
      print(
        'note: the models of the ensemble carry other training images '
        f'({messages.listed(sorted(map(str, draws)))}): it has no P(w), and '
        'ranks sentences by perplexity, where no training images are at hand '
        'to draw others from. --task=export with their dataset writes it with '
        'such.',
        file=sys.stderr,
      )
    size = sum(model.norm_features.shape[1] for model in first)
    return np.zeros((0, size), np.float32)
  K = min(len(model.norm_features) for model in first)
  return np.concatenate([model.norm_features[:K] for model in first], axis=1)


def _draw(description: Mapping[str, Any]) -> str:
  """Return what the draw of a model's training images depends on."""
  config = description['config']
  seed = config.get('seed', FIELDS['seed'].default)
  fold = config.get('held_out_fold', '')
  without = f', without fold {fold}' if fold else ''
  return f'{description["dataset"].get("name")}, seed {seed}{without}'
