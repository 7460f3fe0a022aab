"""Mutants of a few lines, all of them written down."""

import ast
import pathlib

import pytest

from tests.mutation import mutants, run
from tests.mutation.modules import TESTS

SOURCE = '''
"""A docstring of 3 words."""
LIMIT: int = 0


class Counter:
  def count(self, items, most=True):
    """Counts to 9."""
    total = 0
    for item in items[1:]:
      if item > LIMIT and not item.bad:
        total += weigh(item, most)
      log(f'{total + 1} of 5')
    if total is None:
      raise ValueError(f'{total} > 2', 1)
    return max(total, LIMIT)
'''
EXPECTED = [
  ('', 'LIMIT: int = 0', 'LIMIT: int = 1'),
  ('', 'LIMIT: int = 0', 'LIMIT: int = -1'),
  (
    'Counter',
    'def count(self, items, most=True):',
    'def count(self, items, most=False):',
  ),
  ('Counter.count', 'total = 0', 'total = 1'),
  ('Counter.count', 'total = 0', 'total = -1'),
  ('Counter.count', 'for item in items[1:]:', 'for item in items[:]:'),
  ('Counter.count', 'for item in items[1:]:', 'for item in items[2:]:'),
  ('Counter.count', 'for item in items[1:]:', 'for item in items[0:]:'),
  *(
    ('Counter.count', 'if item > LIMIT and (not item.bad):', after)
    for after in (
      'if not (item > LIMIT and (not item.bad)):',
      'if item > LIMIT or not item.bad:',
      'if item >= LIMIT and (not item.bad):',
      'if item > LIMIT and item.bad:',
    )
  ),
  ('Counter.count', 'total += weigh(item, most)', 'pass'),
  ('Counter.count', 'total += weigh(item, most)', 'total -= weigh(item, most)'),
  ('Counter.count', 'total += weigh(item, most)', 'total += weigh(most, item)'),
  ('Counter.count', "log(f'{total + 1} of 5')", 'pass'),
  ('Counter.count', 'if total is None:', 'if total is not None:'),
  ('Counter.count', 'return max(total, LIMIT)', 'return None'),
]


def test_all_that_can_be_changed():
  found = mutants.find('some/module', SOURCE)
  assert [(x.scope, x.before, x.after) for x in found] == EXPECTED


def test_one_is_made_at_a_time():
  plain = ast.unparse(ast.parse(SOURCE)).splitlines()
  for mutant in mutants.find('some/module', SOURCE):
    tree = mutants.make(mutant, SOURCE)
    compile(tree, 'some/module.py', 'exec')
    lines = ast.unparse(tree).splitlines()
    changed = [a for a, b in zip(plain, lines, strict=True) if a != b]
    assert [x.strip() for x in changed] == [mutant.before]
  with pytest.raises(ValueError, match='no such mutant'):
    mutants.make(mutant, SOURCE.replace('max', 'min'))


def test_equal_statements_are_told_apart():
  found = mutants.find('m', 'x = 1\nx = 1\n')
  assert [x.nth for x in found] == [0, 0, 1, 1]
  assert ast.unparse(mutants.make(found[2], 'x = 1\nx = 1\n')) == 'x = 1\nx = 2'


def test_a_seed_draws_the_same_sample():
  found = mutants.find('m', SOURCE)
  drawn = run._draw('m', SOURCE, 5, 0)
  assert drawn == run._draw('m', SOURCE, 5, 0) != run._draw('m', SOURCE, 5, 1)
  assert len(drawn) == 5
  assert [found.index(x) for x in drawn] == sorted(map(found.index, drawn))
  assert run._draw('m', SOURCE, 0, 0) == found


def test_every_module_has_its_tests():
  root = pathlib.Path(__file__).parents[2]
  for module, tests in TESTS.items():
    assert (root / f'mrnn_jax/{module}.py').exists()
    for test in tests:
      assert (root / 'tests' / test.partition('::')[0]).exists(), test


def test_the_table_says_what_share_was_noticed():
  result = {'killed': [{}] * 8, 'equivalent': [{}], 'survived': [{}]}
  text = run._table({'a/b': result, 'c/d': result})
  assert '| `a/b` | 10 | 8 | 1 | 1 |' in text
  assert '| all | 20 | 16 | 2 | 2 |' in text
  assert 'not equivalent: 88.9%' in text
