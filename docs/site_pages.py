"""Hooks of the site: pages that lie elsewhere in the repository take part.

README, the map and their like link to each other by their places in the
repository; here they become pages, and their links follow.
"""

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
_LINK = re.compile(r'\]\((?!\w+:|#)([^)#\s]+)(#[^)]*)?\)')


def on_files(files: Files, config: Any) -> Files:
  """Add the pages."""
  for page, source in PAGES.items():
    text = (ROOT / source).read_text()
    files.append(File.generated(config, page, content=text))
  return files


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
    relative = posixpath.relpath(to, posixpath.dirname(name) or '.')
    return f']({relative}{anchor})'

  return _LINK.sub(follow, markdown)
