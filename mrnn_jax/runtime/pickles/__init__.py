"""Pickles, read by a machine that can call nothing.

A pickle is a program for a stack machine that may call any function of any
module.  This machine knows the steps that build numbers, texts and containers.
What a file may name stands in the table of whoever reads it, and the table says
what is built in the name's place; any other name and any other step is refused,
so no file can run code or build other objects.

A file takes memory in proportion to its size: its steps are counted, and so is
what a call is given, since it may copy that.
"""

import struct
from typing import Any

from mrnn_jax.runtime.pickles.machine import (
  CONTAINERS,
  Machine,
  Name,
  RefusedError,
  StandIn,
  Table,
  add_pairs,
  expect,
)
from mrnn_jax.runtime.pickles.steps import STEPS, STOP

__all__ = [
  'CONTAINERS',
  'Name',
  'RefusedError',
  'StandIn',
  'Table',
  'add_pairs',
  'expect',
  'read',
]


def read(data: bytes, table: Table, begin: int = 0) -> tuple[Any, int]:
  """Read one pickle of any protocol.

  Args:
    data: holds it.
    table: what it may ask for.
    begin: where it begins.

  Returns:
    What it holds - None, truth values, numbers, texts, bytes, lists, tuples,
    sets, dictionaries, and what the table builds - and where it ends.

  Raises:
    RefusedError: it asks for anything else, or for more than its size allows.
    ValueError: it is broken.
  """
  try:
    return _run(Machine(data, table, begin), begin)
  except RefusedError:
    raise
  except KeyError as error:
    raise ValueError(f'no memo entry {error}') from error
  except struct.error as error:
    raise ValueError('it ends too early') from error
  except IndexError as error:
    raise ValueError('it ends too early, or takes what is not there') from error
  except Exception as error:  # The table's calls are given anything.
    raise ValueError(str(error) or type(error).__name__) from error


def _run(machine: Machine, at: int) -> tuple[Any, int]:
  """Do all steps; return the result and where the program ends."""
  data, steps = machine.data, STEPS
  for _ in range(machine.table.max_steps):
    code = data[at]
    if code == STOP:
      return machine.stack.pop(), at + 1
    at = steps[code](machine, at + 1)
  raise RefusedError(f'is of more than {machine.table.max_steps:,} steps')
