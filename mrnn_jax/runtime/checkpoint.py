"""Orbax checkpoints: the latest ones, and the best one.

A checkpoint holds everything that a run or a model needs: the training state
(parameters, optimizer, step, key), the statistics and normaliser images that
the model carries, and as JSON the configuration, the vocabulary and what the
run had reached.  It also holds checksums of all that, since storage keeps no
promise: what has changed since it was written is refused, and an earlier
checkpoint serves instead.
"""

from collections.abc import Iterator, Mapping
import contextlib
import dataclasses
import json
import math
import sys
from typing import Any

from etils import epath
import jax
import numpy as np
import orbax.checkpoint as ocp

from mrnn_jax.runtime import checksums, orbax_manager
from mrnn_jax.runtime.errors import InputError
from mrnn_jax.runtime.orbax_manager import PERPLEXITY

FOLDER = 'checkpoints'
_ITEMS = ('state', 'model', 'description', 'progress')
_CHECKSUMS = 'checksums'
# Behind the name of a step that the same step, validated, takes the place of.
_REPLACED = '.replaced'
# Damaged checkpoints that this process has told of.
_told: set[epath.Path] = set()


@dataclasses.dataclass(frozen=True)
class Checkpoint:
  """What is stored for a step.

  Attributes:
    step: training steps taken.
    state: the training state, a tree of arrays.
    model: arrays that the model carries and training does not change.
    description: JSON: configuration, vocabulary, dataset.
    progress: JSON: what the run had reached.
  """

  step: int
  state: Any
  model: Mapping[str, Any]
  description: Mapping[str, Any]
  progress: Mapping[str, Any]


def _is_key(x: Any) -> bool:
  return jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)


def _to_host(tree: Any) -> Any:
  """Return a copy of a tree as host arrays, keys as the numbers they are."""
  return jax.tree.map(
    lambda x: np.array(jax.random.key_data(x) if _is_key(x) else x), tree
  )


def _checksums(
  items: Mapping[str, Any], validation_perplexity: float | None
) -> dict[str, str]:
  """Return the checksums of the items and of what validation gave."""
  return {
    'state': checksums.of_tree(items['state']),
    'model': checksums.of_tree(items['model']),
    'description': checksums.of_json(items['description']),
    'progress': checksums.of_json(items['progress']),
    PERPLEXITY: checksums.of_json(validation_perplexity),
  }


class Checkpoints:
  """The checkpoints of a workdir; of several processes the first one writes."""

  def __init__(self, workdir: epath.PathLike, keep: int = 2):
    """Open them; nothing is created before the first ``save``."""
    self.workdir = epath.Path(workdir)
    self.path = self.workdir.expanduser() / FOLDER
    self._keep = keep
    self._manager: ocp.CheckpointManager | None = None
    self._damage: dict[int, str] = {}
    self._last_saved = 0
    # What the save under way takes the place of.
    self._replaced: epath.Path | None = None

  def _open(self) -> ocp.CheckpointManager:
    if self._manager is None:
      self._check_metrics()
      self.path.mkdir(parents=True, exist_ok=True)
      self._manager = orbax_manager.open_manager(
        self.path, self._keep, (*_ITEMS, _CHECKSUMS)
      )
    return self._manager

  def _open_if_there(self) -> ocp.CheckpointManager | None:
    return self._open() if self._manager or self.path.exists() else None

  def latest_step(self) -> int | None:
    """Return the step of the latest checkpoint that is whole, None for none.

    Raises:
      InputError: there are checkpoints, but all are damaged.
    """
    manager = self._open_if_there()
    steps = sorted(manager.all_steps(), reverse=True) if manager else []
    return self._first_whole(steps)

  def has(self, step: int) -> bool:
    """Say whether a step is saved, or being saved."""
    there = self._manager.all_steps() if self._manager else []
    return step in there or step == self._last_saved

  def best_step(self) -> int | None:
    """Return the step with the best validation perplexity, or None.

    Raises:
      InputError: there are such steps, but all are damaged.
    """
    manager = self._open_if_there()
    if not manager:
      return None
    found = [(self._perplexity(step), step) for step in manager.all_steps()]
    return self._first_whole(
      [step for value, step in sorted(found) if math.isfinite(value)]
    )

  def _perplexity(self, step: int) -> float:
    """Return what validation gave; infinite where there was none."""
    metrics = self._open().metrics(step)
    return orbax_manager.perplexity_of(metrics) if metrics else math.inf

  def _first_whole(self, steps: list[int]) -> int | None:
    """Return the first step whose checkpoint is whole; tell of the others."""
    damaged: list[int] = []
    for step in steps:
      if step not in self._damage:
        try:
          self.restore(step)
          self._damage[step] = ''
        except InputError as error:
          self._damage[step] = str(error)
      if not self._damage[step]:
        self._tell(damaged, f'step {step} is taken instead')
        return step
      damaged.append(step)
    if damaged:
      raise InputError(
        f'all checkpoints in {self.path} are damaged '
        f'({self._damage[damaged[0]]}): delete that folder to begin again.'
      )
    return None

  def _tell(self, steps: list[int], instead: str) -> None:
    for step in steps:
      if self.path / str(step) not in _told:
        _told.add(self.path / str(step))
        print(f'warning: {self._damage[step]}; {instead}.', file=sys.stderr)

  def make_way(self) -> None:
    """Remove what killed runs have left, and rename what is damaged.

    That is, the damaged checkpoints after the latest whole one: their steps
    will be taken and saved again.  Only for the one run that writes here; the
    first process does it, before the others look.
    """
    if not self.path.exists() or jax.process_index():
      return
    for left in self.path.glob('*.orbax-checkpoint-tmp*'):
      left.rmtree()
    for replaced in self.path.glob(f'*{_REPLACED}'):
      step = replaced.with_name(replaced.name.removesuffix(_REPLACED))
      if step.exists():
        replaced.rmtree()
      else:
        replaced.rename(step)
    latest = self.latest_step()
    self.close()
    for step, why in self._damage.items():
      if why and latest is not None and step > latest:
        self._set_aside(step)

  def _set_aside(self, step: int) -> None:
    """Rename the folder of a damaged step."""
    path, number = self.path / str(step), 1
    while (aside := self.path / f'{step}.damaged-{number}').exists():
      number += 1
    path.rename(aside)
    print(f'warning: {path} is kept as {aside.name}', file=sys.stderr)

  def _check_metrics(self) -> None:
    """Set checkpoints aside of which the manager would fall over."""
    if not self.path.exists() or jax.process_index():
      return
    for folder in self.path.iterdir():
      metrics = folder / 'metrics' / 'metrics'
      if not folder.name.isdecimal() or not metrics.exists():
        continue
      try:
        float(json.loads(metrics.read_text())[PERPLEXITY])
      except (ValueError, KeyError, TypeError):
        self._set_aside(int(folder.name))

  def save(
    self, checkpoint: Checkpoint, validation_perplexity: float | None
  ) -> None:
    """Save in the background; a save under way is waited for first.

    Args:
      checkpoint: what to save.
      validation_perplexity: None where this step is not validated: it is never
        the best one.

    Raises:
      InputError: it cannot be written.
    """
    items = {
      'state': _to_host(checkpoint.state),
      'model': _to_host(dict(checkpoint.model)),
      'description': dict(checkpoint.description),
      'progress': dict(checkpoint.progress),
    }
    if validation_perplexity is None:
      validation_perplexity = math.inf
    perplexity = float(validation_perplexity)
    self.wait()
    self._last_saved = checkpoint.step
    if jax.process_index():
      return
    with self._writing():
      manager = self._open()
      if checkpoint.step in manager.all_steps():
        self._replace(checkpoint.step)
      saved = manager.save(
        checkpoint.step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(items['state']),
          model=ocp.args.StandardSave(items['model']),
          description=ocp.args.JsonSave(items['description']),
          progress=ocp.args.JsonSave(items['progress']),
          checksums=ocp.args.JsonSave(_checksums(items, perplexity)),
        ),
        metrics={PERPLEXITY: perplexity},
      )
    if not saved:
      raise InputError(
        f'step {checkpoint.step} is not saved, as {self.path} holds step '
        f'{manager.latest_step()} already: see that no other run writes there.'
      )
    self._damage[checkpoint.step] = ''

  def _replace(self, step: int) -> None:
    """Lay a step aside that was saved before it was validated.

    It is removed once the same step stands in its place.
    """
    if math.isfinite(self._perplexity(step)):
      return
    self._replaced = self.path / f'{step}{_REPLACED}'
    (self.path / str(step)).rename(self._replaced)
    self._open().reload()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Turn whatever goes wrong in writing into an InputError."""
    try:
      yield
    except Exception as error:  # Orbax raises whatever its storage does.
      raise InputError(
        f'the checkpoint of step {self._last_saved} cannot be written to '
        f'{self.path} ({_reason(error)}): see that the folder can be written '
        'and has room, then run the same command again; it goes on from the '
        'checkpoint before.'
      ) from error

  def describe(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description and progress of a step, without its arrays."""
    restored = self._read(
      step,
      description=ocp.args.JsonRestore(),
      progress=ocp.args.JsonRestore(),
    )
    return restored['description'], restored['progress']

  def restore(self, step: int, state: Any = None) -> Checkpoint:
    """Restore a checkpoint.

    Args:
      step: which.
      state: a tree of arrays to restore into; None: containers as they come.

    Returns:
      It, with host arrays.

    Raises:
      InputError: it cannot be read, or is not what was written.
    """
    items = {
      'model': ocp.args.StandardRestore(),
      'description': ocp.args.JsonRestore(),
      'progress': ocp.args.JsonRestore(),
    }
    # Those of earlier versions have no checksums, and keys as keys.
    if not (self.path / str(step) / _CHECKSUMS).exists():
      if state is not None:
        state = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
      items['state'] = ocp.args.StandardRestore(state)
      return Checkpoint(step=step, **self._read(step, **items))
    target = None if state is None else _to_host(state)
    items['state'] = ocp.args.StandardRestore(target)
    restored = self._read(step, checksums=ocp.args.JsonRestore(), **items)
    stored = restored.pop(_CHECKSUMS)
    found = _checksums(restored, self._perplexity(step))
    changed = [name for name in found if found[name] != stored.get(name)]
    if changed:
      raise InputError(
        f'the checkpoint of step {step} in {self.path} is damaged '
        f'({", ".join(changed)}: other bytes than were written)'
      )
    if state is not None:
      restored['state'] = jax.tree.map(
        lambda x, y: jax.random.wrap_key_data(y) if _is_key(x) else y,
        state,
        restored['state'],
      )
    return Checkpoint(step=step, **restored)

  def _read(self, step: int, **items: Any) -> dict[str, Any]:
    manager = self._open_if_there()
    try:
      if manager is None:
        raise FileNotFoundError('there is none')
      restored = manager.restore(step, args=ocp.args.Composite(**items))
      return {name: restored[name] for name in items}
    except Exception as error:  # Orbax raises whatever its storage does.
      raise InputError(
        f'the checkpoint of step {step} in {self.path} cannot be read '
        f'({_reason(error)})'
      ) from error

  def wait(self) -> None:
    """Wait until what was saved is on disk."""
    if self._manager:
      with self._writing():
        self._manager.wait_until_finished()
        if self._replaced:
          self._replaced.rmtree()
          self._replaced = None

  def close(self) -> None:
    """Finish what is under way and release the manager."""
    if self._manager:
      self.wait()
      self._manager.close()
      self._manager = None

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *unused: Any) -> None:
    self.close()


def _reason(error: Exception) -> str:
  """Return the kind of an error and the first line of what it says."""
  first = str(error).splitlines()[0] if str(error) else ''
  if len(first) > 300:  # What the system said stands last.
    first = f'{first[:60]} ... {first[-200:]}'
  return f'{type(error).__name__}: {first}'
