"""What a training run tells: lines, log.jsonl, TensorBoard, a loss curve."""

from collections.abc import Mapping, Sequence
import io
import json
import math
import tempfile
from typing import Any

from etils import epath
import jax
import numpy as np

from mrnn_jax.runtime import files, json_files, json_forms
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.progress import format_seconds, say, tells
from mrnn_jax.training import run_times
from mrnn_jax.training.objectives import CIDER, PERPLEXITY, Measure

LOG_FILE = 'log.jsonl'
CURVE_FILE = 'loss.png'
_LINE = {'step': int, 'epoch': json_forms.NUMBER, '*': json_forms.NUMBER}


def read_log(workdir: epath.PathLike) -> list[dict[str, Any]]:
  """Return the lines of a workdir's log; [] where there is none."""
  path = epath.Path(workdir) / LOG_FILE
  if not path.exists():
    return []
  # A run may have been killed while it wrote the last one.
  remedy, lines = 'remove the line', []
  for number, line in json_files.read_lines(path, remedy, may_be_cut=True):
    if wrong := json_forms.misfit(line, _LINE):
      raise InputError(f'{path}:{number} {wrong}: {remedy}.')
    lines.append(line)
  return lines


class Log:
  """The log of a run; every process may call it, the first one writes.

  As a context it gives a sign of life each minute in which no line comes.
  """

  def __init__(
    self,
    workdir: epath.PathLike,
    start: int,
    total_steps: int,
    steps_per_epoch: int,
    every: int,
    clock: run_times.Clock | None = None,
    devices: Sequence[Any] = (),
  ):
    """Open the log at step ``start``; later lines of a lost run go.

    Args:
      workdir: of the run.
      start: steps that are taken.
      total_steps: of the run.
      steps_per_epoch: of the run.
      every: steps from line to line.
      clock: of the run.
      devices: whose memory is told of.
    """
    self._workdir = epath.Path(workdir).expanduser()
    self._total, self._per_epoch = total_steps, steps_per_epoch
    self._every = every
    self._writes = jax.process_index() == 0
    self._start = self._step = start
    self._bits = self._words = self._all_words = 0.0
    self._reward = self._samples = 0.0
    self._clock, self._devices = clock or run_times.Clock(), devices
    # Seconds that steps had taken when the last line was written.
    self._before = run_times.of_steps(self._clock.seconds())
    self._times = run_times.StepTimes(self._clock)
    self._heartbeat = run_times.Heartbeat(self._sign_of_life)
    self._lines: list[dict[str, Any]] = []
    self._board = self._temporary = None
    if self._writes:
      from tensorboardX import SummaryWriter  # Late: it is slow to import.

      self._workdir.mkdir(parents=True, exist_ok=True)
      self._lines = [
        line for line in read_log(self._workdir) if line['step'] <= start
      ]
      self._rewrite()
      self._events = self._workdir
      if files.is_remote(self._workdir):
        self._temporary = tempfile.TemporaryDirectory()
        self._events = epath.Path(self._temporary.name)
      self._board = SummaryWriter(str(self._events), purge_step=start)

  def __enter__(self) -> 'Log':
    if tells():
      self._heartbeat.__enter__()
    return self

  def __exit__(self, *unused: Any) -> None:
    if tells():
      self._heartbeat.__exit__()
    if self._board is not None:
      self._board.close()
      self._copy_events()
    if self._temporary is not None:
      self._temporary.cleanup()

  def step(
    self, step: int, metrics: Mapping[str, jax.Array], learning_rate: float
  ) -> None:
    """Take in what a step measured.

    Raises:
      InputError: its cost or gradient is not finite.
    """
    values = {
      name: float(np.asarray(value.addressable_data(0))[0])
      for name, value in metrics.items()
    }
    cost, norm, bits, words = (
      values[name] for name in ('cost', 'gradient_norm', 'bits', 'words')
    )
    self._times.end()
    self._step = step
    if not (math.isfinite(cost) and math.isfinite(norm)):
      raise InputError(
        f'step {step}: the cost is {cost}, the norm of its gradient {norm}; '
        'the last checkpoint is kept. Try a smaller --learning_rate or '
        '--clip_norm, and check the features.'
      )
    self._bits += bits
    self._words += words
    self._all_words += words
    self._reward += values.get('reward', 0.0)
    self._samples += values.get('samples', 0.0)
    if step % self._every == 0 or step == self._total:
      with self._clock.during('log'):
        self._training(step, cost, norm, learning_rate)

  def _training(
    self, step: int, cost: float, norm: float, learning_rate: float
  ) -> None:
    """Tell of the steps since the last such line."""
    seconds = self._clock.seconds()
    taken = run_times.of_steps(seconds)
    rate = self._words / max(taken - self._before, 1e-9)
    # What comes once is over, or will be sooner done.
    again = sum(seconds.values()) - seconds['start'] - seconds['compile']
    left = (self._total - step) * again / (step - self._start)
    perplexity = 2 ** (self._bits / self._words)
    # Of samples, where a reward is; of captions else.
    measured = {'train_perplexity': perplexity}
    told = f'train perplexity {perplexity:8.2f}'
    if self._samples:
      reward = self._reward / self._samples
      measured = {'train_reward': reward, 'sample_perplexity': perplexity}
      told = f'reward {reward:6.3f}  perplexity of samples {perplexity:6.2f}'
    self._say(
      f'{self._where(step)}  {told}  '
      f'{rate:8.0f} words/s  {format_seconds(left)} left'
    )
    self._write(
      {
        'step': step,
        'epoch': step / self._per_epoch,
        **measured,
        'cost': cost,
        'gradient_norm': norm,
        'learning_rate': learning_rate,
        'words_per_second': rate,
        **self._times.percentiles(),
        **run_times.device_memory(self._devices),
      }
    )
    self._bits = self._words = self._reward = self._samples = 0.0
    self._before = taken

  def validation(
    self,
    step: int,
    value: float,
    best: float,
    measure: Measure = PERPLEXITY,
  ) -> None:
    """Take in a validation.

    Args:
      step: after which.
      value: what it gave, less being better.
      best: the best so far.
      measure: what that is.
    """
    with self._clock.during('log'):
      mark = '  (best)'
      if value > best:
        mark = f'  (best {measure.tell(best)})'
      self._say(
        f'{self._where(step)}  validation {measure.name} '
        f'{measure.tell(value)}{mark}'
      )
      self._write(
        {
          'step': step,
          'epoch': step / self._per_epoch,
          measure.key: measure.sign * value,
        }
      )
      if self._writes:
        draw_loss_curve(self._lines, self._workdir / CURVE_FILE)
        self._copy_events()

  def close(self, end: str) -> None:
    """Say how the run ended and what it took; keep that in the workdir.

    Args:
      end: how.
    """
    if not self._writes:
      return
    print(f'{end}; {format_seconds(self._clock.total())}', flush=True)
    if self._step == self._start:
      return
    seconds = self._clock.seconds()
    entry = {
      'end': end,
      'first_step': self._start + 1,
      'last_step': self._step,
      'devices': len(self._devices) * jax.process_count(),
      'total_seconds': round(sum(seconds.values()), 3),
      'seconds': {name: round(value, 3) for name, value in seconds.items()},
      'words': int(self._all_words),
      'words_per_second': self._all_words
      / max(run_times.of_steps(seconds), 1e-9),
      **self._times.percentiles(all_steps=True),
      **run_times.device_memory(self._devices),
    }
    run_times.write_summary(self._workdir, entry, self._start)
    print(run_times.format_summary(entry), flush=True)

  def _where(self, step: int) -> str:
    return f'epoch {step / self._per_epoch:6.2f}  step {step:6d}/{self._total}'

  def _say(self, text: str) -> None:
    if self._writes:
      say(text)
      self._heartbeat.heard()

  def _sign_of_life(self, silence: float) -> str:
    doing = run_times.PHASES[self._clock.phase]
    return (
      f'{self._where(self._step)}  {doing} (no other line for '
      f'{format_seconds(silence)})'
    )

  def _write(self, line: dict[str, Any]) -> None:
    if not self._writes or self._board is None:
      return
    self._lines.append(line)
    if files.is_remote(self._workdir):
      self._rewrite()
    else:
      with (self._workdir / LOG_FILE).open('a') as f:
        f.write(json.dumps(line) + '\n')
    for name, value in line.items():
      if name != 'step':
        self._board.add_scalar(name, value, line['step'])
    self._board.flush()

  def _rewrite(self) -> None:
    text = ''.join(json.dumps(line) + '\n' for line in self._lines)
    files.write_text(self._workdir / LOG_FILE, text)

  def _copy_events(self) -> None:
    """Bring what TensorBoard reads to a remote workdir."""
    if self._events != self._workdir:
      for path in self._events.iterdir():
        files.copy(path, self._workdir / path.name)


def draw_loss_curve(lines: list[dict[str, Any]], path: epath.PathLike) -> None:
  """Draw what training and validation gave over epochs, as PNG.

  Perplexity, or CIDEr-D where that is what a run is validated by.
  """
  # Not pyplot: it keeps global state and may look for a display.
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 4.5), layout='constrained')
  axes = figure.subplots()
  rewarded = any(CIDER.key in line for line in lines)
  curves = (
    ('train_perplexity', 'training (with dropout)', '-'),
    (PERPLEXITY.key, 'validation', 'o-'),
  )
  if rewarded:
    curves = (
      ('train_reward', 'training (samples)', '-'),
      (CIDER.key, 'validation (greedy)', 'o-'),
    )
  for name, label, style in curves:
    points = [(x['epoch'], x[name]) for x in lines if name in x]
    if points:
      axes.plot(*zip(*points, strict=True), style, label=label, markersize=4)
  if not rewarded:
    axes.set_yscale('log')
    ticks = (5, 7, 10, 15, 20, 30, 50, 70, 100, 200, 500, 1000, 2000)
    low, high = axes.get_ylim()
    shown = [tick for tick in ticks if low <= tick <= high]
    axes.set_yticks(shown, [str(tick) for tick in shown])
    axes.minorticks_off()
  axes.set_xlabel('epoch')
  axes.set_ylabel('CIDEr-D' if rewarded else 'perplexity per word')
  axes.grid(alpha=0.3)
  axes.legend(frameon=False)
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png', dpi=120)
  files.write_bytes(path, buffer.getvalue())
