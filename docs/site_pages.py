"""Hooks of the site: pages that lie elsewhere in the repository take part.

README, the map and their like link to each other by their places in the
repository; here they become pages, and their links follow.  Notebooks become
pages as they are stored, with what their cells gave.
"""

import base64
import json
import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = pathlib.Path(__file__).parents[1]
# Page of the site -> file of the repository.
PAGES = {
  'readme.md': 'README.md',
  'map.md': 'WORKSPACE.md',
  'launch.md': 'launch/README.md',
  'pretrained.md': 'mrnn_jax/pretrained/README.md',
}
_PICTURES = {'image/jpeg': 'jpg', 'image/png': 'png'}
_LINK = re.compile(r'\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)')


def on_files(files: Files, config: Any) -> Files:
  """Add the pages."""
  for page, source in PAGES.items():
    text = (ROOT / source).read_text()
    files.append(File.generated(config, page, content=text))
  for path in sorted((ROOT / 'docs' / 'notebooks').glob('*.ipynb')):
    text, pictures = notebook_page(path)
    page = f'notebooks/{path.stem}.md'
    files.append(File.generated(config, page, content=text))
    for name, data in pictures.items():
      files.append(File.generated(config, f'notebooks/{name}', content=data))
  return files


def notebook_page(path: pathlib.Path) -> tuple[str, dict[str, bytes]]:
  """Return a notebook as Markdown, and the pictures that it shows by name."""
  blocks: list[str] = []
  pictures: dict[str, bytes] = {}
  for cell in json.loads(path.read_text())['cells']:
    source = ''.join(cell['source'])
    if cell['cell_type'] == 'markdown':
      blocks.append(source)
      continue
    blocks.append(f'```python\n{source}\n```')
    for output in cell['outputs']:
      data = output.get('data', {})
      kind = next((x for x in _PICTURES if x in data), None)
      if kind:
        name = f'{path.stem}_{len(pictures)}.{_PICTURES[kind]}'
        pictures[name] = base64.b64decode(''.join(data[kind]))
        blocks.append(f'![What the cell shows]({name})')
      else:
        text = ''.join(output.get('text') or data['text/plain']).rstrip()
        blocks.append(f'```text\n{text}\n```')
  # After the title: where it is to be had.
  blocks.insert(1, f'[This page as a notebook]({path.name})')
  return '\n\n'.join(blocks) + '\n', pictures


def on_page_markdown(markdown: str, page: Any, **unused: Any) -> str:
  """Let the links of a page lead to pages, by where its file lies."""
  name = page.file.src_uri
  source = PAGES.get(name, f'docs/{name}')
  pages = {path: page for page, path in PAGES.items()}

  def follow(match: re.Match) -> str:
    path, anchor = match[1], match[2] or ''
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    # A folder means its README.
    if (ROOT / target).is_dir():
      target = posixpath.join(target, 'README.md')
    to = pages.get(target, target.removeprefix('docs/'))
    if target not in pages and not target.startswith('docs/'):
      return match[0]  # Of no page: the build tells of it.
    shown = f'{to.removesuffix(".ipynb")}.md'
    if to.endswith('.ipynb') and shown != name:  # A page leads to its own.
      to = shown
    relative = posixpath.relpath(to, posixpath.dirname(name) or '.')
    return f']({relative}{anchor})'

  return _LINK.sub(follow, markdown)
