"""Result files: whole or not at all, and of JSON that anybody can read."""

import json
import math

import pytest

from mrnn_jax.runtime import files
from mrnn_jax.runtime.errors import InputError


def test_json_and_lines_come_back(tmp_path):
  value = {'a': [1.5, 'caf\xe9'], 'b': None}
  files.write_json(tmp_path / 'deep/x.json', value)
  assert json.loads((tmp_path / 'deep/x.json').read_text('utf-8')) == value
  files.write_json_lines(tmp_path / 'y.jsonl', iter([value, {}]))
  lines = (tmp_path / 'y.jsonl').read_text('utf-8').splitlines()
  assert [json.loads(line) for line in lines] == [value, {}]


@pytest.mark.parametrize('number', [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_not_written(tmp_path, number):
  """JSON knows no NaN and no infinity; other readers fall over them."""
  path = tmp_path / 'x.json'
  files.write_json(path, {'perplexity': 2.0})
  with pytest.raises(InputError, match='not a finite number'):
    files.write_json(path, {'perplexity': number})
  with pytest.raises(InputError, match='not a finite number'):
    files.write_json_lines(path, [{'log_prob': -1.0}, {'log_prob': number}])
  assert json.loads(path.read_text()) == {'perplexity': 2.0}
  assert [x.name for x in tmp_path.iterdir()] == ['x.json']


def test_what_breaks_leaves_the_file_that_was_there(tmp_path):
  path = tmp_path / 'x.jsonl'
  path.write_text('before')

  def lines():
    yield {'n': 1}
    raise RuntimeError

  with pytest.raises(RuntimeError):
    files.write_json_lines(path, lines())
  assert path.read_text() == 'before'
  assert [x.name for x in tmp_path.iterdir()] == ['x.jsonl']
