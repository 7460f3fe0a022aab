"""The one reader of JSON lines, and its limits."""

import json

from etils import epath
import pytest

from mrnn_jax.runtime import bounded_files, errors, files, json_files


@pytest.fixture
def path(tmp_path):
  return epath.Path(tmp_path) / 'x.jsonl'


def read(path, **options):
  return list(json_files.read_lines(path, **options))


def test_what_was_written_comes_back(path):
  lines = [{'a': 1}, {'b': 'x\u2028y\x85\r'}, {'c': [1.5, None, True]}]
  files.write_json_lines(path, lines)
  assert read(path) == [*enumerate(lines, 1)]


def test_blank_lines_marks_and_other_ends(path):
  path.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n  \n{"a": 2}')
  assert read(path) == [(1, {'a': 1}), (4, {'a': 2})]


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    (b'{"a": ', 'is no JSON (Expecting value at column'),
    (b'[1]', 'is no JSON object: mend it.'),
    (b'7', 'is no JSON object: mend it.'),
    (b'[' * 100_000, 'is JSON nested too deeply: mend it.'),
    (b'{"a": ' + b'9' * 5000 + b'}', 'is JSON that cannot be read (Exceeds'),
    (b'{"a": "\xff"}', 'is not UTF-8 (byte 0xff)'),
  ],
)
@pytest.mark.parametrize('end', [b'', b'\n', b'\n{"a": 1}\n'])
def test_mistakes_are_told_with_file_and_line(path, line, message, end):
  path.write_bytes(b'{"a": 1}\n\n' + line + end)
  with pytest.raises(errors.InputError) as caught:
    read(path, remedy='mend it')
  assert str(caught.value).startswith(f'{path}:3 {message}')
  assert '\n' not in str(caught.value)


def test_what_cannot_be_opened(path):
  for place in (path, path.parent):
    with pytest.raises(errors.InputError, match=f'Cannot read {place} '):
      read(place)


def test_only_the_last_line_may_be_cut(path):
  for whole in (b'{"a": 1}\n', b'\n{"a": 1}\n'):
    for half in (b'{"a": 2', b'{"a": 2}'[:1], b'\0\0\0'):
      path.write_bytes(whole + half)
      assert len(read(path, may_be_cut=True)) == 1
      with pytest.raises(errors.InputError, match='is no JSON'):
        read(path)
  path.write_bytes(b'{"a": 1}\n{"a": 2')
  for rest in (b'\n', b'\n{"a": 3}\n'):
    path.write_bytes(path.read_bytes() + rest)
    with pytest.raises(errors.InputError, match='jsonl:2 is no JSON'):
      read(path, may_be_cut=True)
  path.write_bytes(b'{"a": 1}\n{"a": 2}')
  assert len(read(path, may_be_cut=True)) == 2


def test_limits_of_line_file_and_values(path, monkeypatch):
  files.write_json_lines(path, [{'a': [*range(10)]}] * 5)
  assert len(read(path)) == 5
  length = len(path.read_bytes())
  for module, name, limit, message in (
    (bounded_files, 'MAX_LINE_BYTES', length // 5 - 1, 'jsonl:1 is longer'),
    (bounded_files, 'MAX_FILE_BYTES', length - 1, 'x.jsonl is larger'),
    (json_files, 'MAX_VALUES', 10, 'jsonl:1 is JSON of more than 10 values'),
    (json_files, 'MAX_VALUES', 54, 'x.jsonl holds more than 54 values'),
  ):
    with monkeypatch.context() as patch:
      patch.setattr(module, name, limit)
      with pytest.raises(errors.InputError, match=message):
        read(path)
      if limit > 10:
        patch.setattr(module, name, limit + 1)
        assert len(read(path)) == 5


def test_objects_of_whole_files(path):
  path.write_text('{"a":\n [1, }')
  with pytest.raises(errors.InputError, match='jsonl:2 is no JSON .*: mend'):
    json_files.read_object(path, 'mend it')
  path.write_text('[1]')
  with pytest.raises(errors.InputError, match=r"but begins with '\[1\]': mend"):
    json_files.read_object(path, 'mend it')
  path.write_text(json.dumps({'a': 1}))
  assert json_files.read_object(path) == {'a': 1}


def test_numbers_that_json_does_not_know():
  assert json_files.parse('Infinity') == float('inf')
  with pytest.raises(json_files.NotJsonError, match='Infinity is not a number'):
    json_files.parse('Infinity', finite=True)
