"""Orbax's manager of checkpoints, set up as this program wants it."""

from collections.abc import Mapping, Sequence
import logging

from etils import epath
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

# The metric of a step: lower is better.
PERPLEXITY = 'validation_perplexity'
# Orbax logs at length, from its threads, what it also raises.
logging.getLogger('absl').addFilter(
  lambda record: 'orbax' not in record.pathname
)


def open_manager(
  path: epath.Path, keep: int, items: Sequence[str]
) -> ocp.CheckpointManager:
  """Open the checkpoints of a folder that is there.

  Args:
    path: the folder.
    keep: latest steps that are kept, beside the best one.
    items: what a step consists of.
  """
  policy = preservation_policy.AnyPreservationPolicy(
    [
      preservation_policy.LatestN(keep),
      preservation_policy.BestN(get_metric_fn=perplexity_of, reverse=True, n=1),
    ]
  )
  return ocp.CheckpointManager(
    path.resolve() if '://' not in str(path) else path,
    options=ocp.CheckpointManagerOptions(
      best_fn=perplexity_of,
      best_mode='min',
      preservation_policy=policy,
      create=False,
      multiprocessing_options=_alone(),
    ),
    item_names=tuple(items),
  )


def perplexity_of(metrics: Mapping[str, float]) -> float:
  """Return what validation gave, of a step's metrics."""
  return metrics[PERPLEXITY]


def _alone() -> ocp.options.MultiprocessingOptions:
  """Keep Orbax from waiting for other processes.

  What is saved is the same in all of them: the first one writes it, and each
  may read when it likes.
  """
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  process = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=process,
    active_processes={process},
    barrier_sync_key_prefix=f'process_{process}',
  )
