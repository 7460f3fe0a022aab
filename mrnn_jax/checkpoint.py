"""Orbax checkpoints: the latest ones, and the best one.

A checkpoint holds everything that a run or a model needs: the training state
(parameters, optimizer, step, key), the statistics and normaliser images that
the model carries, and as JSON the configuration, the vocabulary and what the
run had reached.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from etils import epath
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from mrnn_jax.errors import InputError

FOLDER = 'checkpoints'
_PERPLEXITY = 'validation_perplexity'


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


def _lower_is_better(metrics: Mapping[str, float]) -> float:
  return metrics[_PERPLEXITY]


class Checkpoints:
  """The checkpoints of a workdir."""

  def __init__(self, workdir: epath.PathLike, keep: int = 2):
    """Open them; nothing is created before the first ``save``."""
    self.workdir = epath.Path(workdir)
    self.path = self.workdir.expanduser() / FOLDER
    self._keep = keep
    self._manager: ocp.CheckpointManager | None = None

  def _open(self, create: bool) -> ocp.CheckpointManager | None:
    if self._manager is None and (create or self.path.exists()):
      policy = preservation_policy.AnyPreservationPolicy(
        [
          preservation_policy.LatestN(self._keep),
          preservation_policy.BestN(
            get_metric_fn=_lower_is_better, reverse=True, n=1
          ),
        ]
      )
      self._manager = ocp.CheckpointManager(
        self.path.resolve() if '://' not in str(self.path) else self.path,
        options=ocp.CheckpointManagerOptions(
          best_fn=_lower_is_better,
          best_mode='min',
          preservation_policy=policy,
          create=create,
        ),
        item_names=('state', 'model', 'description', 'progress'),
      )
    return self._manager

  def latest_step(self) -> int | None:
    """Return the step of the latest checkpoint, None where there is none."""
    manager = self._open(create=False)
    return manager.latest_step() if manager else None

  def best_step(self) -> int | None:
    """Return the step with the best validation perplexity, or None."""
    manager = self._open(create=False)
    return manager.best_step() if manager else None

  def save(self, checkpoint: Checkpoint, validation_perplexity: float) -> None:
    """Save in the background; a save under way is waited for first."""
    manager = self._open(create=True)
    manager.save(
      checkpoint.step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(checkpoint.state),
        model=ocp.args.StandardSave(dict(checkpoint.model)),
        description=ocp.args.JsonSave(dict(checkpoint.description)),
        progress=ocp.args.JsonSave(dict(checkpoint.progress)),
      ),
      metrics={_PERPLEXITY: float(validation_perplexity)},
    )

  def describe(self, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the description and progress of a step, without its arrays."""
    restored = self._restore(
      step,
      description=ocp.args.JsonRestore(),
      progress=ocp.args.JsonRestore(),
    )
    return restored['description'], restored['progress']

  def restore(self, step: int, state: Any = None) -> Checkpoint:
    """Restore a checkpoint.

    Args:
      step: which.
      state: a tree of arrays or shapes to restore into; None: as it was saved,
        as host arrays.

    Raises:
      InputError: it cannot be read.
    """
    if state is not None:
      state = jax.tree.map(ocp.utils.to_shape_dtype_struct, state)
    restored = self._restore(
      step,
      state=ocp.args.StandardRestore(state),
      model=ocp.args.StandardRestore(),
      description=ocp.args.JsonRestore(),
      progress=ocp.args.JsonRestore(),
    )
    return Checkpoint(step=step, **restored)

  def _restore(self, step: int, **items: Any) -> dict[str, Any]:
    manager = self._open(create=False)
    try:
      restored = manager.restore(step, args=ocp.args.Composite(**items))
    except Exception as error:  # Orbax raises whatever its storage does.
      reason = str(error).splitlines()[0] if str(error) else ''
      raise InputError(
        f'the checkpoint of step {step} in {self.path} cannot be read '
        f'({type(error).__name__}: {reason}): delete its folder to go on from '
        'the one before.'
      ) from error
    return {name: restored[name] for name in items}

  def wait(self) -> None:
    """Wait until what was saved is on disk."""
    if self._manager:
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Finish what is under way and release the manager."""
    if self._manager:
      self._manager.wait_until_finished()
      self._manager.close()
      self._manager = None

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *unused: Any) -> None:
    self.close()
