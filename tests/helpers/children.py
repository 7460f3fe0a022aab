"""Children that begin with everything imported, so that they only work."""

import functools
import multiprocessing
from multiprocessing import forkserver
import os
import sys
from unittest import mock

_PRELOADED = (
  'data_prep.build',
  'data_prep.extract',
  'data_prep.writing.dataset',
  'fuzz_kinds',
  'tensorflow_datasets',
  'tiny_encoder',
)


@functools.cache
def context() -> multiprocessing.context.BaseContext:
  """Return the context of a fork server; a process has one."""
  made = multiprocessing.get_context('forkserver')
  made.set_forkserver_preload([*_PRELOADED])
  # The server does not look where its parent finds modules.
  path = os.pathsep.join(filter(None, sys.path))
  with mock.patch.dict(os.environ, {'PYTHONPATH': path}):
    forkserver.ensure_running()
  return made
