"""What the command says of a dataset, as text and as a page."""

import html.parser
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from data_prep import checks, inspect, records
from data_prep.inspection import summary
from data_prep.writing import content, dataset
from mrnn_jax.data import feature_files
from mrnn_jax.runtime import errors

EVIL = '<script>alert(1)</script>&"\'.jpg'


def record(name, feature, *captions):
  return {
    'image_id': name.encode(),
    'feature': np.asarray(feature, np.float16),
    'captions': [caption.encode() for caption in captions],
  }


SOURCES = {
  'train': [
    record('a', [1, 0, 2], 'A dog .', 'a dog runs'),
    record('b', [1, 0, 3], 'a cat'),
    record('c', [1, 0, 2], 'the dog'),
  ],
  'validation': [record('d', [1, 4, 0], 'a bird runs')],
  'test': [record('e', [1, np.nan, 0], 'a dog'), record('f', [1, 0, 0], 'x')],
}


def test_words():
  found = summary.summarize(SOURCES)
  train = found.splits['train']
  assert (train.images, train.captions, train.words) == (3, 4, 9)
  assert list(train.lengths) == [0, 0, 3, 1]
  assert list(train.each) == [0, 2, 1]
  assert found.growth == [(1, 2), (2, 3), (3, 4), (4, 5)]
  assert found.frequent[:2] == [('a', 3), ('dog', 3)]
  cuts = {x.threshold: x for x in found.cuts}
  assert {n: x.size for n, x in cuts.items()} == {1: 5, 2: 2, 3: 2, 5: 0, 10: 0}
  assert cuts[1].unknown == {'train': 0, 'validation': 1 / 3, 'test': 1 / 3}
  assert cuts[2].unknown['train'] == pytest.approx(3 / 9)


def test_features_are_summed_without_what_is_not_finite(monkeypatch):
  monkeypatch.setattr(summary, '_BLOCK', 2)
  found = summary.summarize(SOURCES).features
  finite = np.array([[1, 0, 2], [1, 0, 3], [1, 0, 2], [1, 4, 0], [1, 0, 0]])
  assert (found.dim, found.dtype) == (3, 'float16')
  assert found.mean == pytest.approx(finite.mean())
  assert found.std == pytest.approx(finite.std())
  assert (found.low, found.high) == (0, 4)
  assert found.zeros == pytest.approx((finite == 0).mean())
  np.testing.assert_allclose(found.norms, np.linalg.norm(finite, axis=1))
  assert found.constant == 1
  assert found.not_finite == ['e']
  assert found.duplicates == ['a = c']


def test_examples_depend_on_the_seed_alone():
  found = [
    [x.image_id for x in summary.summarize(SOURCES, seed, 2).examples]
    for seed in (0, 0, 1, 2, 3)
  ]
  assert found[0] == found[1]
  assert len(set(map(tuple, found))) > 1
  assert len(summary.summarize(SOURCES, 0, 99).examples) == 6


def test_no_image():
  with pytest.raises(errors.InputError, match='no image'):
    summary.summarize({'train': []})


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp('data')
  names = [EVIL, *(f'{i}.jpg' for i in range(11))]
  for name in ('mine', 'other'):
    raw = records.RawDataset(
      {image: [f'A dog {image}', 'Caf\xe9'] for image in names},
      {'train': names[:8], 'validation': names[8:10], 'test': names[10:]},
    )
    rows = np.arange(len(names) * 3, dtype=np.float32).reshape(-1, 3)
    table = feature_files.FeatureTable(
      names, rows, 'f', feature_files.Encoder('<b>vgg')
    )
    checked = checks.check_captions(name, raw)
    checked = checks.check_features(checked, raw, table)
    dataset.write(
      content.Content(name, checked, content.Images.of_features(table), 'x'),
      folder,
    )
  return folder


def run(capsys, *args):
  try:
    inspect.run(['inspect', *map(str, args)])
  except SystemExit as stop:
    code = stop.code
  else:
    code = 0
  out, err = capsys.readouterr()
  return code, out, err


def test_text(capsys, data_dir):
  code, out, err = run(capsys, data_dir, '--dataset=mine', '--num_examples=3')
  assert code == 0, err
  assert re.search(r'train +8 +16 +\d+ +2 ', out)
  assert 'unknown, validation' in out
  assert re.search('encoder +<b>vgg', out)
  assert re.search(r'numbers each +3 float32', out)
  assert out.count('  A dog ') == 3


def test_folders_that_will_do(capsys, data_dir):
  path = dataset.dataset_path(data_dir, 'mine')
  for folder in (path, path.parent, path.parent.parent, data_dir):
    chosen = '' if folder in (path, path.parent) else 'mine'
    assert inspect.find(str(folder), chosen) == path
  for args, message in (
    ((data_dir,), 'holds mine, other: say which with --dataset'),
    ((data_dir, '--dataset=no'), 'there is no dataset "no" in'),
    ((data_dir / 'nowhere',), 'there is no folder'),
    ((data_dir, 'x'), '"x" is not a flag'),
  ):
    code, _, err = run(capsys, *args)
    assert code == 1
    assert message in err


def test_a_damaged_dataset_gets_one_sentence(capsys, data_dir, tmp_path):
  path = dataset.dataset_path(data_dir, 'mine')
  shutil.copytree(path, tmp_path / '1.0.0')
  (tmp_path / '1.0.0' / 'metadata.json').write_text('{"oddities": [3]}')
  for spoil in (
    lambda: None,
    lambda: (tmp_path / '1.0.0' / 'metadata.json').write_text('{'),
    lambda: (tmp_path / '1.0.0' / 'features.json').unlink(),
  ):
    spoil()
    code, out, err = run(capsys, tmp_path / '1.0.0', '--html=' + str(tmp_path))
    assert code == 1
    assert err.splitlines()[-1].startswith('error: the dataset in ')
    assert 'Traceback' not in err


class Page(html.parser.HTMLParser):
  """Collects tags, and addresses that a browser would fetch."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.addresses, self.text = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append(tag)
    self.addresses += [v for k, v in attrs if k in ('src', 'href', 'srcset')]

  def handle_data(self, data):
    self.text.append(data)


def test_page_is_complete_in_itself_and_escaped(capsys, data_dir, tmp_path):
  page = tmp_path / 'page.html'
  args = (data_dir, '--dataset=mine', f'--html={page}', '--num_examples=12')
  code, out, err = run(capsys, *args)
  assert code == 0, err
  assert out.endswith(f'Wrote {page}\n')
  parsed = Page(page.read_text())
  assert 'script' not in parsed.tags
  assert 'b' not in parsed.tags
  assert parsed.addresses == []
  assert parsed.tags.count('svg') >= 3
  assert EVIL in parsed.text
  assert '<b>vgg' in parsed.text
  first = page.read_text()
  run(capsys, *args)
  assert page.read_text() == first


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('chromium'), reason='needs Chromium')
def test_page_in_a_browser(capsys, data_dir, tmp_path):
  page = tmp_path / 'page.html'
  run(capsys, data_dir, '--dataset=mine', f'--html={page}')
  for width in (1280, 500):
    picture = tmp_path / f'{width}.png'
    subprocess.run(
      [
        'chromium',
        '--headless',
        '--no-sandbox',
        '--disable-gpu',
        f'--window-size={width},900',
        f'--screenshot={picture}',
        page.as_uri(),
      ],
      check=True,
      capture_output=True,
      timeout=120,
    )
    assert pathlib.Path(picture).stat().st_size > 10_000
