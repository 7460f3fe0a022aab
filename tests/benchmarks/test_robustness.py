"""The commands behind docs/measurements.md run; what they find stands there."""

import importlib.util
import sys

import numpy as np
import pytest

from mrnn_jax.runtime.errors import InputError
from tests.benchmarks import robustness, soak


@pytest.mark.parametrize(
  'name', ['beam', 'bfloat16', 'parts', 'compile_cache', 'soak', 'ensemble']
)
def test_help(name, capsys):
  with pytest.raises(SystemExit) as stop:
    robustness.main([name, '--help'])
  assert stop.value.code == 0
  assert f'robustness {name}' in capsys.readouterr().out


def test_growth_is_that_after_the_warm_up(capsys):
  mega = 10**6
  samples = [
    (1.0, 100 * mega, 0),
    (9.0, 300 * mega, 0),
    (30.0, 500 * mega, 1000),
    (59.0, 530 * mega, 3000),
    (61.0, 560 * mega, 3500),
    (90.0, 540 * mega, 9000),
  ]
  assert soak.report(samples) == 60 * mega
  out = capsys.readouterr().out
  assert '1.5 minutes, 9,000 records: 500 MB when warm, 540 at' in out
  assert '560 at most' in out
  assert 'in each minute: 3,000 6,000' in out


def test_lines_are_counted_once_though_files_are_renamed(tmp_path):
  counter = soak.LineCounter(tmp_path / 'out')
  assert counter.count() == 0
  (tmp_path / 'out').mkdir()
  growing = tmp_path / 'out' / '.results.jsonl.tmp'
  growing.write_text('a\nb\n')
  assert counter.count() == 2
  with growing.open('a') as file:
    file.write('c\nd')
  assert counter.count() == 3
  growing.rename(tmp_path / 'out' / 'results.jsonl')
  assert counter.count() == 3


def watched(code, tmp_path, seconds):
  end = soak.time.monotonic() + seconds
  return list(soak.watch([sys.executable, '-c', code], tmp_path, end))


def test_a_process_is_watched_until_it_ends_or_the_time_is_over(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(soak, '_SAMPLE_SECONDS', 0.05)
  (tmp_path / 'out.jsonl').write_text('a\n')
  # Stopped on request it ends with 75, as the program does.
  code = (
    'import signal, sys, time\n'
    'signal.signal(signal.SIGTERM, lambda *unused: sys.exit(75))\n'
    'data = bytearray(50_000_000)\n'
    'time.sleep(60)\n'
  )
  samples = watched(code, tmp_path, 1.0)
  assert samples[-1][0] < 10 and samples[-1][2] == 1
  assert samples[-1][1] > 50_000_000
  with pytest.raises(InputError, match='exit code 3'):
    watched('import sys; sys.exit(3)', tmp_path, 30.0)


def test_a_failing_command_is_one_sentence():
  with pytest.raises(InputError, match='json.tool failed: .*nowhere'):
    robustness.run_module('json.tool', '/nowhere')


def test_raw_data_is_what_a_build_reads(tmp_path):
  robustness.write_raw(tmp_path, 20, 4)
  lines = (tmp_path / 'captions.csv').read_text().splitlines()
  assert len(lines) == 41 and lines[0] == 'image_id,caption,split'
  with np.load(tmp_path / 'features.npz') as file:
    assert file['features'].shape == (20, 4)
    assert file['features'].any(0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
  'name',
  [
    pytest.param(
      'beam',
      marks=pytest.mark.skipif(
        not importlib.util.find_spec('apache_beam'), reason='needs Beam'
      ),
    ),
    'bfloat16',
    'parts',
    'compile_cache',
    'soak',
    'ensemble',
  ],
)
def test_it_runs(name, capsys):
  assert robustness.main([name, '--small']) == 0
  assert capsys.readouterr().out
