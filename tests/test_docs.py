"""The how-tos: their commands exist, tests do the same, links lead on."""

import json
import pathlib
import re
import shlex
import subprocess
import sys

from absl import flags
import pytest

from data_prep import build, extract
from mrnn_jax.config import flags as config_flags
from mrnn_jax.serve import __main__ as serve

ROOT = pathlib.Path(__file__).parents[1]
HOWTOS = sorted((ROOT / 'docs' / 'howto').glob('*.md'))
NOTEBOOKS = sorted((ROOT / 'docs' / 'notebooks').glob('*.ipynb'))
_BLOCK = re.compile(r'(?:<!-- (.*?) -->\n)?```(\w*)\n(.*?)```', re.DOTALL)
_DEFINE = {
  'mrnn_jax.main': config_flags.define_flags,
  'data_prep.build': build.define_flags,
  'data_prep.extract': extract.define_flags,
  'mrnn_jax.serve': serve.define_flags,
}


@pytest.mark.parametrize('path', HOWTOS, ids=lambda x: x.stem)
def test_every_block_says_which_test_does_the_same_or_why_none(path):
  for mark, _, code in _BLOCK.findall(path.read_text()):
    assert re.match(r'run by tests/|not run: \w', mark), code
    for name in re.findall(r'tests/[\w/]+\.py', mark):
      assert (ROOT / name).is_file(), mark


@pytest.mark.parametrize('path', HOWTOS, ids=lambda x: x.stem)
def test_commands_have_flags_that_exist(path):
  for _, _, code in _BLOCK.findall(path.read_text()):
    for line in code.splitlines():
      words = shlex.split(line)
      if words[:2] != ['python', '-m'] or words[2] not in _DEFINE:
        continue
      if '--model=mine' in words:  # Of the reader's own.
        words.remove('--model=mine')
      values = flags.FlagValues()
      _DEFINE[words[2]](values)
      words = [x for x in words if not x.startswith('--flagfile')]
      assert len(values(words[2:])) == 1, line


def code_cells(text):
  cells = json.loads(text)['cells']
  return [x for x in cells if x['cell_type'] == 'code']


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda x: x.stem)
def test_a_notebook_is_stored_as_it_was_run(path):
  text = path.read_text()
  cells = code_cells(text)
  assert [x['execution_count'] for x in cells] == list(range(1, len(cells) + 1))
  outputs = [x for cell in cells for x in cell['outputs']]
  shown = {kind for x in outputs for kind in x.get('data', ())}
  assert shown & {'image/png', 'image/jpeg'}
  for x in outputs:
    assert x['output_type'] in ('stream', 'display_data', 'execute_result')
    assert x.get('name') != 'stderr'
  # Of whoever ran it nothing is told.
  assert not re.search(r'(?<![\w.])/(home|root|tmp|work|Users)/', text)


@pytest.mark.slow
@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda x: x.stem)
def test_a_notebook_runs_and_shows_what_is_stored(path, tmp_path):
  pytest.importorskip('nbclient')
  pytest.importorskip('ipykernel')
  import run_notebook

  ran = run_notebook.run(path, str(tmp_path))
  kinds = [
    [
      [x.get('name') or sorted(x['data']) for x in cell['outputs']]
      for cell in code_cells(text)
    ]
    for text in (path.read_text(), json.dumps(ran))
  ]
  assert kinds[0] == kinds[1]


@pytest.mark.slow
def test_the_site_is_built_and_its_links_lead_on(tmp_path):
  """By mkdocs, for which a link that leads nowhere is an error."""
  pytest.importorskip('mkdocs')
  pytest.importorskip('material')
  pytest.importorskip('mkdocstrings')
  command = ['-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)]
  built = subprocess.run(
    [sys.executable, *command],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert built.returncode == 0, built.stderr[-3000:]
  pages = {x.relative_to(tmp_path).as_posix() for x in tmp_path.rglob('*.html')}
  assert {'index.html', 'howto/service.html', 'readme.html'} <= pages
  for path in NOTEBOOKS:
    page = (tmp_path / 'notebooks' / f'{path.stem}.html').read_text()
    pictures = re.findall(rf'src="({path.stem}_\d+\.\w+)"', page)
    assert pictures
    for name in [path.name, *pictures]:
      assert (tmp_path / 'notebooks' / name).stat().st_size
  reference = (tmp_path / 'reference' / 'package.html').read_text()
  assert 'log_prob' in reference
  # Nothing is fetched from elsewhere.
  for page in tmp_path.rglob('*.html'):
    text = page.read_text()
    fetched = re.findall(r'<(?:script|img)[^>]+src="(https?:[^"]+)', text)
    fetched += re.findall(
      r'<link[^>]+stylesheet[^>]+href="(https?:[^"]+)', text
    )
    assert not fetched, page
