"""Files of a workdir, here or at a URL: their names, and writing them whole.

Storage that is reached by a URL (gs://...) holds whole files: nothing there can
be appended to, mapped into memory or locked.  What needs that works in a local
folder and is copied.
"""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import hashlib
import json
import os
from typing import Any

from etils import epath
import fsspec

from mrnn_jax.runtime.errors import InputError

# What other processes and machines have written there is seen, too.
for _protocol in ('gcs', 's3'):
  fsspec.config.conf.setdefault(_protocol, {}).setdefault(
    'use_listings_cache', False
  )


def is_remote(path: epath.PathLike) -> bool:
  """Say whether a path is a URL."""
  return '://' in os.fspath(path)


def local_folder(folder: epath.PathLike) -> epath.Path:
  """Return where to work for a folder: the folder itself, unless it is remote.

  For a remote one it is a folder in the user's cache, on this machine always
  the same.
  """
  folder = epath.Path(folder).expanduser()
  if not is_remote(folder):
    return folder
  name = hashlib.sha256(os.fspath(folder).encode()).hexdigest()[:16]
  return user_cache() / 'remote' / f'{folder.name}-{name}'


def user_cache() -> epath.Path:
  """Return the folder in the user's cache that is this program's."""
  base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return epath.Path(base) / 'mrnn_jax'


def split_paths(paths: epath.PathLike) -> list[str]:
  """Split paths that are separated by commas; what is there is one path."""
  text = os.fspath(paths)
  if ',' not in text or epath.Path(text).expanduser().exists():
    return [text]
  return [path for path in text.split(',') if path]


def result_path(workdir: epath.PathLike, split: str, name: str) -> epath.Path:
  """Return the path of a result: plain for test, else with the split's name."""
  path = epath.Path(workdir).expanduser() / name
  if split == 'test':
    return path
  return path.with_name(f'{path.stem}_{split}{path.suffix}')


def write_bytes(path: epath.PathLike, content: bytes) -> None:
  """Write a file so that it is there whole or not at all."""
  with whole(path) as temporary:
    temporary.write_bytes(content)


@contextlib.contextmanager
def whole(path: epath.PathLike) -> Iterator[epath.Path]:
  """Give the path to write to; what is there at the end takes its place."""
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    yield temporary
    temporary.replace(path)
  finally:
    temporary.unlink(missing_ok=True)


def copy(source: epath.PathLike, target: epath.PathLike) -> None:
  """Copy a file so that it is there whole or not at all."""
  with whole(target) as temporary:
    epath.Path(source).copy(temporary, overwrite=True)


def write_text(path: epath.PathLike, text: str) -> None:
  """Write text, as UTF-8, so that it is there whole or not at all."""
  write_bytes(path, text.encode())


def write_json_lines(
  path: epath.PathLike, lines: Iterable[Mapping[str, Any]]
) -> None:
  """Write records as JSON, one a line, as they come."""
  with whole(path) as temporary, temporary.open('w', encoding='utf-8') as f:
    f.writelines(map(_json_line, lines))


def json_lines(lines: Iterable[Mapping[str, Any]]) -> str:
  """Return records as JSON, one a line."""
  return ''.join(map(_json_line, lines))


def _json_line(value: Mapping[str, Any]) -> str:
  return _as_json(value) + '\n'


def _as_json(value: Any, **options: Any) -> str:
  try:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, **options)
  except ValueError as error:
    raise InputError(
      'a result is not a finite number: the model is damaged, or has diverged '
      'in training.'
    ) from error


def write_json(path: epath.PathLike, value: Any) -> None:
  """Write a value as indented JSON."""
  write_text(path, _as_json(value, indent=1) + '\n')
