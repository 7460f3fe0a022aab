"""Which values a ``Config`` may have, each by itself and together."""

from collections.abc import Iterable, Mapping
import dataclasses
import re
from typing import Any

from mrnn_jax import models
from mrnn_jax.config.task_facts import TASKS
from mrnn_jax.config.training_fields import TrainingFields
from mrnn_jax.config.writing_fields import WritingFields
from mrnn_jax.data import folds
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training.objectives import OBJECTIVES

# What a model that is fitted at one go has no use for.
_OF_STEPS = frozenset(
  field.name
  for field in dataclasses.fields(TrainingFields)
  if field.name not in ('seed', 'held_out_fold')
) | {
  'accumulate_steps',
  'keep_checkpoints',
  'log_every_steps',
  'profile_steps',
  'reader_threads',
}

# What a model that gives words no probability has no use for.
_OF_WORDS = frozenset(
  field.name for field in dataclasses.fields(WritingFields)
) | {'norm_images', 'rank_tile_rows', 'rank_dtype', 'eval_batch_size'}


def check(config: Any) -> None:
  """Raise InputError where the values of a ``Config`` cannot be."""
  for field in dataclasses.fields(config):
    check_value(field, getattr(config, field.name))
  parse_profile_steps(config.profile_steps)
  if config.held_out_fold:
    folds.parse(config.held_out_fold)
  if config.nbest > config.beam_size and not config.sample:
    raise InputError(
      f'--nbest={config.nbest} asks for more captions than '
      f'--beam_size={config.beam_size} keeps: raise --beam_size.'
    )
  if config.beam_groups > 1 and config.sample:
    raise InputError(
      '--beam_groups is of a beam: leave out --sample or --beam_groups.'
    )
  if config.beam_size % config.beam_groups:
    raise InputError(
      f'--beam_size={config.beam_size} does not divide into '
      f'--beam_groups={config.beam_groups} groups of one size: change one of '
      'them.'
    )
  if config.init_from and models.MODELS[config.model].fitted:
    raise InputError(
      f'--init_from={config.init_from}: {config.model} is fitted at one go and '
      'begins from nothing; only models that are trained step by step can '
      'begin from another.'
    )
  model = models.MODELS[config.model]
  if config.objective == 'self_critical':
    if not (model.writes and model.sees_images and not model.fitted):
      raise InputError(
        f'--objective=self_critical is for models that write captions of '
        f'images and are trained step by step, not for --model={config.model}.'
      )
    if not config.init_from:
      raise InputError(
        '--objective=self_critical goes on from a trained model: name it by '
        '--init_from=W.'
      )
  if config.train_encoder != 'none':
    if model.fitted or not model.sees_images:
      raise InputError(
        f'--train_encoder={config.train_encoder}: no gradient comes from '
        f'--model={config.model} to its images; choose one that sees them and '
        'is trained step by step.'
      )
    if config.teacher or config.objective != 'likelihood':
      flag = (
        '--teacher' if config.teacher else f'--objective={config.objective}'
      )
      raise InputError(
        f'{flag} reads features that do not change in training: leave out '
        f'--train_encoder={config.train_encoder}.'
      )
  if OBJECTIVES[config.objective].whole_batch and config.accumulate_steps > 1:
    raise InputError(
      f'--objective={config.objective} compares the captions of a batch with '
      'each other: it cannot be worked through in parts, so leave out '
      f'--accumulate_steps={config.accumulate_steps}.'
    )
  if config.photos and config.features:
    raise InputError('give --photos or --features, not both.')
  images = config.photos or config.features
  if config.task == 'rank' and not (images and config.sentences):
    wanted = ['--photos=DIR (or --features=FILE)'] * (not images)
    wanted += ['--sentences=FILE, a sentence a line'] * (not config.sentences)
    raise InputError(f'--task=rank wants {" and ".join(wanted)}.')
  if config.rerank_neighbors and images:
    raise InputError(
      '--rerank_neighbors needs the training images of a dataset: leave it '
      'out for photos and features of your own.'
    )
  if config.rerank_neighbors and (config.sample or config.beam_size == 1):
    raise InputError(
      '--rerank_neighbors chooses among hypotheses of a beam: leave it out, '
      'or search with --beam_size above 1 and without --sample.'
    )
  if config.rerank_neighbors and config.length_protocol == 'reference':
    raise InputError(
      '--rerank_neighbors goes with --length_protocol=end_sign only.'
    )
  if config.rerank and (config.sample or config.beam_size == 1):
    raise InputError(
      f'--rerank={config.rerank} chooses among hypotheses of a beam: leave it '
      'out, or search with --beam_size above 1 and without --sample.'
    )
  if config.rerank and config.length_protocol == 'reference':
    raise InputError(
      f'--rerank={config.rerank} goes with --length_protocol=end_sign only.'
    )
  if config.beam_runner and config.shard:
    raise InputError(
      f'--shard={config.shard} is for jobs of your own: with --beam_runner say '
      'how many parts there are, by --beam_shards.'
    )
  if config.min_words > config.max_words:
    raise InputError(
      f'--min_words={config.min_words} is above --max_words={config.max_words}.'
    )
  if config.context_words and config.length_protocol != 'reference':
    raise InputError(
      '--context_words needs --length_protocol=reference: only then is there '
      'a sentence to take the words from.'
    )


def check_value(field: dataclasses.Field, value: Any) -> None:
  """Raise InputError where a value is outside its field's limits."""
  limits = field.metadata
  name = f'--{field.name}={value}'
  if 'choices' in limits and value not in limits['choices']:
    raise InputError(f'{name}: choose one of {", ".join(limits["choices"])}.')
  if 'low' in limits and not value >= limits['low']:
    raise InputError(f'{name} is too small: at least {limits["low"]}.')
  if 'above' in limits and not value > limits['above']:
    raise InputError(
      f'{name} is too small: it must be above {limits["above"]}.'
    )
  if 'high' in limits and not value <= limits['high']:
    raise InputError(f'{name} is too large: at most {limits["high"]}.')


def check_task(field: dataclasses.Field, task: str) -> None:
  """Raise InputError where a task does not use a field."""
  tasks = field.metadata['tasks']
  if task not in tasks:
    raise InputError(
      f'--{field.name} is for --task={_one_of(x for x in TASKS if x in tasks)}:'
      f' leave it out with --task={task}.'
    )


def check_effect(
  config: Any,
  fields: Mapping[str, dataclasses.Field],
  by_hand: Iterable[str],
) -> None:
  """Raise InputError where a flag has no effect beside the others.

  Args:
    config: a ``Config``.
    fields: of ``Config``, by name.
    by_hand: flags that the user wrote into this very command.
  """
  options, own = models.options(), models.options_of(config.model)
  for name in sorted(by_hand):
    if name in options and name not in own:
      have = (m for m in models.MODELS if name in models.options_of(m))
      raise InputError(
        f'--{name} is for --model={_one_of(have)}: leave it out with '
        f'--model={config.model}.'
      )
    model = models.MODELS[config.model]
    if model.fitted and name in _OF_STEPS and getattr(config, name) != '':
      raise InputError(
        f'--{name} is for models that are trained step by step: leave it out '
        f'with --model={config.model}, which is fitted at one go.'
      )
    if not model.writes and name in _OF_WORDS:
      raise InputError(
        f'--{name} is for models that give words a probability: leave it out '
        f'with --model={config.model}, which ranks by cosine.'
      )
    for when in fields[name].metadata['when']:
      if not when.holds(config):
        raise InputError(
          f'--{name} has no effect {when.otherwise.format(**vars(config))}: '
          f'leave it out, or {when.remedy}.'
        )


def has_effect(
  config: Any, fields: Mapping[str, dataclasses.Field], name: str
) -> bool:
  """Say whether a flag has an effect for the task and beside the others."""
  try:
    check_task(fields[name], config.task)
    check_effect(config, fields, [name])
  except InputError:
    return False
  return True


def _one_of(names: Iterable[str]) -> str:
  """Return 'a', 'a or b', 'a, b or c'."""
  *others, last = names
  return f'{", ".join(others)} or {last}' if others else last


def parse_profile_steps(text: str) -> tuple[int, int] | None:
  """Read 'a:b', the steps a to b, both included; None for ''.

  Raises:
    InputError: it is no such range.
  """
  if not text:
    return None
  match = re.fullmatch(r'(\d{1,18}):(\d{1,18})', text)
  if not match or not 1 <= int(match[1]) <= int(match[2]):
    raise InputError(
      f'--profile_steps={text}: give the first and the last step, counted from '
      '1 as the log does, for example --profile_steps=20:25.'
    )
  return int(match[1]), int(match[2])
