"""What must not wait for JAX: reading, preparing and measuring files."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# TFDS's own modules are its business: who describes a dataset to it.
_WITH_TFDS = {
  'data_prep.caption_features',
  'data_prep.writing.dataset',
  'data_prep.writing.shards',
}
_DATA_PREP = sorted(
  '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix(
    '.__init__'
  )
  for path in (ROOT / 'data_prep').rglob('*.py')
)
_LIGHT = (
  'mrnn_jax',
  'mrnn_jax.command',
  'mrnn_jax.data.datasets',
  'mrnn_jax.data.feature_files',
  'mrnn_jax.data.image_names',
  'mrnn_jax.data.karpathy_file',
  'mrnn_jax.data.vocabulary',
  'mrnn_jax.encoders',
  'mrnn_jax.encoders.encode',
  'mrnn_jax.encoders.photos',
  'mrnn_jax.encoders.weights',
  'mrnn_jax.help_text',
  'mrnn_jax.main',
  'mrnn_jax.metrics',
  'mrnn_jax.metrics.__main__',
  'mrnn_jax.reports.page_parts',
  'mrnn_jax.reports.tables',
  'mrnn_jax.runtime.along',
  'mrnn_jax.runtime.bounded_files',
  'mrnn_jax.runtime.cli',
  'mrnn_jax.runtime.errors',
  'mrnn_jax.runtime.files',
  'mrnn_jax.runtime.json_files',
  'mrnn_jax.runtime.messages',
  'mrnn_jax.runtime.npz',
  'mrnn_jax.runtime.pickles',
  'mrnn_jax.runtime.progress',
  'mrnn_jax.runtime.stopping',
  'mrnn_jax.runtime.workdir_lock',
)
_HEAVY = ('flax', 'h5py', 'jax', 'matplotlib', 'orbax', 'scipy')

# Tells, module by module, which of the heavy ones it is the first to load.
_CODE = """
import importlib, json, sys
modules, heavy = json.loads(sys.argv[1])
found, loaded = {}, set()
for name in modules:
  importlib.import_module(name)
  new = {x for x in heavy if x in sys.modules} - loaded
  if new:
    found[name] = sorted(new)
  loaded |= new
print(json.dumps(found))
"""


def _loaded(modules, heavy):
  result = subprocess.run(
    [sys.executable, '-c', _CODE, json.dumps([modules, heavy])],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  return json.loads(result.stdout)


def test_what_needs_neither_jax_nor_tfds_loads_neither():
  modules = [*(x for x in _DATA_PREP if x not in _WITH_TFDS), *_LIGHT]
  assert _loaded(modules, [*_HEAVY, 'tensorflow_datasets']) == {}


def test_what_writes_datasets_does_without_jax():
  assert _loaded(sorted(_WITH_TFDS), ['tensorflow', *_HEAVY]) == {}


@pytest.mark.parametrize('module', ['jax', 'tensorflow_datasets'])
def test_the_test_would_see_it(module):
  assert _loaded(['json', module], [module]) == {module: [module]}
