"""Result files of a workdir: their names, and writing them whole."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import json
import os
from typing import Any

from etils import epath

from mrnn_jax.config import Config


def result_path(config: Config, name: str) -> epath.Path:
  """Return the path of a result: plain for test, else with the split's name."""
  path = epath.Path(config.workdir).expanduser() / name
  if config.split == 'test':
    return path
  return path.with_name(f'{path.stem}_{config.split}{path.suffix}')


def write_bytes(path: epath.PathLike, content: bytes) -> None:
  """Write a file so that it is there whole or not at all."""
  with _whole(path) as temporary:
    temporary.write_bytes(content)


@contextlib.contextmanager
def _whole(path: epath.PathLike) -> Iterator[epath.Path]:
  """Give the path to write to; what is there at the end takes its place."""
  path = epath.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}')
  yield temporary
  temporary.replace(path)


def write_text(path: epath.PathLike, text: str) -> None:
  """Write text, as UTF-8, so that it is there whole or not at all."""
  write_bytes(path, text.encode())


def write_json_lines(
  path: epath.PathLike, lines: Iterable[Mapping[str, Any]]
) -> None:
  """Write records as JSON, one a line, as they come."""
  with _whole(path) as temporary, temporary.open('w', encoding='utf-8') as f:
    f.writelines(map(_json_line, lines))


def json_lines(lines: Iterable[Mapping[str, Any]]) -> str:
  """Return records as JSON, one a line."""
  return ''.join(map(_json_line, lines))


def _json_line(value: Mapping[str, Any]) -> str:
  return json.dumps(value, ensure_ascii=False) + '\n'


def write_json(path: epath.PathLike, value: Any) -> None:
  """Write a value as indented JSON."""
  write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + '\n')
