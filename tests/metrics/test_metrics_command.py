import json
import pathlib
import subprocess
import sys

import pytest

from mrnn_jax import metrics
from mrnn_jax.metrics import __main__ as command

HYPOTHESES = [
  {'image_id': 'x.jpg', 'caption': 'A dog runs', 'log_prob': -3.0},
  {'image_id': 7, 'caption': 'People walk\u2028by'},
]
REFERENCES = [
  {'image_id': '7', 'captions': ['Some people walk.']},
  {'image_id': 'x.jpg', 'captions': ['A dog!', 'The dog is running.']},
]


def _lines(records):
  return ''.join(
    json.dumps(record, ensure_ascii=False) + '\n' for record in records
  )


@pytest.fixture
def files(tmp_path):
  hypotheses, references = tmp_path / 'h.jsonl', tmp_path / 'r.jsonl'
  hypotheses.write_text(_lines(HYPOTHESES), encoding='utf-8')
  references.write_text(_lines(REFERENCES), encoding='utf-8')
  return hypotheses, references


def _expected(training_captions=None):
  return metrics.measure_captions(
    {'x.jpg': 'A dog runs', '7': 'People walk by'},
    {x['image_id']: x['captions'] for x in REFERENCES},
    training_captions,
  )


def test_prints_the_measures_as_json(files, capsys):
  assert command.main([str(path) for path in files]) == 0
  out, err = capsys.readouterr()
  assert json.loads(out) == _expected()
  assert not err


def test_runs_as_a_module(files):
  root = pathlib.Path(__file__).parents[2]
  process = subprocess.run(
    [sys.executable, '-m', 'mrnn_jax.metrics', *files],
    cwd=root,
    capture_output=True,
    text=True,
    check=True,
  )
  assert json.loads(process.stdout) == _expected()


@pytest.mark.parametrize(
  'text',
  [
    'A dog runs .\n\nTwo cats\n',
    _lines([{'caption': 'a dog runs'}, {'image_id': 1, 'captions': ['cats']}]),
    '\ufeff' + _lines([{'image_id': 1, 'captions': ['x', 'a dog runs']}]),
  ],
)
def test_training_captions_in_any_form(files, tmp_path, capsys, text):
  training = tmp_path / 'training'
  training.write_text(text, encoding='utf-8')
  args = [*map(str, files), f'--training_captions={training}']
  assert command.main(args) == 0
  assert json.loads(capsys.readouterr().out) == _expected(['a dog runs'])


_GOOD = '{"image_id": "x.jpg", "caption": "a"}\n'


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('', 'h.jsonl: there is no line'),
    ('\n \n', 'h.jsonl: there is no line'),
    (_GOOD + '{"image_id": \n', 'h.jsonl:2 is no JSON ('),
    (_GOOD + '\n["x"]\n', 'h.jsonl:3 is no JSON object'),
    ('[' * 10**5, 'h.jsonl:1 is JSON nested too deeply'),
    ('{"caption": "a"}', 'h.jsonl:1: "image_id" must be there'),
    ('{"image_id": true, "caption": "a"}', 'h.jsonl:1: "image_id" must'),
    ('{"image_id": 1.5, "caption": "a"}', 'h.jsonl:1: "image_id" must'),
    ('{"image_id": "x"}', 'h.jsonl:1: "caption" must be there, a string'),
    ('{"image_id": "x", "caption": 3}', 'h.jsonl:1: "caption" must'),
    (_GOOD * 2, "h.jsonl:2: image 'x.jpg' stands on line 1"),
    (_GOOD, "Image '7' has references, no hypothesis"),
    (
      _lines([*HYPOTHESES, {'image_id': 'new', 'caption': ''}]),
      "Image 'new' has a hypothesis, no reference",
    ),
  ],
)
def test_says_what_is_wrong_with_hypotheses(files, capsys, text, message):
  files[0].write_text(text, encoding='utf-8')
  _check_refused(files, capsys, message)


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    ('{"image_id": 1, "caption": "a"}', 'r.jsonl:1: "captions" must be there'),
    ('{"image_id": 1, "captions": "a"}', 'r.jsonl:1: "captions" must'),
    ('{"image_id": 1, "captions": []}', 'at least one string'),
    ('{"image_id": 1, "captions": ["a", null]}', 'at least one string'),
    (
      _lines([REFERENCES[0], {'image_id': 'x.jpg', 'captions': ['a', '?!']}]),
      "Image 'x.jpg' has a reference without a word",
    ),
  ],
)
def test_says_what_is_wrong_with_references(files, capsys, text, message):
  files[1].write_text(text, encoding='utf-8')
  _check_refused(files, capsys, message)


def test_says_which_file_cannot_be_read(files, tmp_path, capsys):
  absent = tmp_path / 'absent.jsonl'
  _check_refused((files[0], absent), capsys, 'absent.jsonl (No such file')
  _check_refused((tmp_path, files[1]), capsys, '(Is a directory')
  files[0].write_bytes(b'{"caption": "\xff"}')
  _check_refused(files, capsys, 'h.jsonl:1 is not UTF-8 (byte 0xff)')


def test_says_what_is_wrong_with_training_captions(files, tmp_path, capsys):
  training = tmp_path / 't.jsonl'
  training.write_text('{"caption": "a"}\n{"text": "b"}\n')
  args = [*files, f'--training_captions={training}']
  _check_refused(args, capsys, 't.jsonl:2: "caption" must be there')


def _check_refused(args, capsys, message):
  assert command.main([str(arg) for arg in args]) == 1
  out, err = capsys.readouterr()
  assert not out
  assert err.startswith('error: ')
  assert message in err
  assert err.count('\n') == 1
