"""What a training run tells of itself, and what it keeps."""

import json
import queue
import re
import types

import pytest
import tiny_run

from mrnn_jax import config as config_lib
from mrnn_jax import tasks
from mrnn_jax.runtime import progress, stopping
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.training import log as log_lib
from mrnn_jax.training import profiling, run_times


def read_summary(workdir):
  return json.loads((workdir / run_times.SUMMARY_FILE).read_text())


def test_a_loss_curve_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
  path = tmp_path / 'loss.png'
  lines = [{'step': 1, 'epoch': 1.0, 'validation_perplexity': 9.0}]
  path.write_bytes(b'the one before')

  def stopped(figure, file, **unused):
    file.write(b'half')
    raise KeyboardInterrupt

  monkeypatch.setattr('matplotlib.figure.Figure.savefig', stopped)
  with pytest.raises(KeyboardInterrupt):
    log_lib.draw_loss_curve(lines, path)
  assert path.read_bytes() == b'the one before'


@pytest.fixture
def level():
  yield progress.set_level
  progress.set_level('info')


@pytest.mark.parametrize(
  'profiled', [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_a_run_tells_where_its_time_went(
  tiny_data_dir, tmp_path, capsys, monkeypatch, level, profiled
):
  """Stopped within the steps that are profiled, and taken up again."""
  config = tiny_run.config(
    tmp_path, tiny_data_dir, profile_steps='3:6' if profiled else ''
  )
  calls = []

  def requested():
    calls.append(1)
    return len(calls) == 6  # Validation after step 4 asks, too.

  with monkeypatch.context() as patch:
    patch.setattr(stopping, 'requested', requested)
    with pytest.raises(stopping.Stopped):
      tasks.run(tiny_run.given(config))
  said = capsys.readouterr().out
  told = re.search(r'steps 3 to \d are profiled in .*/profile: open', said)
  assert bool(told) == profiled
  reached = read_summary(tmp_path)[0]['last_step']
  assert 3 <= reached < 6
  level('warning')
  tasks.run(tiny_run.given(config))
  said = capsys.readouterr().out.splitlines()
  traces = len(list(tmp_path.glob('profile/**/*.trace.json.gz')))
  assert traces == (2 if profiled else 0)
  if profiled:
    begins = f'steps {reached + 1} to 6 are profiled in '
    assert said.pop(0).startswith(begins)
  assert said[0].startswith('all 16 steps are taken; best: step ')
  assert said[1].startswith(f'steps {reached + 1} to 16: ')
  assert said[2].startswith('time: ')
  assert len(said) == 3

  first, second = read_summary(tmp_path)
  assert first['end'] == f'stopped at step {reached}'
  assert (second['first_step'], second['last_step']) == (reached + 1, 16)
  assert second['seconds'].keys() == run_times.PHASES.keys()
  assert sum(second['seconds'].values()) == pytest.approx(
    second['total_seconds'], abs=0.01
  )
  for phase in ('compile', 'validation', 'steps', 'start'):
    assert second['seconds'][phase] > 0
  for values in (second, log_lib.read_log(tmp_path)[-2]):
    p50, p90, p99 = (values[f'step_seconds_p{p}'] for p in (50, 90, 99))
    assert 0 < p50 <= p90 <= p99


def test_a_new_run_forgets_old_summaries(tmp_path):
  for start, count in ((0, 1), (4, 2), (0, 1)):
    run_times.write_summary(tmp_path, {'first_step': start + 1}, start)
    assert len(read_summary(tmp_path)) == count
  (tmp_path / run_times.SUMMARY_FILE).write_text('{"cut')
  run_times.write_summary(tmp_path, {'first_step': 5}, 4)
  assert read_summary(tmp_path) == [{'first_step': 5}]


@pytest.fixture
def time(monkeypatch):
  """A clock that stands still until it is moved."""
  now = types.SimpleNamespace(value=100.0)
  monkeypatch.setattr(run_times.time, 'monotonic', lambda: now.value)

  def move(seconds):
    now.value += seconds

  return move


def test_every_moment_has_one_phase(time):
  clock = run_times.Clock()
  time(1)
  clock.enter('steps')
  time(2)
  with clock.during('validation'):
    time(4)
    # As JAX tells of it, afterwards.
    clock._on_event(run_times._BACKEND_COMPILE, 3.0)
    with clock.during('data'):
      time(8)
  with clock.during('compile'):
    time(16)
    clock._on_event(run_times._BACKEND_COMPILE, 5.0)
  assert clock.phase == 'steps'
  seconds = clock.seconds()
  assert sum(seconds.values()) == clock.total() == 31
  assert {x: s for x, s in seconds.items() if s} == {
    'start': 1,
    'steps': 2,
    'validation': 1,
    'data': 8,
    'compile': 19,
  }


def test_only_steps_count_as_steps(time):
  clock = run_times.Clock()
  clock.enter('steps')
  times = run_times.StepTimes(clock)
  for seconds, between in ((9, ''), (1, ''), (3, ''), (50, 'saving'), (5, '')):
    if between:
      with clock.during(between):
        time(40)
    time(seconds)
    times.end()
  assert times.percentiles() == {
    'step_seconds_p50': 3,
    'step_seconds_p90': 4.6,
    'step_seconds_p99': 4.96,
  }
  assert times.percentiles() == {}
  assert times.percentiles(all_steps=True)['step_seconds_p50'] == 3


def test_a_sign_of_life_in_silence():
  heard = queue.SimpleQueue()
  with run_times.Heartbeat(lambda s: heard.put(s) or '', every=0.01):
    first, second = heard.get(timeout=60), heard.get(timeout=60)
  assert 0.01 <= first < second


def test_no_sign_of_life_between_other_lines(time, tmp_path):
  log = log_lib.Log(tmp_path, 0, 100, 10, 5)
  beat = log._heartbeat
  time(59)
  log.validation(3, 9.0, 9.0)
  assert beat.due() is None
  time(61)
  with log._clock.during('validation'):
    line = beat.due()
  assert line.endswith('validating (no other line for 1 min 1 s)')
  assert beat.due() is None


def test_a_rate_is_of_the_time_that_steps_took(time, tmp_path, capsys):
  """Whatever lies between: the start, compiling, a validation, a save."""

  def step(number, words):
    values = {'cost': 1.0, 'gradient_norm': 1.0, 'bits': words, 'words': words}
    metrics = {
      name: types.SimpleNamespace(addressable_data=lambda i, x=x: [x])
      for name, x in values.items()
    }
    log.step(number, metrics, 0.1)

  clock = run_times.Clock()
  time(30)
  with log_lib.Log(tmp_path, 0, 10, 5, 2, clock) as log:
    clock.enter('steps')
    with clock.during('compile'):
      time(50)
    time(2)
    step(1, 600)
    with clock.during('data'):
      time(1)
    time(3)
    step(2, 600)  # A line: 1,200 words in 6 s.
    time(4)
    step(3, 800)
    with clock.during('validation'):
      time(20)
    log.validation(3, 9.0, 9.0)
    with clock.during('saving'):
      time(10)
    time(6)
    step(4, 700)  # A line: 1,500 words in 10 s, not in 6.
  lines = [x for x in log_lib.read_log(tmp_path) if 'words_per_second' in x]
  assert [x['words_per_second'] for x in lines] == [200, 150]
  said = [x for x in capsys.readouterr().out.splitlines() if 'left' in x]
  # 6 s for 2 steps, 8 to go; 46 s for 4, 6 to go.
  assert [x.split('words/s')[1].strip() for x in said] == [
    '24 s left',
    '1 min 9 s left',
  ]


def test_a_run_without_steps_says_how_it_ended(tmp_path, capsys):
  with log_lib.Log(tmp_path, 8, 8, 10, 5) as log:
    log.close('all 8 steps are taken')
  assert capsys.readouterr().out == 'all 8 steps are taken; 0 s\n'
  assert not (tmp_path / run_times.SUMMARY_FILE).exists()


def test_device_memory():
  def device(**stats):
    return types.SimpleNamespace(memory_stats=lambda: stats or None)

  full = device(bytes_in_use=3_000_000, peak_bytes_in_use=5_000_000)
  empty = device(bytes_in_use=1_000_000, peak_bytes_in_use=9_000_000)
  assert run_times.device_memory([full, empty]) == {
    'device_memory_mb': 3.0,
    'device_memory_peak_mb': 9.0,
  }
  assert run_times.device_memory([device()]) == {}
  assert run_times.device_memory([]) == {}


@pytest.mark.parametrize('text', ['5', '7:5', '0:3', 'a:b', '-1:4', '3:', ':'])
def test_bad_steps_to_profile(text):
  with pytest.raises(InputError, match='for example --profile_steps=20:25'):
    config_lib.Config(profile_steps=text)


def test_steps_that_are_not_profiled(tmp_path, capsys):
  with pytest.raises(InputError, match='only 4 steps'):
    profiling.Profiler('5:6', tmp_path, 0, 4)
  with (
    profiling.Profiler('1:2', tmp_path, 2, 4) as profiler,
    profiler.step(3, None),
  ):
    assert 'were taken before' in capsys.readouterr().out
  with (
    profiling.Profiler('3:4', tmp_path, 0, 4) as profiler,
    profiler.step(1, None),
  ):
    pass
  assert 'ended before step 3' in capsys.readouterr().out
  assert not (tmp_path / profiling.FOLDER).exists()
