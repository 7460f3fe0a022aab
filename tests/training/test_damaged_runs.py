"""What a workdir says of its run, where that is not what is read of it."""

import pytest

from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import log as log_lib
from mrnn_jax.training import run_record, run_times


@pytest.mark.parametrize(
  ('line', 'message'),
  [
    ('{"epoch": 1.5}', 'log.jsonl:2 lacks "step"'),
    ('{"step": "7", "epoch": 1.5}', 'log.jsonl:2 has \'7\' as "step"'),
    ('{"step": 7, "epoch": 1.5, "cost": []}', 'has a list as "cost"'),
    ('{"step": 7, "epoch": 1.5, "cost": null}', 'has null as "cost"'),
    ('[7]', 'log.jsonl:2 is no JSON object'),
  ],
)
def test_a_log_that_cannot_be(tmp_path, line, message):
  path = tmp_path / log_lib.LOG_FILE
  path.write_text(f'{{"step": 3, "epoch": 1, "cost": 2.5}}\n{line}\n')
  with pytest.raises(InputError) as error:
    log_lib.read_log(tmp_path)
  assert message in str(error.value)


def test_a_log_whose_last_line_is_cut(tmp_path):
  path = tmp_path / log_lib.LOG_FILE
  path.write_text('{"step": 3, "epoch": 1, "cost": Infinity}\n{"step"')
  assert [line['step'] for line in log_lib.read_log(tmp_path)] == [3]


@pytest.mark.parametrize('text', ['[' * 5000, '{', '3', '\x00'])
def test_a_summary_that_cannot_be_is_written_anew(tmp_path, text):
  path = tmp_path / run_times.SUMMARY_FILE
  path.write_text(text)
  run_times.write_summary(tmp_path, {'seconds': 3}, 5)
  assert path.read_text().split() == ['[', '{', '"seconds":', '3', '}', ']']


PROGRESS = {'best_perplexity': 5.5, 'best_step': 3, 'finished': ''}


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'finished': False}, 'has false as "finished"'),
    ({'best_perplexity': 'low'}, 'has \'low\' as "best_perplexity"'),
    ({'best_step': None}, 'has null as "best_step"'),
    ({'evaluations_since_best': 0.5}, 'as "evaluations_since_best"'),
  ],
)
def test_progress_that_cannot_be(changes, message):
  run_record.check_progress(PROGRESS, 'W')
  with pytest.raises(InputError) as error:
    run_record.check_progress({**PROGRESS, **changes}, 'W')
  assert message in str(error.value) and 'in W' in str(error.value)
