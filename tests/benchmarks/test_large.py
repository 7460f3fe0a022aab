"""The commands run; what they find stands in docs/measurements.md."""

import re

import pytest

from tests.benchmarks import coco, large, readout


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


def test_few_of_a_million_images(capsys):
  sizes = '--images=300 --sentences=2 --vocab_size=50 --feature_size=4'
  coco.main(['million', *sizes.split()])
  out = capsys.readouterr().out
  assert re.search(r'at most [\d,]+ MiB\n$', out)


def test_the_readout_and_its_share(capsys):
  sizes = '--vocab_size=50 --feature_size=4 --repeats=1'
  readout.main(['step', *sizes.split(), '--batch_size=4', '--devices=2'])
  readout.main(['forms', *sizes.split(), '--rows=9', '--hidden_size=5'])
  out = capsys.readouterr().out
  assert re.search(r'48 rows, 2 devices: a step .* s, .*\d%\n', out)
  for form in ('plain', 'fused'):
    assert re.search(rf'{form} log P: .* ms', out)
    assert re.search(rf'{form} with gradients: .* MiB', out)


@pytest.mark.slow
def test_the_whole_way(tmp_path, capsys):
  sizes = ['--share=0.004', '--steps=3', '--pairs=50']
  for step in ('raw', 'build', 'train', 'retrieve', 'score'):
    coco.main([step, f'--folder={tmp_path}', *sizes])
    out = capsys.readouterr().out
    assert 'exit code 0' in out, out
