"""Which values a ``Config`` may have, each by itself and together."""

import dataclasses
import re
from typing import Any

from mrnn_jax.runtime.errors import InputError

# Flags that would do nothing with another task, or without --sample.
_OF_TASK = {'prefix': 'caption', 'sentences': 'rank', 'score_input': 'score'}
_OF_SAMPLING = ('temperature', 'top_k', 'top_p', 'sample_seed')


def check(config: Any) -> None:
  """Raise InputError where the values of a ``Config`` cannot be."""
  for field in dataclasses.fields(config):
    _check(field, getattr(config, field.name))
    if getattr(config, field.name) != field.default:
      _check_use(config, field.name)
  parse_profile_steps(config.profile_steps)
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
  if config.photos and config.features:
    raise InputError('give --photos or --features, not both.')
  images = config.photos or config.features
  if config.task == 'rank' and not (images and config.sentences):
    raise InputError(
      '--task=rank wants --photos=DIR (or --features=FILE) and '
      '--sentences=FILE.'
    )
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
  if config.min_words > config.max_words:
    raise InputError(
      f'--min_words={config.min_words} is above --max_words={config.max_words}.'
    )
  if config.context_words and config.length_protocol != 'reference':
    raise InputError(
      '--context_words needs --length_protocol=reference: only then is there '
      'a sentence to take the words from.'
    )


def _check_use(config: Any, name: str) -> None:
  """Raise InputError where a flag that was changed has no effect."""
  if name in _OF_SAMPLING and not config.sample:
    raise InputError(f'--{name} is of sampling: add --sample, or leave it out.')
  task = _OF_TASK.get(name, config.task)
  if task != config.task:
    raise InputError(
      f'--{name} is for --task={task}: leave it out with --task={config.task}.'
    )


def _check(field: dataclasses.Field, value: Any) -> None:
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
