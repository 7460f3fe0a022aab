"""Runs tests in a child of this process, with a mutant in place of a module.

What the tests import of other people's is imported here once, so that a child
has it from its birth and imports only the package itself.  Nothing here may
start a JAX backend: its threads would not survive the fork.
"""

from collections.abc import Mapping, Sequence
import contextlib
import dataclasses
import importlib
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from typing import Any

import pytest

from tests.mutation import mutants

_CODES = {0: 'survived', 1: 'killed', 5: 'no test was found'}


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What became of a mutant.

  Attributes:
    verdict: 'survived', or 'killed'.
    by: the test that failed, or what else ended the tests.
    seconds: processor time.
    durations: of each test that passed, in seconds.
    imported: modules that are not of this package.
  """

  verdict: str
  by: str
  seconds: float
  durations: Mapping[str, float] = dataclasses.field(default_factory=dict)
  imported: Sequence[str] = ()


class Child:
  """A process that runs the tests of one mutant, or of none."""

  def __init__(
    self,
    tree: pathlib.Path,
    tests: Sequence[str],
    mutant: mutants.Mutant | None,
    limit: float,
    order: Mapping[str, Any],
  ):
    """Start it.

    Args:
      tree: the copy of the repository in which it works.
      tests: files of tests.
      mutant: which; None: none.
      limit: seconds of processor time that it may use.
      order: what tests are sorted by, those that lack first.
    """
    self._limit, self._begun = limit, time.monotonic()
    self._folder = tree.parent / f'child_{time.monotonic_ns()}'
    self._folder.mkdir()
    self._log = self._folder / 'said.txt'
    self._result = self._folder / 'result.json'
    self._pid = os.fork()
    if not self._pid:
      # Whatever happens: a child never goes on with its parent's work.
      try:
        _work(tree, tests, mutant, limit, order, self._log, self._result)
      except BaseException:
        traceback.print_exc()
      finally:
        os._exit(3)

  def poll(self) -> Outcome | None:
    """Return the outcome, or None while it is at work."""
    pid, status, usage = os.wait4(self._pid, os.WNOHANG)
    if not pid:
      # A child that waits for something uses no processor time.
      if time.monotonic() - self._begun > 10 * self._limit:
        with contextlib.suppress(ProcessLookupError):
          os.killpg(self._pid, signal.SIGKILL)
      return None
    with contextlib.suppress(ProcessLookupError):
      os.killpg(pid, signal.SIGKILL)  # What it may have started.
    seconds = usage.ru_utime + usage.ru_stime
    said = self._log.read_text(errors='replace') if self._log.exists() else ''
    found = None
    if self._result.exists():
      found = json.loads(self._result.read_text())
    shutil.rmtree(self._folder, ignore_errors=True)
    if not found:
      how = os.waitstatus_to_exitcode(status)
      by = f'the end of the process ({how}): {said[-2000:]}'
      return Outcome('killed', by, seconds)
    verdict = _CODES.get(found['code'], 'killed')
    by = found['by'] or ('' if verdict == 'survived' else said[-2000:])
    return Outcome(verdict, by, seconds, found['durations'], found['imported'])


def import_once(names: Sequence[str]) -> None:
  """Import what the tests will import, as far as that can be done here."""
  for name in names:
    with contextlib.suppress(Exception):
      importlib.import_module(name)


class _Loader(importlib.machinery.SourceFileLoader):
  """Loads a module as a mutant of itself."""

  def __init__(self, name: str, path: str, mutant: mutants.Mutant):
    super().__init__(name, path)
    self._mutant = mutant

  def get_code(self, fullname: str) -> Any:
    source = pathlib.Path(self.path).read_text(encoding='utf-8')
    return compile(mutants.make(self._mutant, source), self.path, 'exec')


class _Finder:
  """Finds the one module that is a mutant."""

  def __init__(self, tree: pathlib.Path, mutant: mutants.Mutant):
    self._name = f'mrnn_jax.{mutant.module.replace("/", ".")}'
    self._path = str(tree / f'mrnn_jax/{mutant.module}.py')
    self._mutant = mutant

  def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
    if name != self._name:
      return None
    loader = _Loader(name, self._path, self._mutant)
    return importlib.util.spec_from_file_location(
      name, self._path, loader=loader
    )


class _Watch:
  """A pytest plugin: what is to come first, and what failed."""

  def __init__(self, tree: pathlib.Path, order: Mapping[str, Any]):
    self._cache, self._order = tree / 'compiled', order
    self.by, self.durations = '', {}

  def pytest_sessionstart(self):
    import hypothesis
    import jax

    # All children share what one has compiled.
    jax.config.update('jax_compilation_cache_dir', str(self._cache))
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    # The same examples in every run, and none remembered.
    hypothesis.settings.register_profile(
      'mutation', derandomize=True, database=None, deadline=None
    )
    hypothesis.settings.load_profile('mutation')

  def pytest_collection_modifyitems(self, items):
    first = (-1, 0.0)
    items.sort(key=lambda item: tuple(self._order.get(item.nodeid, first)))

  def pytest_collectreport(self, report):
    if report.failed:
      self.by = self.by or f'collecting {report.nodeid}'

  def pytest_runtest_logreport(self, report):
    if report.failed:
      self.by = self.by or report.nodeid
    before = self.durations.get(report.nodeid, 0.0)
    self.durations[report.nodeid] = before + report.duration


def _work(
  tree: pathlib.Path,
  tests: Sequence[str],
  mutant: mutants.Mutant | None,
  limit: float,
  order: Mapping[str, Any],
  log: pathlib.Path,
  result: pathlib.Path,
) -> None:
  """Run the tests; all that a child does."""
  os.setpgid(0, 0)
  seconds = int(limit) + 1
  resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
  said = os.open(log, os.O_WRONLY | os.O_CREAT)
  nothing = os.open(os.devnull, os.O_RDONLY)
  for of, fd in ((nothing, 0), (said, 1), (said, 2)):
    os.dup2(of, fd)
  # What tests leave behind goes with the child.
  os.environ['TMPDIR'] = tempfile.tempdir = str(log.parent)
  # The tests' own 'tests' is that of the tree.
  for name in [x for x in sys.modules if x.split('.')[0] == 'tests']:
    del sys.modules[name]
  if mutant:
    sys.meta_path.insert(0, _Finder(tree, mutant))
  watch = _Watch(tree, order)
  options = [
    '-x',
    '-q',
    '--assert=plain',
    '-p',
    'no:cacheprovider',
    '-p',
    'no:xdist',
  ]
  code = pytest.main(
    [*options, *(str(tree / 'tests' / x) for x in tests)], plugins=[watch]
  )
  found = {
    'code': int(code),
    'by': watch.by,
    'durations': watch.durations,
    'imported': _imported(tree),
  }
  result.write_text(json.dumps(found))


def _imported(tree: pathlib.Path) -> list[str]:
  """Return the names of modules that are not of the tree, in their order."""
  return [
    name
    for name, module in list(sys.modules.items())
    if not str(getattr(module, '__file__', None) or tree).startswith(str(tree))
  ]
