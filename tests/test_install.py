"""What an installed package holds, and an installation, which is long."""

import fnmatch
import pathlib
import subprocess
import sys
import tomllib

import install_check
import pytest

import mrnn_jax

ROOT = pathlib.Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())


def test_all_that_is_no_code_is_named():
  """What setuptools does not find by itself, but the program reads."""
  patterns = PROJECT['tool']['setuptools']['package-data']['mrnn_jax']
  listed = subprocess.run(
    ['git', 'ls-files', 'mrnn_jax', 'data_prep'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  ).stdout.split()
  if not listed:
    pytest.skip('no checkout of git')
  left_out = [
    name
    for name in listed
    if not name.endswith('.py')
    and not any(fnmatch.fnmatch(name, f'mrnn_jax/{x}') for x in patterns)
  ]
  assert not left_out


def test_flag_files_go_with_the_wheel_and_the_source():
  shared = PROJECT['tool']['setuptools']['data-files']['share/mrnn_jax']
  assert shared == ['*.flags']
  assert [*ROOT.glob('*.flags')]
  assert '*.flags' in (ROOT / 'MANIFEST.in').read_text()


def test_one_place_has_the_version():
  setuptools = PROJECT['tool']['setuptools']
  assert 'version' in PROJECT['project']['dynamic']
  assert setuptools['dynamic']['version'] == {'attr': 'mrnn_jax.__version__'}
  assert mrnn_jax.__version__.count('.') == 2


def test_lowest_versions_are_those_of_the_requirements():
  text = 'jax>=0.10\netils[epath]>=1.10\n'
  assert install_check.lowest(text) == 'jax==0.10\netils==1.10\n'


@pytest.mark.slow
def test_a_fresh_environment(tmp_path):
  install_check.check(tmp_path, sys.executable)
