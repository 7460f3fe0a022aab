"""The commands run; what they find stands in docs/measurements.md."""

import re

import numpy as np
import pytest

import mrnn_jax
from mrnn_jax.data import datasets
from tests.benchmarks import coco, first_images, large, pruning, readout


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


def test_what_a_ranking_could_leave_out():
  # Prefixes: nothing, one word, the other word.
  sentences = [np.asarray([1, 4, 2]), np.asarray([1, 5, 2])]
  words = {0.0: [[-1, -1], [-2.5, -1]], 1.0: [[-1, -2], [-2, -1]]}

  def log_probs(features):
    features = np.broadcast_to(features, (2, 1))
    return np.asarray([words[x][s] for s, x in enumerate(features[:, 0])])

  found = pruning.count(
    sentences,
    np.asarray([0, 1]),
    np.asarray([[0.0], [1.0]]),
    np.asarray([[1.0]]),
    log_probs,
    2,
  )
  # Image 0: sentence 1 needs -3 with its own image and -2 to be before
  # sentence 0 here, of which -2.5 is left after its first word.
  assert list(found) == [(1, 2 / 3, 1), (1, 1, 1)]


def test_retrieval_of_the_first_images(tiny_workdir, tiny_data_dir, capsys):
  options = f'--dataset=tiny --model_file={tiny_workdir}'
  options += f' --data_dir={tiny_data_dir} --images=6 --norm_images=3'
  first_images.main(options.split())
  said = capsys.readouterr().out
  model = mrnn_jax.load(tiny_workdir)
  dataset = datasets.open_dataset('tiny', tiny_data_dir)
  split = datasets.load_split(dataset, 'validation', model.vocabulary)
  owner = split.owner[split.owner < 6]
  sentences = [text for texts in split.captions[:6] for text in texts]

  def log_probs(features):
    return model.log_prob(features, sentences).T

  ours = log_probs(split.features[:6])
  normalizer = np.log(np.exp(log_probs(model.norm_features[:3])).mean(1))
  true = np.arange(6) == owner[:, None]
  to_image = (ours >= ours[true][:, None]).sum(1)
  ratio = ours - normalizer[:, None]
  best = np.where(true, ratio, -np.inf).max(0)
  to_text = 1 + (~true & (ratio >= best)).sum(0)
  for name, ranks in (('text to image', to_image), ('image to text', to_text)):
    recalls = ' / '.join(f'{100 * np.mean(ranks <= k):.1f}' for k in (1, 5, 10))
    assert f'{name}: {recalls}' in said
