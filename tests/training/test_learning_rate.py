"""The learning rate that is told is the one that steps are taken with."""

import json

import pytest
import tiny_run

from mrnn_jax.runtime import stopping
from mrnn_jax.training import loop


def test_plateau_is_seen_in_the_log(tiny_data_dir, tmp_path, monkeypatch):
  """Half after each 2 validations without a better one, also when resumed."""
  config = tiny_run.config(
    tmp_path,
    tiny_data_dir,
    schedule='plateau',
    decay_factor=0.5,
    decay_patience=2,
    eval_every_steps=2,
    log_every_steps=1,
    warmup_steps=0,
    num_epochs=3.0,
  )
  # At steps 2, 4, 6, and 8, where the run is stopped once; 10, 12.
  found = iter([9.0, 10.0, 10.0, None, 10.0, 10.0, 10.0])

  def validate(*unused):
    if (value := next(found)) is None:
      raise stopping.Stopped('here')
    return value

  monkeypatch.setattr(loop._Run, 'validate', validate)
  with pytest.raises(stopping.Stopped):
    loop.train(config)
  loop.train(config)
  lines = (tmp_path / 'log.jsonl').read_text().splitlines()
  rates = {
    line['step']: line['learning_rate']
    for line in map(json.loads, lines)
    if 'learning_rate' in line
  }
  assert list(rates) == list(range(1, 13))
  expected = [0.01] * 6 + [0.005] * 4 + [0.0025] * 2
  assert list(rates.values()) == pytest.approx(expected, rel=1e-6)


def test_a_run_that_is_all_warm_up_is_told(
  tiny_data_dir, tmp_path, monkeypatch, capsys
):
  """Else the schedule that was asked for never comes, and nobody knows."""

  def enough(self):
    raise stopping.Stopped('here')

  monkeypatch.setattr(loop._Run, 'first_state', enough)
  for warmup_steps, told in ((16, True), (15, False)):
    config = tiny_run.config(tmp_path, tiny_data_dir, warmup_steps=warmup_steps)
    with pytest.raises(stopping.Stopped):
      loop.train(config)
    said = capsys.readouterr().out
    assert ('--warmup_steps=16 is the whole run of 16 steps' in said) == told
