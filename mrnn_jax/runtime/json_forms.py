"""What JSON of others should look like, and where it does not."""

import dataclasses
import json
from typing import Any

from mrnn_jax.runtime import messages
from mrnn_jax.runtime.errors import printable

# Types, of which a value has to be one; or a list of one form for all items; or
# names -> forms.  'name?' may be missing, '*' is any other name.
Form = Any


@dataclasses.dataclass(frozen=True)
class OrNull:
  """A form, or null."""

  form: Form


NUMBER = (int, float)
_MAX_INT = 2**63 - 1


def misfit(value: Any, form: Form, where: str = '') -> str:
  """Return what is wrong with JSON values, '' if they have a form.

  Args:
    value: of the values.
    form: which they should have.
    where: the place of this value in a larger one, for the answer.

  Returns:
    For example 'lacks "dataset.encoder"' or 'has "step": "x"'; the subject is
    the caller's.
  """
  if isinstance(form, OrNull):
    return '' if value is None else misfit(value, form.form, where)
  if isinstance(form, dict):
    return _misfit_object(value, form, where)
  if isinstance(form, list):
    if not isinstance(value, list):
      return _wrong(value, where)
    places = (
      misfit(item, form[0], f'{where}[{i}]') for i, item in enumerate(value)
    )
    return next(filter(None, places), '')
  types = form if isinstance(form, tuple) else (form,)
  # Not by isinstance: True is an int for Python.
  fits = type(value) in types
  if type(value) is int and abs(value) > _MAX_INT:
    fits = False  # Python has larger ones than anything that computes.
  return '' if fits else _wrong(value, where)


def odd_text(value: Any) -> str:
  """Return what is wrong with the texts of JSON values, names among them.

  They shall be short, on one line, and in UTF-8, so that they can be told.
  """
  waiting = [value]
  while waiting:
    value = waiting.pop()
    if isinstance(value, dict):
      waiting += [*value, *value.values()]
    elif isinstance(value, list):
      waiting += value
    elif isinstance(value, str) and not messages.is_name(value):
      return f'has {printable(messages.shorten(value))} in it'
  return ''


def _misfit_object(value: Any, form: dict[str, Form], where: str) -> str:
  if not isinstance(value, dict):
    return _wrong(value, where)
  names = {name.removesuffix('?') for name in form}
  for name, inner in form.items():
    key = name.removesuffix('?')
    place = f'{where}.{key}' if where else key
    if name == '*':
      for other in value.keys() - names:
        place = f'{where}.{other}' if where else other
        if wrong := misfit(value[other], inner, printable(place)):
          return wrong
    elif key in value:
      if wrong := misfit(value[key], inner, place):
        return wrong
    elif not name.endswith('?'):
      return f'lacks "{place}"'
  return ''


def _wrong(value: Any, where: str) -> str:
  if isinstance(value, list | dict):
    told = 'a list' if isinstance(value, list) else 'an object'
  elif isinstance(value, str):
    told = printable(messages.shorten(value))
  else:
    told = json.dumps(value)[:40]
  return f'has {told} as "{where[:100]}"' if where else f'is {told}'
