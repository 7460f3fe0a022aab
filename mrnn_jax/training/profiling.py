"""``--profile_steps``: a profile of some training steps, by JAX's profiler."""

from collections.abc import Callable
import contextlib
from typing import Any

from etils import epath
import jax

from mrnn_jax.config import checks
from mrnn_jax.runtime.errors import InputError

FOLDER = 'profile'


class Profiler:
  """Profiles the steps asked for; of several processes the first one does.

  As a context it ends the profile however the training ends.
  """

  def __init__(
    self,
    steps: str,
    workdir: epath.PathLike,
    start: int,
    total_steps: int,
    say: Callable[[str], None] = print,
  ):
    """Plan a profile.

    Args:
      steps: 'a:b' as of ``checks.parse_profile_steps``, '' for none.  A run
        that goes on within them profiles what is left.
      workdir: of the run.
      start: steps that are taken.
      total_steps: of the run.
      say: tells where the profile is.

    Raises:
      InputError: the run has no such steps.
    """
    self._path = epath.Path(workdir).expanduser() / FOLDER
    self._say, self._active = say, False
    self._steps = checks.parse_profile_steps(steps)
    if self._steps is None:
      return
    if self._steps[0] > total_steps:
      raise InputError(
        f'--profile_steps={steps}: the run has only {total_steps} steps.'
      )
    if self._steps[1] <= start:
      say(f'--profile_steps={steps}: these steps were taken before; no profile')
      self._steps = None
    if jax.process_index():
      self._steps = None

  def step(
    self, number: int, before: Any
  ) -> contextlib.AbstractContextManager[Any]:
    """Return the context to take step ``number`` in.

    Args:
      number: from 1.
      before: what the step before gives.  At both ends of the profile it is
        waited for, so that the profile has whole steps.
    """
    if self._steps is None:
      return contextlib.nullcontext()
    first, last = self._steps
    if number > last:
      jax.block_until_ready(before)
      self._stop()
      return contextlib.nullcontext()
    if number < first:
      return contextlib.nullcontext()
    if not self._active:
      jax.block_until_ready(before)
      self._path.mkdir(parents=True, exist_ok=True)
      jax.profiler.start_trace(str(self._path))
      self._active, self._first = True, number
    self._last = number
    return jax.profiler.StepTraceAnnotation('train', step_num=number)

  def _stop(self) -> None:
    steps, self._steps = self._steps, None
    if self._active:
      self._active = False
      jax.profiler.stop_trace()
      self._say(
        f'steps {self._first} to {self._last} are profiled in {self._path}: '
        'open its trace.json.gz at ui.perfetto.dev, or pip install xprof and '
        f'run xprof {self._path}'
      )
    elif steps:
      self._say(
        f'no profile: the training ended before step {steps[0]} '
        '(--profile_steps)'
      )

  def __enter__(self) -> 'Profiler':
    return self

  def __exit__(self, *unused: Any) -> None:
    self._stop()
