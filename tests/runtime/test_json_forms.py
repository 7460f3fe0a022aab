"""Where JSON values do not have the form that they should."""

import pytest

from mrnn_jax.runtime.json_forms import NUMBER, OrNull, misfit, odd_text

FORM = {
  'name': str,
  'size?': int,
  'rates': [NUMBER],
  'deep': {'more?': OrNull({'*': NUMBER})},
}
SOUND = {'name': 'x', 'rates': [1, 0.5], 'deep': {'more': None}, 'other': []}


@pytest.mark.parametrize(
  'changes',
  [{}, {'size': 3}, {'rates': []}, {'deep': {}}, {'deep': {'more': {'a': 1}}}],
)
def test_what_fits(changes):
  assert misfit({**SOUND, **changes}, FORM) == ''


@pytest.mark.parametrize(
  ('changes', 'expected'),
  [
    ({'name': 3}, 'has 3 as "name"'),
    ({'size': 3.0}, 'has 3.0 as "size"'),
    ({'size': None}, 'has null as "size"'),
    ({'size': True}, 'has true as "size"'),
    ({'size': 10**300}, 'has 1' + '0' * 39 + ' as "size"'),
    ({'rates': {}}, 'has an object as "rates"'),
    ({'rates': [1, 'a\x1b']}, 'has \'a\\x1b\' as "rates[1]"'),
    ({'deep': []}, 'has a list as "deep"'),
    ({'deep': {'more': {'\n': 'x'}}}, 'has \'x\' as "deep.more.?"'),
  ],
)
def test_what_does_not(changes, expected):
  assert misfit({**SOUND, **changes}, FORM) == expected


def test_what_lacks_a_name():
  assert misfit({'name': 'x', 'rates': []}, FORM) == 'lacks "deep"'
  assert misfit([], FORM) == 'is a list'


@pytest.mark.parametrize(
  'value', [{'a\n': 1}, {'a': ['b', {'c': '\ud800'}]}, ['a' * 1001], '\x1b[2J']
)
def test_odd_text(value):
  assert odd_text([3, None, value]).startswith('has ')
  assert odd_text(value).isprintable()


def test_text_that_can_be_told():
  assert odd_text({'a': ['Caf\xe9', 3, None, {'\u732b': True}]}) == ''
