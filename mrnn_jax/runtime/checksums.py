"""Checksums of what is stored: trees of arrays, and JSON values."""

import hashlib
import json
from typing import Any

import jax
import numpy as np


def of_tree(tree: Any) -> str:
  """Return a hash of the leaves, which come back in other containers."""
  leaves = []
  for leaf in jax.tree.leaves(tree):
    array = np.asarray(leaf)
    digest = hashlib.sha256(f'{array.dtype} {array.shape} '.encode())
    digest.update(array.tobytes())
    leaves.append(digest.hexdigest())
  return hashlib.sha256(' '.join(sorted(leaves)).encode()).hexdigest()


def of_json(value: Any) -> str:
  """Return a hash of JSON values, whatever the order of their keys."""
  return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
