"""m-RNN (Mao et al. 2014): write captions, rank sentences and images.

``load`` gives a trained model; ``Ranker`` ranks with a model of one's own.
What is named here is imported when it is first asked for, so that a part can
be used without the rest.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from mrnn_jax.ranking.ranker import Ranker
  from mrnn_jax.trained import TrainedModel

__all__ = ['PRETRAINED', 'Ranker', 'TrainedModel', 'load']

PRETRAINED = os.path.join(os.path.dirname(__file__), 'pretrained', 'model.npz')


def load(path: str = PRETRAINED) -> 'TrainedModel':
  """Load a trained model.

  Args:
    path: a workdir, or a file that ``--task=export`` wrote; by default the
      pretrained model (see ``mrnn_jax/pretrained/README.md``).

  Raises:
    InputError: there is no model.
  """
  from mrnn_jax.trained import TrainedModel

  return TrainedModel.load(path)


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
