"""Imports go one way: what the rooms may know of each other, read by ast."""

import ast
from collections.abc import Iterator
import dataclasses
import functools
import graphlib
import pathlib
import statistics
import subprocess
import sys

import pytest

import mrnn_jax

ROOT = pathlib.Path(__file__).parents[1]
PACKAGES = ('data_prep', 'mrnn_jax')

# Lowest first.  A module imports from its own room and from the layers below;
# rooms of one layer do not know each other.  A module that is named by itself
# has its own place, wherever its package is.
LAYERS = (
  ('mrnn_jax.runtime',),
  ('mrnn_jax.data.vocabulary', 'mrnn_jax.data.image_names'),
  ('mrnn_jax.metrics',),
  ('mrnn_jax.models',),
  ('mrnn_jax.training.objectives',),  # Flags name them.
  ('mrnn_jax.ranking',),
  ('mrnn_jax.decoding',),
  ('mrnn_jax.data',),
  ('mrnn_jax.encoders',),
  ('mrnn_jax.config',),
  ('mrnn_jax.model_inputs', 'mrnn_jax.stored_calibration'),
  ('mrnn_jax.model_description',),
  ('mrnn_jax.stored_model',),
  ('mrnn_jax.stored_ensemble',),
  ('mrnn_jax.from_python', 'mrnn_jax.photo_model'),
  ('mrnn_jax.trained',),
  ('mrnn_jax.evaluation',),
  ('mrnn_jax.scoring', 'mrnn_jax.training'),
  ('mrnn_jax.reports',),
  ('mrnn_jax.own_data', 'mrnn_jax.serve', 'data_prep'),
  ('mrnn_jax.tasks',),
  ('mrnn_jax',),  # The names that the package itself gives.
  ('mrnn_jax.help_text',),
  ('mrnn_jax.main', 'mrnn_jax.command', 'mrnn_jax.tables'),
  ('mrnn_jax.__main__',),
)
_LAYER = {room: i for i, rooms in enumerate(LAYERS) for room in rooms}

# What can be embedded anywhere, and all that it needs.
CORE = tuple(
  f'mrnn_jax.{room}' for room in ('decoding', 'metrics', 'models', 'ranking')
)
CORE_NEEDS = {'flax', 'jax', 'numpy'}
BLEU, BLEU_NEEDS = 'mrnn_jax.metrics.bleu', 'sacrebleu'

# What all command lines share; only commands may import it.
CLI = 'mrnn_jax.runtime.cli'


@dataclasses.dataclass(frozen=True)
class Import:
  """One name that a module imports.

  Attributes:
    where: file and line.
    name: the dotted name, that of an object inside a module included.
    lazy: whether it stands inside a function.
  """

  where: str
  name: str
  lazy: bool


def _is_type_checking(node: ast.AST) -> bool:
  return isinstance(node, ast.If) and ast.unparse(node.test) in (
    'TYPE_CHECKING',
    'typing.TYPE_CHECKING',
  )


def _imports(node: ast.AST, file: str, lazy: bool = False) -> Iterator[Import]:
  """Yield what is imported below a node, but for what type checkers see."""
  if isinstance(node, ast.Import | ast.ImportFrom):
    where = f'{file}:{node.lineno}'
    assert not getattr(node, 'level', 0), f'{where}: write the whole name'
    prefix = f'{node.module}.' if isinstance(node, ast.ImportFrom) else ''
    for alias in node.names:
      yield Import(where, prefix + alias.name, lazy)
  lazy |= isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
  children = ast.iter_child_nodes(node)
  for child in node.orelse if _is_type_checking(node) else children:
    yield from _imports(child, file, lazy)


@functools.cache
def _modules() -> dict[str, pathlib.Path]:
  """All modules of the project: name -> file."""
  modules = {}
  for package in PACKAGES:
    for path in sorted((ROOT / package).rglob('*.py')):
      parts = path.relative_to(ROOT).with_suffix('').parts
      modules['.'.join(parts).removesuffix('.__init__')] = path
  return modules


@functools.cache
def _imports_of(module: str) -> tuple[Import, ...]:
  path = _modules()[module]
  tree = ast.parse(path.read_text())
  return tuple(_imports(tree, str(path.relative_to(ROOT))))


def _module(name: str) -> str | None:
  """Return the project's module that a name is or lies in; else None."""
  while name and name not in _modules():
    name = name.rpartition('.')[0]
  return name or None


def _loaded(importer: str, target: str) -> Iterator[str]:
  """Yield what importing a module runs: itself, and packages around it."""
  while target and not f'{importer}.'.startswith(f'{target}.'):
    yield target
    target = target.rpartition('.')[0]


def _room(module: str) -> str | None:
  """Return the longest name of ``LAYERS`` that the module lies in."""
  name = module
  while name and name not in _LAYER:
    name = name.rpartition('.')[0]
  if name == 'mrnn_jax' and module != name:
    return None  # What lies in the package itself has to be named.
  return name or None


def _all_imports() -> Iterator[tuple[str, Import]]:
  for module in _modules():
    for imported in _imports_of(module):
      yield module, imported


def _fail_with(broken: list[str], rule: str) -> None:
  if broken:
    lines = [f'{rule}:', *sorted(set(broken))]
    pytest.fail('\n  '.join(lines), pytrace=False)


def _is_command(module: str) -> bool:
  return "__name__ == '__main__'" in _modules()[module].read_text()


def test_every_module_has_its_layer():
  _fail_with(
    [module for module in _modules() if _room(module) is None],
    'of no layer; name its place in LAYERS',
  )


def test_imports_go_down():
  broken = []
  for module, imported in _all_imports():
    target = _module(imported.name)
    if target is None:
      continue
    room, other = _room(module), _room(target)
    if None in (room, other) or room == other:
      continue
    if _LAYER[other] >= _LAYER[room]:
      broken.append(
        f'{imported.where} {module} imports {target}, but {other} is not'
        f' below {room}'
      )
  _fail_with(broken, 'imports that go up')


def test_no_circles():
  graph = {
    module: {
      loaded
      for imported in _imports_of(module)
      for loaded in _loaded(module, _module(imported.name) or '')
    }
    for module in _modules()
  }
  circles = []
  try:
    graphlib.TopologicalSorter(graph).prepare()
  except graphlib.CycleError as e:  # Goes from the imported to the importer.
    circles.append(' -> '.join(reversed(e.args[1])))
  _fail_with(circles, 'modules that import each other')


def _outsiders(module: str, lazy: bool) -> Iterator[tuple[str, str]]:
  """Yield the foreign packages that a module imports, and where."""
  for imported in _imports_of(module):
    package = imported.name.partition('.')[0]
    own = package in PACKAGES or package in sys.stdlib_module_names
    if not own and (lazy or not imported.lazy):
      yield package, imported.where


def test_the_core_imports_little():
  broken = {}
  for module in _modules():
    # A command reads files, beyond what it can be embedded for.
    if not module.startswith(CORE) or module.endswith('.__main__'):
      continue
    # What it imports itself, wherever, and what comes along with that.
    way = {module: module}
    for reached in (queue := [module]):
      for package, where in _outsiders(reached, lazy=reached == module):
        if package in CORE_NEEDS or (reached, package) == (BLEU, BLEU_NEEDS):
          continue
        found = f'{where} imports {package}: {way[reached]}'
        broken[where] = min(broken.get(where, found), found, key=len)
      for imported in _imports_of(reached):
        if imported.lazy:
          continue
        for loaded in _loaded(reached, _module(imported.name) or ''):
          if loaded not in way:
            way[loaded] = f'{way[reached]} -> {loaded}'
            queue.append(loaded)
  _fail_with(
    [*broken.values()],
    f'{", ".join(CORE)} need more than {", ".join(sorted(CORE_NEEDS))}'
    f' ({BLEU_NEEDS}: {BLEU} alone)',
  )


def test_mrnn_jax_does_not_know_data_prep():
  _fail_with(
    [
      f'{imported.where} imports {imported.name}'
      for module, imported in _all_imports()
      if module.startswith('mrnn_jax')
      and imported.name.partition('.')[0] == 'data_prep'
    ],
    'mrnn_jax imports data_prep',
  )


def test_flags_are_read_at_the_edge():
  _fail_with(
    [
      f'{imported.where} imports {imported.name}'
      for module, imported in _all_imports()
      if f'{imported.name}.'.startswith(('absl.flags.', f'{CLI}.'))
      and module != CLI
      and _room(module) != 'mrnn_jax.config'
      and not _is_command(module)
    ],
    'only commands and mrnn_jax.config know flags',
  )


def test_jax_internals_are_used_in_one_module():
  uses = {}  # Module -> one place.
  for module, path in _modules().items():
    for imported in _imports_of(module):
      if f'{imported.name}.'.startswith('jax._src.'):
        uses[module] = f'{imported.where} imports {imported.name}'
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Attribute) and ast.unparse(node) == 'jax._src':
        uses[module] = f'{path.relative_to(ROOT)}:{node.lineno} uses jax._src'
  if len(uses) > 1:
    _fail_with([*uses.values()], 'jax._src in more than one module')


def test_modules_can_be_read_in_one_go():
  lines = {
    str(path.relative_to(ROOT)): len(path.read_text().splitlines())
    for path in _modules().values()
  }
  _fail_with(
    [f'{path}: {count} lines' for path, count in lines.items() if count > 400],
    'longer than 400 lines',
  )
  median = statistics.median(lines.values())
  assert median < 200, f'half have {median} lines or more'


def test_importing_the_package_loads_nothing():
  code = (
    'import sys; before = set(sys.modules); import mrnn_jax;'
    ' dir(mrnn_jax), mrnn_jax.load, mrnn_jax.PRETRAINED;'
    ' print(*{name.partition(".")[0] for name in set(sys.modules) - before})'
  )
  loaded = subprocess.run(
    [sys.executable, '-c', code],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  ).stdout.split()
  assert set(loaded) <= {'mrnn_jax'} | sys.stdlib_module_names, loaded


def test_the_package_gives_what_it_names():
  from mrnn_jax.ranking.ranker import Ranker
  from mrnn_jax.trained import TrainedModel

  assert mrnn_jax.Ranker is Ranker
  assert mrnn_jax.TrainedModel is TrainedModel
  assert set(mrnn_jax.__all__) <= set(dir(mrnn_jax))
  assert all(hasattr(mrnn_jax, name) for name in mrnn_jax.__all__)
  assert not hasattr(mrnn_jax, 'nothing')
