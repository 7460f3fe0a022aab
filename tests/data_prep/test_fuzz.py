"""Any bytes lead every reader to a result or to one sentence."""

import os
import time

import fuzz_kinds
import fuzz_runs
import fuzzing
import pytest

# Inputs of each kind in the long run.
NUM_INPUTS = int(os.environ.get('FUZZ_INPUTS', '5000'))


@pytest.mark.parametrize('name', fuzz_kinds.KINDS)
@pytest.mark.filterwarnings('ignore:::PIL')
def test_some_inputs(name, tmp_path):
  kind = fuzz_kinds.KINDS[name]
  path = tmp_path / f'input{kind.suffix}'
  for number in range(25):
    data = fuzzing.make_input(name, kind, number)
    assert fuzz_runs.attempt(kind, path, data) == '', f'{name} {number}'


def test_sound_files_are_read(tmp_path):
  for name, kind in fuzz_kinds.KINDS.items():
    path = tmp_path / f'input{kind.suffix}'
    path.write_bytes(fuzzing.samples_of(name, kind)[0])
    assert kind.read(path) is not None


@pytest.mark.slow
@pytest.mark.parametrize('name', fuzz_kinds.KINDS)
def test_many_inputs(name, tmp_path):
  start = time.monotonic()
  findings = fuzz_runs.try_many(name, tmp_path, NUM_INPUTS)
  seconds = time.monotonic() - start
  print(f'{name}: {NUM_INPUTS:,} inputs in {seconds:.0f} s', flush=True)
  assert not findings, '\n'.join(f'{i}: {what}' for i, what in findings)
