"""The commands run; what they find stands in docs/measurements.md."""

import re

import pytest

from tests.benchmarks import large


@pytest.mark.parametrize(
  ('what', 'found'),
  [
    ('counting', r'20 images x 100 sentences.*\nmean rank 10\n'),
    ('consensus', r'100 captions taken in.*\n200 images'),
    ('loading', r'100 captions planned.*\nfilled: .*\nhanded on'),
    ('loading --on_disk', r'100 captions planned.*\nfilled: .*\nhanded on'),
  ],
)
def test_small_ones(what, found, capsys, monkeypatch, tmp_path):
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
  options = '--images=20 --feature_size=4 --batch_size=10 --steps=3'
  large.main([*what.split(), *options.split()])
  out = capsys.readouterr().out
  assert re.search(found, out) and out.rstrip().endswith('MiB')
