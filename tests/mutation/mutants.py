"""Small changes of a module: what they are, and how one is made.

A mutant is named by what it changes, not by a line number: the function, the
statement before and after.  So a list of them stays true while lines move.
"""

import ast
from collections.abc import Callable, Iterator
import copy
import dataclasses

_COMPARISONS = {
  ast.Lt: ast.LtE,
  ast.LtE: ast.Lt,
  ast.Gt: ast.GtE,
  ast.GtE: ast.Gt,
  ast.Eq: ast.NotEq,
  ast.NotEq: ast.Eq,
  ast.Is: ast.IsNot,
  ast.IsNot: ast.Is,
  ast.In: ast.NotIn,
  ast.NotIn: ast.In,
}
_OPERATORS = {
  ast.Add: ast.Sub,
  ast.Sub: ast.Add,
  ast.Mult: ast.Div,
  ast.Div: ast.Mult,
  ast.FloorDiv: ast.Div,
  ast.Mod: ast.FloorDiv,
  ast.Pow: ast.Mult,
  ast.BitAnd: ast.BitOr,
  ast.BitOr: ast.BitAnd,
  ast.LShift: ast.RShift,
  ast.RShift: ast.LShift,
}
_BODIES = ('body', 'orelse', 'finalbody', 'handlers')
# Types, and what decorates; the words of messages; guards that change nothing
# where they pass.
_SKIPPED_FIELDS = {'annotation', 'returns', 'decorator_list', 'type_params'}
_SKIPPED_NODES = (ast.Raise, ast.JoinedStr, ast.Assert)
_SKIPPED_KEYWORDS = {'strict'}
# What gives the same if two arguments change places.
_SYMMETRIC = {'min', 'max', 'minimum', 'maximum', 'logaddexp', 'swapaxes'}


@dataclasses.dataclass(frozen=True)
class Mutant:
  """One change of one module.

  Attributes:
    module: path below the package, without ``.py``.
    scope: names of the class and functions around it, with dots; '' for none.
    before: the statement, or the head of a compound one.
    after: what it becomes.
    nth: which of the equal statements of the scope, from 0.
  """

  module: str
  scope: str
  before: str
  after: str
  nth: int = 0


@dataclasses.dataclass
class _Site:
  """A place in a tree, and what to put there."""

  container: list | ast.AST
  key: int | str
  new: ast.AST

  def swap(self) -> None:
    """Put the new node there; a second call puts the old one back."""
    if isinstance(self.container, list):
      old = self.container[self.key]
      self.container[self.key] = self.new
    else:
      old = getattr(self.container, self.key)
      setattr(self.container, self.key, self.new)
    self.new = old


def find(module: str, source: str) -> list[Mutant]:
  """Return all mutants of a module, in the order of its text."""
  return [mutant for mutant, _ in _enumerate(module, ast.parse(source))]


def make(mutant: Mutant, source: str) -> ast.Module:
  """Return the tree of a module with one mutant made.

  Raises:
    ValueError: the module has no such statement any more.
  """
  tree = ast.parse(source)
  for other, site in _enumerate(mutant.module, tree):
    if other == mutant:
      site.swap()
      return ast.fix_missing_locations(tree)
  raise ValueError(f'there is no such mutant (any more): {mutant}')


def _enumerate(module: str, tree: ast.Module) -> Iterator[tuple[Mutant, _Site]]:
  """Yield each mutant once, with its place; between them nothing is changed."""
  for scope, nth, body, index in _statements(tree, ''):
    statement, seen = body[index], set()
    before = _text(statement)
    for site in _sites(body, index):
      site.swap()
      after = _text(body[index])
      site.swap()
      if after != before and after not in seen:
        seen.add(after)
        yield Mutant(module, scope, before, after, nth), site


def _statements(
  node: ast.AST, scope: str
) -> Iterator[tuple[str, int, list, int]]:
  """Yield scope, number among equals, list and index of each statement."""
  counts: dict[str, int] = {}

  def walk(node: ast.AST):
    for field in _BODIES:
      body = getattr(node, field, [])
      if not isinstance(body, list):  # Of a lambda.
        continue
      for index, child in enumerate(body):
        if _is_main_guard(child):
          continue
        text = _text(child)
        nth = counts[text] = counts.get(text, -1) + 1
        if not isinstance(child, ast.ExceptHandler):
          yield scope, nth, body, index
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
          yield from _statements(child, f'{scope}.{child.name}'.lstrip('.'))
        else:
          yield from walk(child)

  yield from walk(node)


def _is_main_guard(node: ast.AST) -> bool:
  return isinstance(node, ast.If) and '__name__' in ast.unparse(node.test)


def _text(statement: ast.AST) -> str:
  """Return a statement, of a compound one its head alone."""
  head = copy.copy(statement)
  for field in _BODIES:
    if isinstance(getattr(head, field, None), list):
      setattr(head, field, [])
  if isinstance(head, (ast.FunctionDef, ast.ClassDef)):
    head.decorator_list = []
  return ast.unparse(ast.fix_missing_locations(head))


def _sites(body: list, index: int) -> Iterator[_Site]:
  """Yield the places of a statement that can be changed."""
  statement = body[index]
  is_call = isinstance(statement, ast.Expr) and isinstance(
    statement.value, ast.Call
  )
  if is_call or isinstance(statement, ast.AugAssign):
    yield _Site(body, index, ast.Pass())
  if isinstance(statement, _SKIPPED_NODES):
    return
  if isinstance(statement, ast.Return) and statement.value is not None:
    yield _Site(statement, 'value', ast.Constant(None))
  yield from _inner(statement)


def _inner(node: ast.AST) -> Iterator[_Site]:
  """Yield the places below a node, bodies of statements left out."""
  own = _CHANGES.get(type(node))
  if own:
    yield from own(node)
  for field, value in ast.iter_fields(node):
    if field in _SKIPPED_FIELDS or (
      field in _BODIES and isinstance(value, list)
    ):
      continue
    items = enumerate(value) if isinstance(value, list) else [(None, value)]
    for index, child in items:
      if not isinstance(child, ast.AST) or isinstance(child, _SKIPPED_NODES):
        continue
      if isinstance(child, ast.keyword) and child.arg in _SKIPPED_KEYWORDS:
        continue
      place = (node, field) if index is None else (value, index)
      for new in _replacements(child):
        yield _Site(*place, new)
      yield from _inner(child)


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
  """Yield what an expression may become as a whole."""
  if isinstance(node, ast.Constant):
    yield from map(ast.Constant, _numbers(node.value))
  elif isinstance(node, ast.UnaryOp):
    yield node.operand


def _numbers(value: object) -> Iterator[object]:
  if isinstance(value, bool):
    yield not value
  elif isinstance(value, int):
    yield from (value + 1, value - 1)
  elif isinstance(value, float):
    yield from (value + 1, 0.0 if value else 1.0)


def _compare(node: ast.Compare) -> Iterator[_Site]:
  for i, operator in enumerate(node.ops):
    yield _Site(node.ops, i, _COMPARISONS[type(operator)]())


def _operator(node: ast.BinOp | ast.AugAssign) -> Iterator[_Site]:
  if type(node.op) in _OPERATORS:
    yield _Site(node, 'op', _OPERATORS[type(node.op)]())


def _and_or(node: ast.BoolOp) -> Iterator[_Site]:
  other = ast.Or if isinstance(node.op, ast.And) else ast.And
  yield _Site(node, 'op', other())


def _condition(node: ast.AST) -> Iterator[_Site]:
  if not _has_a_negation(node.test):
    yield _Site(node, 'test', ast.UnaryOp(ast.Not(), node.test))


def _filters(node: ast.comprehension) -> Iterator[_Site]:
  for i, test in enumerate(node.ifs):
    if not _has_a_negation(test):
      yield _Site(node.ifs, i, ast.UnaryOp(ast.Not(), test))


def _has_a_negation(test: ast.expr) -> bool:
  """Return whether another change is its negation already."""
  if isinstance(test, ast.Compare):
    exact = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)
    return len(test.ops) == 1 and isinstance(test.ops[0], exact)
  return isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)


def _arguments(node: ast.Call) -> Iterator[_Site]:
  args = node.args
  if ast.unparse(node.func).split('.')[-1] in _SYMMETRIC:
    return
  if len(args) > 1 and not any(isinstance(x, ast.Starred) for x in args[:2]):
    yield _Site(node, 'args', [args[1], args[0], *args[2:]])


def _bounds(node: ast.Slice) -> Iterator[_Site]:
  for field in ('lower', 'upper', 'step'):
    if getattr(node, field) is not None:
      yield _Site(node, field, None)


_CHANGES: dict[type, Callable[..., Iterator[_Site]]] = {
  ast.Compare: _compare,
  ast.BinOp: _operator,
  ast.AugAssign: _operator,
  ast.BoolOp: _and_or,
  ast.If: _condition,
  ast.IfExp: _condition,
  ast.While: _condition,
  ast.comprehension: _filters,
  ast.Call: _arguments,
  ast.Slice: _bounds,
}
