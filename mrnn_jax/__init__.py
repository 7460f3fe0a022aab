"""m-RNN (Mao et al. 2014): write captions, rank sentences and images.

``load`` gives a trained model, ``train`` makes one; ``Ranker`` ranks with a
model of one's own.
What is named here is imported when it is first asked for, so that a part can
be used without the rest.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mrnn_jax.runtime.along import PRETRAINED

if TYPE_CHECKING:
  from mrnn_jax.ranking.ranker import Ranker
  from mrnn_jax.trained import TrainedModel

__all__ = ['PRETRAINED', 'Ranker', 'TrainedModel', 'load', 'train']

__version__ = '0.1.0'


def load(
  path: str | Sequence[str] = PRETRAINED,
  mean: str = 'arithmetic',
  weights: str = '',
) -> 'TrainedModel':
  """Load a trained model, or several as one.

  Args:
    path: a workdir, or a file that ``--task=export`` wrote; by default the
      pretrained model (see ``mrnn_jax/pretrained/README.md``).  Several, as a
      list or separated by commas, are an ensemble: the mean of their word
      probabilities at each step.
    mean: 'arithmetic' or 'geometric'.
    weights: of each of several in the mean, as '1,1,2'; '': all alike.

  Raises:
    InputError: there is no model, or several do not go together.
  """
  from mrnn_jax.trained import TrainedModel

  return TrainedModel.load(path, mean=mean, weights=weights)


def train(dataset: str, workdir: str, **settings: Any) -> 'TrainedModel':
  """Train a model on a prepared dataset, and return its best state.

  What ``--task=train`` does: a workdir that holds a run goes on from there.

  Args:
    dataset: its name, as ``data_prep.build`` prepared it.
    workdir: where checkpoints and logs go.
    **settings: flags of the command line by name, such as ``data_dir``,
      ``num_epochs`` and ``learning_rate``.

  Raises:
    InputError: a setting does not exist or has no effect, or the dataset cannot
      be used.
  """
  from mrnn_jax import tasks

  tasks.train_model(dataset=dataset, workdir=workdir, **settings)
  return load(workdir)


def __getattr__(name: str) -> Any:
  """Import what is named above, when it is asked for (PEP 562)."""
  if name == 'Ranker':
    from mrnn_jax.ranking.ranker import Ranker

    return Ranker
  if name == 'TrainedModel':
    from mrnn_jax.trained import TrainedModel

    return TrainedModel
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})
