"""m-RNN (Mao et al. 2014): write captions, rank sentences and images."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from mrnn_jax.trained import TrainedModel

PRETRAINED = os.path.join(os.path.dirname(__file__), 'pretrained', 'model.npz')


def load(path: str = PRETRAINED) -> 'TrainedModel':
  """Load a trained model.

  Args:
    path: a workdir, or a file that ``--task=export`` wrote; by default the
      pretrained model (see ``mrnn_jax/pretrained/README.md``).

  Raises:
    InputError: there is no model.
  """
  # Here, so that the parts can be imported without the rest.
  from mrnn_jax.trained import TrainedModel

  return TrainedModel.load(path)
