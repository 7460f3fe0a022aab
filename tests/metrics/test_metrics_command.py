import json
import math
import pathlib
import subprocess
import sys

import pytest

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


def _expected(copied=None):
  """The measures of these files, worked out by hand."""
  # 'a dog runs': a, dog; 'a dog' is as near in length as the other, and
  # shorter.  'people walk by': people, walk.
  precisions = [4 / 6, 2 / 4, 0, 0]
  # Longest common subsequences of 2 words: p 2/3, and r 2/2 and 2/3.
  rouge_l = (2.44 * 2 / 3 / (1 + 1.44 * 2 / 3) + 2 / 3) / 2
  # Each word is of one image only, so that all weigh the same; a word more or
  # less than the reference damps by exp(-1 / 72).
  dog = (2 / math.sqrt(6) + 1 / math.sqrt(2) + 1 / math.sqrt(12)) / 4
  people = (2 / 3 + 1 / 2) / 4
  return {
    'bleu': {
      'cumulative': pytest.approx([2 / 3, math.sqrt(1 / 3), 0, 0]),
      'precisions': pytest.approx(precisions),
      'brevity_penalty': 1.0,  # 6 words, of 2 + 3.
      'references': 1.5,
    },
    'cider_d': pytest.approx(10 * (dog * math.exp(-1 / 72) / 2 + people) / 2),
    'rouge_l': pytest.approx(rouge_l),
    'captions': {
      'distinct': 2,
      'copied_from_training': copied,
      'mean_words': 3.0,
    },
  }


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
  assert json.loads(capsys.readouterr().out) == _expected(copied=0.5)


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
